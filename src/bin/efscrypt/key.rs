//! `efscrypt key`: the key service in a file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use efscrypt::keys::{AuditLog, Audited, KeyDescription, KeyProvider, LocalKms, Unlock};
use efscrypt::{Error, Result};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::{self, KeyView};
use crate::store::key_name;
use crate::unlock::{KmsArgs, new_unlock};

#[derive(Args)]
pub struct KeyArgs {
    #[command(flatten)]
    kms: KmsArgs,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key service file; with --key-file, also the key file if it is not there
    Init,
    /// Create a key
    Create {
        /// A name for it: NAME or alias/NAME
        #[arg(long, value_name = "NAME")]
        alias: Option<String>,
    },
    /// Show all keys
    List,
    /// Show a key
    Describe {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Give and take names
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Let a key be used again
    Enable {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Refuse every use of a key, in every process, from its next call on
    Disable {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Give a key new material; what older versions wrapped still opens
    Rotate {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Refuse every use of a key and destroy it later: what it wraps is then lost for good
    ScheduleDeletion {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
        /// Days until then, 7 to 30
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Keep a key whose deletion is scheduled; it is disabled afterwards
    CancelDeletion {
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Destroy the keys whose day of deletion has come, as every other change does too
    DestroyExpired,
    /// Change what opens the key service file
    ChangeUnlock {
        /// Read the new passphrase from a file (default: a prompt)
        #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
        new_passphrase_file: Option<PathBuf>,
        /// Open with a key file from now on; made if it is not there
        #[arg(long, value_name = "FILE")]
        new_key_file: Option<PathBuf>,
    },
    /// Verify the log of key uses, or begin a new one
    Audit {
        #[command(subcommand)]
        command: Option<AuditCommand>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Begin a new log in the place of one that is damaged, gone or long enough. What is there is
    /// kept beside it; the first record of the new one tells what it continues
    New {
        /// Why: stands in that record
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

#[derive(Subcommand)]
enum AliasCommand {
    /// Give a name to a key; a key that had it loses it
    Set {
        /// NAME or alias/NAME
        name: String,
        /// Id, alias/NAME or NAME
        #[arg(value_parser = key_name)]
        key: String,
    },
    /// Take a name from its key
    Delete {
        /// NAME or alias/NAME
        name: String,
    },
}

/// Runs `efscrypt key`.
pub fn run(args: KeyArgs) -> std::result::Result<(), Failure> {
    let KeyArgs { kms, json, command } = args;
    let change = |doing: &str, key: &str, f: &dyn Fn(&Audited<LocalKms>) -> Result<_>| {
        let kms = kms.open()?;
        let description = f(&kms).map_err(|e| Failure::new(format!("cannot {doing} {key}"), e))?;
        show(&description, json).map_err(|e| e.after(&format!("{doing} {key} was done")))
    };
    match &command {
        KeyCommand::Init => init(&kms),
        KeyCommand::Create { alias } => {
            let alias = alias.as_deref().map(full_alias);
            let what = alias.as_deref().unwrap_or("without alias");
            change("create key", what, &|kms| kms.create_key(alias.as_deref()))
        }
        KeyCommand::List => list(&kms, json),
        KeyCommand::Describe { key } => change("describe key", key, &|kms| kms.describe(key)),
        KeyCommand::Alias(AliasCommand::Set { name, key }) => {
            change("give a name to key", key, &|kms| kms.set_alias(&full_alias(name), key))
        }
        KeyCommand::Alias(AliasCommand::Delete { name }) => {
            change("delete alias", name, &|kms| kms.delete_alias(&full_alias(name)))
        }
        KeyCommand::Enable { key } => change("enable key", key, &|kms| kms.enable(key)),
        KeyCommand::Disable { key } => change("disable key", key, &|kms| kms.disable(key)),
        KeyCommand::Rotate { key } => change("rotate key", key, &|kms| kms.rotate(key)),
        KeyCommand::ScheduleDeletion { key, days } => {
            change("schedule deletion of key", key, &|kms| kms.schedule_deletion(key, *days))
        }
        KeyCommand::CancelDeletion { key } => {
            change("cancel deletion of key", key, &|kms| kms.cancel_deletion(key))
        }
        KeyCommand::DestroyExpired => destroy_expired(&kms, json),
        KeyCommand::ChangeUnlock { new_passphrase_file, new_key_file } => {
            change_unlock(&kms, new_passphrase_file.as_deref(), new_key_file.as_deref())
        }
        KeyCommand::Audit { command: None } => audit(&kms, json),
        KeyCommand::Audit { command: Some(AuditCommand::New { reason }) } => {
            begin_log(&kms, reason, json)
        }
    }
}

fn init(kms: &KmsArgs) -> std::result::Result<(), Failure> {
    let path = kms.path()?;
    let doing = || format!("cannot make key service file {}", path.display());
    if path.symlink_metadata().is_ok() {
        return Err(Failure::new(doing(), Error::Exists));
    }
    let unlock = kms.first_unlock()?;
    let key_file = make_key_file(&unlock)?;
    let made = LocalKms::init(path, &unlock).map_err(|e| {
        // It opens nothing, and nobody shall keep a copy of it.
        if let (Some(key_file), true) = (key_file, path.symlink_metadata().is_err()) {
            let _ = std::fs::remove_file(key_file);
        }
        Failure::new(doing(), e)
    })?;
    key_file.into_iter().for_each(say_made);
    kms.record_init(&made)?;
    let made = format!("made key service file {}", path.display());
    output::lines(&[&made]).map_err(|failure| failure.after(&made))
}

fn list(kms: &KmsArgs, json: bool) -> std::result::Result<(), Failure> {
    let keys = kms.open()?.unaudited().list();
    let keys = keys.map_err(|e| Failure::new("cannot list the keys", e))?;
    match json {
        true => output::json(&keys.iter().map(KeyView::new).collect::<Vec<_>>()),
        false => output::lines(&output::key_table(&keys)),
    }
}

fn destroy_expired(kms: &KmsArgs, json: bool) -> std::result::Result<(), Failure> {
    #[derive(Serialize)]
    struct Destroyed {
        destroyed: usize,
    }
    let destroyed = kms.open()?.destroy_expired();
    let destroyed = destroyed.map_err(|e| Failure::new("cannot destroy expired keys", e))?;
    match json {
        true => output::json(&Destroyed { destroyed }),
        false => output::lines(&[format!("{} destroyed", output::count(destroyed as u64, "key"))]),
    }
}

fn change_unlock(
    kms: &KmsArgs,
    new_passphrase_file: Option<&Path>,
    new_key_file: Option<&Path>,
) -> std::result::Result<(), Failure> {
    kms.check_there()?;
    let current = kms.unlock()?;
    let opened = kms.open_with(&current)?;
    let new = new_unlock(new_key_file, new_passphrase_file)?;
    make_key_file(&new)?.into_iter().for_each(say_made);
    let changed = opened.change_unlock(&current, &new);
    changed.map_err(|e| Failure::new("cannot change what opens the key service file", e))?;
    output::lines(&["changed: copies of the file from before still open as they did"])
        .map_err(|failure| failure.after("what opens the key service file was changed"))
}

fn audit(kms: &KmsArgs, json: bool) -> std::result::Result<(), Failure> {
    #[derive(Serialize)]
    struct Verified {
        records: u64,
        head: String,
        torn_bytes: u64,
    }
    let path = kms.audit_path()?;
    // Nobody is asked for a passphrase: what the file claims to know is proven when it is opened.
    let known = kms.known_log(&path)?;
    let summary = match &known {
        Some(known) => AuditLog::verify_known(&path, known),
        None => AuditLog::verify(&path),
    };
    let summary = summary.map_err(|e| kms.log_failure("verify", &path, e))?;
    let (records, head, torn_bytes) = (summary.records, summary.head, summary.torn_bytes);
    match json {
        true => output::json(&Verified { records, head, torn_bytes }),
        false => {
            let mut lines = vec![format!("records  {records}"), format!("head     {head}")];
            if torn_bytes > 0 {
                let torn = output::bytes(torn_bytes);
                lines.push(format!("torn     {torn} of a record that was never whole at the end"));
            }
            output::lines(&lines)
        }
    }
}

fn begin_log(kms: &KmsArgs, reason: &str, json: bool) -> std::result::Result<(), Failure> {
    #[derive(Serialize)]
    struct Begun {
        log: String,
        /// Where the old one is; `null` where there was none.
        kept: Option<String>,
    }
    let (path, begun) = kms.begin_log(reason)?;
    let shown = |path: &Path| path.display().to_string();
    let view = Begun { log: shown(&path), kept: begun.kept.as_deref().map(shown) };
    let told = match json {
        true => output::json(&view),
        false => {
            let mut lines = vec![format!("began audit log {}", view.log)];
            lines.extend(view.kept.map(|kept| format!("the one before is kept in {kept}")));
            output::lines(&lines)
        }
    };
    told.map_err(|failure| failure.after(&format!("audit log {} was begun", path.display())))
}

/// A key file that is named for a new lock and is not there is made. Returns it.
fn make_key_file(unlock: &Unlock) -> std::result::Result<Option<&Path>, Failure> {
    let Unlock::KeyFile(path) = unlock else { return Ok(None) };
    if path.exists() {
        return Ok(None);
    }
    let failed = |e| Failure::new(format!("cannot make key file {}", path.display()), e);
    Unlock::create_key_file(path).map_err(failed)?;
    Ok(Some(path))
}

fn say_made(key_file: &Path) {
    output::say(&format!("made key file {}: keep a copy where it is safe", key_file.display()));
}

fn show(key: &KeyDescription, json: bool) -> std::result::Result<(), Failure> {
    match json {
        true => output::json(&KeyView::new(key)),
        false => output::lines(&output::key_block(key)),
    }
}

/// `alias/NAME`, also where only NAME is given.
fn full_alias(name: &str) -> Cow<'_, str> {
    match name.starts_with("alias/") {
        true => name.into(),
        false => format!("alias/{name}").into(),
    }
}
