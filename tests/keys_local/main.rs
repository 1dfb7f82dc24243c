//! `LocalKms` as its users see it: states, contexts, damage, other processes, permissions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod evidence;
mod files;
#[path = "../../examples/support/secrets.rs"]
mod secrets;
mod states;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::keys::{
    Argon2Cost, Clock, Domain, EncryptionContext, LocalKms, LocalOptions, Passphrase, Unlock,
};
use efscrypt::{Error, ErrorKind};

const START: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

/// A clock that stands still until it is moved.
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A directory with a key service in it, cheap to open.
struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Bench {
        let clock = Arc::new(ManualClock(AtomicU64::new(START)));
        Bench { dir: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("kms.json")
    }

    fn options(&self) -> LocalOptions {
        LocalOptions { cost: Argon2Cost::new(8, 1, 1).unwrap(), clock: self.clock.clone() }
    }

    fn init(&self) -> LocalKms {
        LocalKms::init_with(&self.path(), &passphrase("correct horse"), self.options()).unwrap()
    }

    fn open(&self) -> Result<LocalKms, Error> {
        LocalKms::open_with(&self.path(), &passphrase("correct horse"), self.options())
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Names in the directory, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Passphrase::new(text.into()).unwrap())
}

fn context() -> EncryptionContext {
    let caller = EncryptionContext::new().with("tenant", "acme").unwrap();
    caller.for_store(&[7; 16], Domain::Data)
}

/// The kind of an expected failure.
fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(|_| "success").unwrap_err().kind()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
