//! The `efscrypt` command: one file per subcommand, each with its arguments and its `run`.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: [`exit`].

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use efscrypt::cli::{exit, say, unlock};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

mod cat;
mod check;
mod copy;
mod create;
mod defrag;
mod describe;
mod export;
mod header;
mod import;
mod key;
mod keyless;
mod ls;
mod output;
mod repair;
mod rewrap;
mod store;
mod transfer;
mod trim;

/// Create, inspect and operate encrypted stores and the keys that open them
#[derive(Parser)]
#[command(name = "efscrypt", version, after_long_help = exit::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keep keys in a key service file
    Key(key::KeyArgs),
    /// Make a store
    Create(create::CreateArgs),
    /// Show what a store says about itself
    Describe(describe::DescribeArgs),
    /// Put a store under other keys
    Rewrap(rewrap::RewrapArgs),
    /// Copy a directory's contents into a store
    Import(import::ImportArgs),
    /// Copy a store's contents into a directory
    Export(export::ExportArgs),
    /// Show what is in a store
    Ls(ls::LsArgs),
    /// Print the contents of a file of a store
    Cat(cat::CatArgs),
    /// Back up the header of a store, and put it back
    Header(header::HeaderArgs),
    /// Verify everything in a store
    Check(check::CheckArgs),
    /// Put contents together that stand in pieces
    Defrag(defrag::DefragArgs),
    /// Give a store's free space back to the host
    Trim(trim::TrimArgs),
}

fn main() -> ExitCode {
    keep_to_itself();
    panic::set_hook(Box::new(|info| {
        output::say(&format!("internal error: {info}"));
        output::advise("please report this with the command that caused it");
    }));
    // Before the arguments are understood, which may fail, too.
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    say::begin("efscrypt", json);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::misused(&error),
    };
    ExitCode::from(guarded(|| match run(cli) {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }))
}

fn run(cli: Cli) -> Result<(), exit::Failure> {
    match cli.command {
        Command::Key(args) => key::run(args),
        Command::Create(args) => create::run(args),
        Command::Describe(args) => describe::run(args),
        Command::Rewrap(args) => rewrap::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Header(args) => header::run(args),
        Command::Check(args) => check::run(args),
        Command::Defrag(args) => defrag::run(args),
        Command::Trim(args) => trim::run(args),
    }
}

/// Leaves no image of this process, with the keys in it, on a disk or to other programs of the
/// same user. Best effort: the keys' own memory is left out of images in any case.
fn keep_to_itself() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Runs `work`; a panic, which is a bug of this program, has an exit code like any failure.
fn guarded(work: impl FnOnce() -> u8) -> u8 {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or(exit::BUG)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_of_all_subcommands_are_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_panic_has_the_code_of_a_bug() {
        assert_eq!(super::guarded(|| 7), 7);
        assert_eq!(super::guarded(|| panic!("on purpose")), 99);
    }
}
