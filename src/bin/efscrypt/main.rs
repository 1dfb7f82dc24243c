//! The `efscrypt` command: one file per subcommand, each with its arguments and its `run`.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: [`exit`].

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod exit;
mod key;
mod output;
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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Key(args) => key::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
