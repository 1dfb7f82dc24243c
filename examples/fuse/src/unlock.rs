//! What opens the key service file: a key file, or a passphrase from a file, the environment or a
//! prompt; never from arguments, which every user of the machine can read.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use efscrypt::keys::{
    AuditDurability, AuditLog, AuditPolicy, Audited, KeyProvider, LocalKms, Passphrase, Unlock,
};
use zeroize::Zeroizing;

use crate::failure::{Failure, Try};

/// The variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "EFSCRYPT_PASSPHRASE";
/// More than the longest passphrase and its newline, bytes.
const MAX_PASSPHRASE_FILE: u64 = 8192;

/// Which key service, and how to open it.
#[derive(Args)]
pub struct KmsArgs {
    /// The key service file
    #[arg(long, env = "EFSCRYPT_KMS", value_name = "FILE")]
    kms: PathBuf,

    /// Read the passphrase from a file (default: EFSCRYPT_PASSPHRASE, else a prompt)
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,

    /// Open with a key file instead of a passphrase
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// The log of key uses (default: the key service file with .audit at its end)
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
}

impl KmsArgs {
    /// The key service, whose calls are recorded.
    pub fn provider(&self) -> Result<Arc<dyn KeyProvider>, Failure> {
        let doing = || format!("cannot open key service file {}", self.kms.display());
        // Before anybody is asked for a passphrase.
        self.kms.metadata().or_fail(doing)?;
        let kms = LocalKms::open(&self.kms, &self.unlock()?).or_fail(doing)?;
        let path = self.audit_path();
        let log = AuditLog::open_like(&path, AuditDurability::EachRecord, kms.path());
        let log = log.or_fail(|| format!("cannot use audit log {}", path.display()))?;
        let user = rustix::process::getuid().as_raw();
        let audited = Audited::new(kms, Arc::new(log), AuditPolicy::FailClosed);
        Ok(Arc::new(audited.with_principal(&format!("uid {user}"))))
    }

    fn audit_path(&self) -> PathBuf {
        self.audit.clone().unwrap_or_else(|| {
            let mut name = self.kms.as_os_str().to_owned();
            name.push(".audit");
            name.into()
        })
    }

    fn unlock(&self) -> Result<Unlock, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(Unlock::KeyFile(path.clone()));
        }
        let mut secret = match (&self.passphrase_file, env::var_os(PASSPHRASE_VARIABLE)) {
            (Some(path), _) => {
                read(path).or_fail(|| format!("cannot read passphrase file {}", path.display()))?
            }
            (None, Some(value)) => Zeroizing::new(value.into_vec()),
            (None, None) => self.ask().or_fail(|| "cannot ask for the passphrase".to_owned())?,
        };
        let passphrase = Passphrase::new(std::mem::take(&mut *secret));
        passphrase.map(Unlock::Passphrase).or_fail(|| "cannot use the passphrase".to_owned())
    }

    fn ask(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let prompt = format!("Passphrase of {}: ", self.kms.display());
        Ok(Zeroizing::new(rpassword::prompt_password(prompt)?.into_bytes()))
    }
}

/// A file's contents without one newline at the end.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room from the start: a growing vector would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_FILE as usize + 1));
    File::open(path)?.take(MAX_PASSPHRASE_FILE).read_to_end(&mut text)?;
    for end in [b'\n', b'\r'] {
        if text.last() == Some(&end) {
            text.pop();
        }
    }
    Ok(text)
}
