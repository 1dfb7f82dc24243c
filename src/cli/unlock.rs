//! What opens a key service file: from a prompt, a file or the environment, never from arguments,
//! which every user of the machine can read.

use std::env;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::{Failure, log_hint};
use super::prompt::{self, Line, Unasked};
use super::say;
use crate::error::{Error, ErrorKind};
use crate::keys::{
    AuditAnchor, AuditDurability, AuditEvent, AuditLog, AuditOp, AuditPolicy, AuditSink, Audited,
    BegunLog, KeyProvider, LocalKms, Passphrase, Unlock,
};
use clap::Args;

/// The variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "EFSCRYPT_PASSPHRASE";

/// Which key service, and how to open it.
#[derive(Args)]
pub struct KmsArgs {
    /// The key service file
    #[arg(long, global = true, env = "EFSCRYPT_KMS", value_name = "PATH")]
    kms: Option<PathBuf>,

    /// Read the passphrase from a file (default: EFSCRYPT_PASSPHRASE, else a prompt)
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,

    /// Open with a key file instead of a passphrase
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// The log of key uses (default: the key service file with .audit at its end)
    #[arg(long, global = true, value_name = "FILE")]
    audit: Option<PathBuf>,

    /// Whether the passphrase may come from the environment: a second key service does not have
    /// that of the first.
    #[arg(skip = true)]
    from_environment: bool,
}

impl KmsArgs {
    /// The key service file.
    pub fn path(&self) -> Result<&Path, Failure> {
        let missing = || Failure::usage("cannot tell the key service file", "give --kms PATH");
        self.kms.as_deref().ok_or_else(missing)
    }

    /// A second key service, which other arguments name.
    pub fn second(
        kms: PathBuf,
        key_file: Option<PathBuf>,
        passphrase_file: Option<PathBuf>,
        audit: Option<PathBuf>,
    ) -> Self {
        KmsArgs { kms: Some(kms), passphrase_file, key_file, audit, from_environment: false }
    }

