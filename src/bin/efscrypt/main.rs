//! The `efscrypt` command: one file per subcommand, each with its arguments and its `run`.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: [`exit`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cat;
mod check;
mod create;
mod describe;
mod exit;
mod export;
mod import;
mod key;
mod ls;
mod output;
mod rewrap;
mod store;
mod transfer;
mod unlock;

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
    /// Verify everything in a store
    Check(check::CheckArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Key(args) => key::run(args),
        Command::Create(args) => create::run(args),
        Command::Describe(args) => describe::run(args),
        Command::Rewrap(args) => rewrap::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Cat(args) => cat::run(args),
        Command::Check(args) => check::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_of_all_subcommands_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
