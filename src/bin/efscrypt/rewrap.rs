//! `efscrypt rewrap`: the same store under other keys of a key service.

use std::path::PathBuf;
use std::sync::Arc;

use crate::describe;
use crate::exit::Failure;
use crate::store::{Access, StoreArgs, key_name};
use crate::unlock::KmsArgs;
use clap::{ArgGroup, Args};
use efscrypt::Rewrap;

#[derive(Args)]
#[command(group = ArgGroup::new("keys").required(true).multiple(true))]
pub struct RewrapArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// New key for contents: id, alias/NAME or NAME
    #[arg(long, value_name = "KEY", group = "keys", value_parser = key_name)]
    data_key: Option<String>,

    /// New key for names, directories and attributes
    #[arg(long, value_name = "KEY", group = "keys", value_parser = key_name)]
    metadata_key: Option<String>,

    /// Key service file that has the new keys; then both are needed
    #[arg(long, value_name = "PATH", requires_all = ["data_key", "metadata_key"])]
    new_kms: Option<PathBuf>,

    /// Open the new key service file with a key file
    #[arg(long, value_name = "FILE", requires = "new_kms")]
    new_key_file: Option<PathBuf>,

    /// Read the new key service file's passphrase from a file
    #[arg(long, value_name = "FILE", requires = "new_kms", conflicts_with = "new_key_file")]
    new_passphrase_file: Option<PathBuf>,

    /// The log of key uses of the new key service (default: its file with .audit at its end)
    #[arg(long, value_name = "FILE", requires = "new_kms")]
    new_audit: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `efscrypt rewrap`.
pub fn run(args: RewrapArgs) -> Result<(), Failure> {
    let failed = |error| args.store.failure("rewrap", error);
    // The key of a domain that stays as it is may be disabled.
    let access = match args.data_key {
        Some(_) => Access::Write,
        None => Access::WriteMetadata,
    };
    let (store, old) = args.store.open_with_provider(access)?;
    let new = match args.new_kms {
        Some(path) => {
            let (key_file, passphrase_file) = (args.new_key_file, args.new_passphrase_file);
            KmsArgs::second(path, key_file, passphrase_file, args.new_audit).provider()?
        }
        None => old,
    };
    let mut to = Rewrap::new();
    if let Some(key) = &args.metadata_key {
        to = to.metadata(Arc::clone(&new), key);
    }
    if let Some(key) = &args.data_key {
        to = to.data(new, key);
    }
    store.rewrap(to).map_err(failed)?;
    let description = store.describe().map_err(failed)?;
    args.store.close(store)?;
    describe::show(&description, args.json).map_err(|failure| {
        failure.after(&format!("store {} was rewrapped", args.store.path().display()))
    })
}