    /// The log of key uses.
    pub fn audit_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.audit {
            return Ok(path.clone());
        }
        let mut name = self.path()?.as_os_str().to_owned();
        name.push(".audit");
        Ok(name.into())
    }

    /// What opens the file: the key file, else the passphrase from the file, the environment, or
    /// a prompt.
    pub fn unlock(&self) -> Result<Unlock, Failure> {
        let path = self.path()?.display();
        self.unlock_or(|| ask(&format!("Passphrase of {path}: ")))
    }

    /// As [`KmsArgs::unlock`] for a file to be made, so that a prompt asks twice.
    pub fn first_unlock(&self) -> Result<Unlock, Failure> {
        self.unlock_or(ask_twice)
    }

    fn unlock_or(
        &self,
        prompt: impl FnOnce() -> Result<Passphrase, Failure>,
    ) -> Result<Unlock, Failure> {
        let files = (self.key_file.as_deref(), self.passphrase_file.as_deref());
        unlock(files, || match env::var_os(PASSPHRASE_VARIABLE) {
            Some(value) if self.from_environment => passphrase(value.into_vec()),
            _ => {
                self.check_method()?;
                prompt()
            }
        })
    }

    /// Refuses to ask for a passphrase where only a key file opens the service.
    fn check_method(&self) -> Result<(), Failure> {
        match self.kms.as_deref().map(LocalKms::needs_key_file) {
            Some(Ok(true)) => Err(Failure::usage(
                format!("cannot open key service file {}", self.path()?.display()),
                "this key service file needs its key file",
            )
            .with_hint("name the key file with --key-file")),
            _ => Ok(()),
        }
    }

    /// Opens the key service; its calls are recorded.
    pub fn open(&self) -> Result<Audited<LocalKms>, Failure> {
        self.check_there()?;
        self.open_with(&self.unlock()?)
    }

    /// Opens the key service with what is known already.
    pub fn open_with(&self, unlock: &Unlock) -> Result<Audited<LocalKms>, Failure> {
        let kms = self.open_unrecorded(unlock)?;
        let log = Arc::new(self.log(&kms)?);
        let audited = Audited::new(kms, log, AuditPolicy::FailClosed);
        Ok(audited.with_principal(&principal()))
    }

    /// Opens the key service; a refusal is recorded, and nothing else.
    fn open_unrecorded(&self, unlock: &Unlock) -> Result<LocalKms, Failure> {
        let path = self.path()?;
        let doing = || format!("cannot open key service file {}", path.display());
        let opened = LocalKms::open(path, unlock).inspect_err(|e| self.record_refusal(path, e));
        opened.map_err(|e| Failure::new(doing(), e))
    }

    /// Opens the key service as a provider of keys; its calls are recorded.
    pub fn provider(&self) -> Result<Arc<dyn KeyProvider>, Failure> {
        Ok(Arc::new(self.open()?))
    }

    /// Refuses a file that is not there, before anyone is asked for a passphrase.
    pub fn check_there(&self) -> Result<(), Failure> {
        let path = self.path()?;
        path.metadata().map(|_| ()).map_err(|e| {
            Failure::file(format!("cannot find key service file {}", path.display()), &e)
                .with_hint("give its place with --kms, or make it with `efscrypt key init`")
        })
    }

    /// Records that a key service was made.
    pub fn record_init(&self, kms: &LocalKms) -> Result<(), Failure> {
        let log = self.log(kms)?;
        let doing = "cannot record that the key service file was made";
        let recorded = record(&log, AuditOp::Init, Ok(())).and_then(|()| kms.note_log(&log));
        recorded.map_err(|e| Failure::new(doing, e))
    }

    /// The log of key uses of a key service that is there and is not opened.
    pub fn own_log(&self) -> Result<AuditLog, Failure> {
        let path = self.audit_path()?;
        let opened = unopened_log(self.path()?, &path);
        opened.map_err(|e| self.log_failure("use", &path, e))
    }

    fn log(&self, kms: &LocalKms) -> Result<AuditLog, Failure> {
        let path = self.audit_path()?;
        let opened = kms.open_log(&path, AuditDurability::EachRecord);
        opened.map_err(|e| self.log_failure("use", &path, e))
    }

    /// A failure of what was tried with the log of key uses.
    pub fn log_failure(&self, verb: &str, path: &Path, error: Error) -> Failure {
        let hint = match error.unnamed() {
            Error::Corrupt { .. } => Some(
                "`efscrypt key audit new` puts it aside and begins a new log, which records that",
            ),
            error => log_hint(error),
        };
        let failure = Failure::new(format!("cannot {verb} audit log {}", path.display()), error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    /// What the key service file claims to know of the log; nothing where it is not there.
    pub fn known_log(&self, log: &Path) -> Result<Option<AuditAnchor>, Failure> {
        match self.kms.as_deref() {
            Some(kms) if kms.symlink_metadata().is_ok() => {
                let doing = || format!("cannot read key service file {}", kms.display());
                LocalKms::claimed_log(kms, log).map_err(|e| Failure::new(doing(), e))
            }
            _ => Ok(None),
        }
    }

    /// Begins a new log, for who opens the key service. Returns its file, too.
    pub fn begin_log(&self, reason: &str) -> Result<(PathBuf, BegunLog), Failure> {
        let path = self.audit_path()?;
        self.check_there()?;
        let kms = self.open_unrecorded(&self.unlock()?)?;
        let begun = kms.begin_log(&path, Some(&principal()), reason);
        let begun = begun.map_err(|e| self.log_failure("begin", &path, e))?;
        Ok((path, begun))
    }

    /// Records that the file `kms` did not open. Its error is what the user must be told, so that
    /// of a log that cannot be written is a warning.
    fn record_refusal(&self, kms: &Path, error: &Error) {
        let Ok(path) = self.audit_path() else { return };
        // No log is made for what may be no key service file.
        let is_one = matches!(error, Error::WrongPassphrase | Error::WrongKey(_));
        if !is_one && path.symlink_metadata().is_err() {
            return;
        }
        let log = unopened_log(kms, &path);
        let recorded = log.and_then(|log| record(&log, AuditOp::Open, Err(error.kind())));
        if let Err(e) = recorded {
            say::say(&format!("warning: this refusal is not in {}: {e}", path.display()));
        }
    }
}

/// The log of a key service that is not opened. None is made in the place of one that is gone: the
/// next opening tells that.
fn unopened_log(kms: &Path, path: &Path) -> Result<AuditLog, Error> {
    let known = LocalKms::claimed_log(kms, path).is_ok_and(|known| known.is_some());
    match known && path.symlink_metadata().is_err() {
        true => Err(Error::AuditLogMismatch("it is not there")),
        false => AuditLog::open_like(path, AuditDurability::EachRecord, kms),
    }
}

/// Records what was done to the key service as a whole.
fn record(log: &AuditLog, op: AuditOp, result: Result<(), ErrorKind>) -> Result<(), Error> {
    let principal = principal();
    let event = AuditEvent::new(op, "local", "");
    log.record(&AuditEvent { principal: Some(&principal), result, ..event })
}

fn principal() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

/// What will open a key service file from now on: a key file, else a passphrase from a file or a
/// prompt that asks twice.
pub fn new_unlock(
    key_file: Option<&Path>,
    passphrase_file: Option<&Path>,
) -> Result<Unlock, Failure> {
    unlock((key_file, passphrase_file), ask_twice)
}

fn unlock(
    (key_file, passphrase_file): (Option<&Path>, Option<&Path>),
    otherwise: impl FnOnce() -> Result<Passphrase, Failure>,
) -> Result<Unlock, Failure> {
    if let Some(path) = key_file {
        return Ok(Unlock::KeyFile(path.to_owned()));
    }
    passphrase_file.map_or_else(otherwise, read_passphrase).map(Unlock::Passphrase)
}

fn read_passphrase(path: &Path) -> Result<Passphrase, Failure> {
    let doing = || format!("cannot read passphrase file {}", path.display());
    Passphrase::read_file(path).map_err(|e| Failure::new(doing(), e))
}

fn passphrase(bytes: Vec<u8>) -> Result<Passphrase, Failure> {
    Passphrase::new(bytes).map_err(|e| Failure::new("cannot use the passphrase", e))
}

fn ask_line(prompt: &str) -> Result<Line, Failure> {
    const DOING: &str = "cannot ask for the passphrase";
    prompt::ask(prompt).map_err(|why| match why {
        Unasked::NoTerminal => Failure::usage(DOING, "there is no terminal").with_hint(
            "name a file that holds it with --passphrase-file, set EFSCRYPT_PASSPHRASE, or name a \
             key file with --key-file",
        ),
        Unasked::Failed(error) => Failure::file(DOING, &error),
    })
}

fn ask(prompt: &str) -> Result<Passphrase, Failure> {
    passphrase(std::mem::take(&mut *ask_line(prompt)?))
}

fn ask_twice() -> Result<Passphrase, Failure> {
    let first = ask_line("New passphrase: ")?;
    let mut second = ask_line("The same again: ")?;
    match *first == *second {
        true => passphrase(std::mem::take(&mut *second)),
        false => Err(Failure::usage("cannot use the passphrase", "the two differ: try again")),
    }
}
