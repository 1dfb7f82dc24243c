//! `efscrypt header`: backups of what a store cannot be read without.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use efscrypt::device::FileDevice;
use efscrypt::{Error, ErrorKind, HeaderBackup, HeaderDescription, Providers, Restored};
use serde::Serialize;

use crate::exit::Failure;
use crate::output;
use crate::store::StoreArgs;

#[derive(Args)]
pub struct HeaderArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a backup of a store's header to a new file
    Backup(BackupArgs),
    /// Put a store's header back from a backup
    Restore(RestoreArgs),
    /// Show what a backup holds, without any key
    Dump(DumpArgs),
}

#[derive(Args)]
struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The file to write
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RestoreArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// Also where the store has newer wrapped keys, or another store is there; the log of key uses
    /// tells of it
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct DumpArgs {
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A backup, in JSON.
#[derive(Serialize)]
struct HeaderView {
    id: String,
    generation: u64,
    features: [u64; 3],
    keys: Vec<KeyView>,
}

#[derive(Serialize)]
struct KeyView {
    domain: &'static str,
    version: u32,
    provider: String,
    key_id: String,
}

/// What a restore did, in JSON.
#[derive(Serialize)]
struct RestoreView {
    restored: &'static str,
}

/// Runs `efscrypt header`.
pub fn run(args: HeaderArgs) -> Result<(), Failure> {
    match args.command {
        Command::Backup(args) => backup(&args),
        Command::Restore(args) => restore(&args),
        Command::Dump(args) => dump(&args),
    }
}

fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let store = &args.store;
    let failed = |error| store.failure("back up the header of", error);
    let device = store.device(true)?;
    let providers = Providers::same(store.provider()?);
    let backup = HeaderBackup::take(&device, &providers, &store.options()?).map_err(failed)?;
    let path = args.backup.display();
    backup.write_file(&args.backup).map_err(|error| {
        let exists = error.kind() == ErrorKind::Exists;
        let failure = Failure::new(format!("cannot write backup {path}"), error);
        if exists { failure.with_hint("name a file that is not there") } else { failure }
    })?;
    show(&backup.describe(), args.json)
}

fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let store = &args.store;
    let backup = read(&args.backup)?;
    let device = FileDevice::open(store.path(), false).map_err(|e| store.failure("open", e))?;
    let (provider, log) = store.provider_and_log()?;
    let providers = Providers::same(provider);
    let force = args.force.then_some(&log as &dyn efscrypt::keys::AuditSink);
    let restored = backup.restore(Arc::new(device), &providers, &store.options()?, force);
    let restored = restored.map_err(|error| {
        let refused = matches!(error, Error::InvalidArgument(_));
        let failure = store.failure("restore the header of", error);
        match refused {
            true => failure.with_hint("nothing was written; --force does it, and is recorded"),
            false => failure,
        }
    })?;
    let (word, text) = match restored {
        Restored::Nothing => ("nothing", "the store has these wrapped keys already"),
        Restored::Keys => ("keys", "the store has the wrapped keys of the backup"),
        Restored::Header => (
            "header",
            "the header is there again; `efscrypt check --repair` finds what belongs to it",
        ),
    };
    match args.json {
        true => output::json(&RestoreView { restored: word }),
        false => output::lines(&[text]),
    }
}

fn dump(args: &DumpArgs) -> Result<(), Failure> {
    show(&read(&args.backup)?.describe(), args.json)
}

fn read(path: &std::path::Path) -> Result<HeaderBackup, Failure> {
    HeaderBackup::read_file(path).map_err(|error| {
        let other = error.kind() == ErrorKind::NotAStore;
        let doing = format!("cannot read backup {}", path.display());
        match other {
            true => Failure::new(doing, error).with_hint("name a file of `efscrypt header backup`"),
            false => Failure::new(doing, error),
        }
    })
}

fn show(about: &HeaderDescription, json: bool) -> Result<(), Failure> {
    let keys = about.keys.iter().map(|key| KeyView {
        domain: if key.domain == 1 { "metadata" } else { "data" },
        version: key.version,
        provider: key.provider.clone(),
        key_id: key.key_id.clone(),
    });
    let view = HeaderView {
        id: about.id.iter().map(|byte| format!("{byte:02x}")).collect(),
        generation: about.generation,
        features: about.features,
        keys: keys.collect(),
    };
    if json {
        return output::json(&view);
    }
    let mut lines =
        vec![format!("id          {}", view.id), format!("generation  {}", view.generation)];
    let line = |key: &KeyView| {
        format!("{:<11} version {}, {} key {}", key.domain, key.version, key.provider, key.key_id)
    };
    lines.extend(view.keys.iter().map(line));
    output::lines(&lines)
}
