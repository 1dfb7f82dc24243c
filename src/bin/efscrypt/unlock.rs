//! What opens a key service file: from a prompt, a file or the environment, never from arguments,
//! which every user of the machine can read.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::keys::{
    AuditDurability, AuditEvent, AuditLog, AuditOp, AuditPolicy, AuditSink, Audited, KeyProvider,
    LocalKms, Passphrase, Unlock,
};
use efscrypt::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::output;

/// Bytes that are wiped on every way out.
type Secret = Zeroizing<Vec<u8>>;

/// The variable that may hold the passphrase.
const PASSPHRASE_VARIABLE: &str = "EFSCRYPT_PASSPHRASE";
/// More than the longest passphrase and its newline, bytes.
const MAX_PASSPHRASE_FILE: u64 = 8192;

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
        prompt: impl FnOnce() -> Result<Secret, Failure>,
    ) -> Result<Unlock, Failure> {
        let files = (self.key_file.as_deref(), self.passphrase_file.as_deref());
        unlock(files, || match env::var_os(PASSPHRASE_VARIABLE) {
            Some(value) if self.from_environment => Ok(Zeroizing::new(value.into_vec())),
            _ => prompt(),
        })
    }

    /// Opens the key service; its calls are recorded.
    pub fn open(&self) -> Result<Audited<LocalKms>, Failure> {
        self.check_there()?;
        self.open_with(&self.unlock()?)
    }

    /// Opens the key service with what is known already.
    pub fn open_with(&self, unlock: &Unlock) -> Result<Audited<LocalKms>, Failure> {
        let path = self.path()?;
        let doing = || format!("cannot open key service file {}", path.display());
        let opened = LocalKms::open(path, unlock).inspect_err(|e| self.record_refusal(path, e));
        let kms = opened.map_err(|e| Failure::new(doing(), e))?;
        let log = Arc::new(self.log(kms.path())?);
        let audited = Audited::new(kms, log, AuditPolicy::FailClosed);
        Ok(audited.with_principal(&principal()))
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
        let log = self.log(kms.path())?;
        let doing = "cannot record that the key service file was made";
        record(&log, AuditOp::Init, Ok(())).map_err(|e| Failure::new(doing, e))
    }

    /// The log of key uses of a key service that is there.
    pub fn own_log(&self) -> Result<AuditLog, Failure> {
        self.log(self.path()?)
    }

    fn log(&self, kms: &Path) -> Result<AuditLog, Failure> {
        let path = self.audit_path()?;
        open_log(&path, kms).map_err(|e| {
            let refused = match &e {
                Error::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
                _ => false,
            };
            let failure = Failure::new(format!("cannot use audit log {}", path.display()), e);
            match refused {
                true => failure.with_hint(
                    "run it as the owner of the key service file, whose log it is, or name a log \
                     of your own with --audit",
                ),
                false => failure,
            }
        })
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
        let log = open_log(&path, kms);
        let recorded = log.and_then(|log| record(&log, AuditOp::Open, Err(error.kind())));
        if let Err(e) = recorded {
            output::say(&format!("warning: this refusal is not in {}: {e}", path.display()));
        }
    }
}

/// The log of the uses of the file `kms`. A new one gets that file's owner, so that an
/// administrator does not lock a service out of the log that it must write.
fn open_log(path: &Path, kms: &Path) -> Result<AuditLog, Error> {
    AuditLog::open_like(path, AuditDurability::EachRecord, kms)
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
    otherwise: impl FnOnce() -> Result<Secret, Failure>,
) -> Result<Unlock, Failure> {
    if let Some(path) = key_file {
        return Ok(Unlock::KeyFile(path.to_owned()));
    }
    let mut secret = passphrase_file.map_or_else(otherwise, read_passphrase)?;
    let passphrase = Passphrase::new(std::mem::take(&mut *secret));
    passphrase.map(Unlock::Passphrase).map_err(|e| Failure::new("cannot use the passphrase", e))
}

/// A file's contents without one newline at the end.
fn read_passphrase(path: &Path) -> Result<Secret, Failure> {
    let doing = || format!("cannot read passphrase file {}", path.display());
    let failed = |e| Failure::file(doing(), &e);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_file() && about.permissions().mode() & 0o077 != 0 {
        output::say(&format!("warning: {} is open to other users: chmod 600 it", path.display()));
    }
    // Room from the start: a growing vector would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_FILE as usize + 1));
    file.take(MAX_PASSPHRASE_FILE).read_to_end(&mut text).map_err(failed)?;
    let without = text.strip_suffix(b"\n").map(|t| t.strip_suffix(b"\r").unwrap_or(t));
    let len = without.map_or(text.len(), <[u8]>::len);
    text.truncate(len);
    Ok(text)
}

fn ask(prompt: &str) -> Result<Secret, Failure> {
    let answer = rpassword::prompt_password(prompt);
    answer.map(|text| Zeroizing::new(text.into_bytes())).map_err(|_| {
        let why = "there is no terminal: name a file that holds it, or a key file";
        Failure::usage("cannot ask for the passphrase", why)
    })
}

fn ask_twice() -> Result<Secret, Failure> {
    let first = ask("New passphrase: ")?;
    let second = ask("The same again: ")?;
    match *first == *second {
        true => Ok(second),
        false => Err(Failure::usage("cannot use the passphrase", "the two differ: try again")),
    }
}
