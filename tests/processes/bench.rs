//! What the tests share: a directory with a key service and a store, and the numbers that a run
//! depends on.

use std::env;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::keys::{LocalKms, Unlock};
use efscrypt::txn::EngineOptions;
use efscrypt::{Providers, Store, StoreOptions};

/// The key of all stores.
const KEY: &str = "alias/data";

/// A directory with a key service file `kms` and its key file `key`.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        Unlock::create_key_file(&key).unwrap();
        let kms = LocalKms::init(&dir.path().join("kms"), &Unlock::KeyFile(key)).unwrap();
        kms.create_key(Some(KEY)).unwrap();
        Bench { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a store with a small log, so that it goes round often.
    pub fn create(&self, store: &Path) -> Store {
        Store::create_file(store, providers(self.dir.path()), KEY, KEY, options(false)).unwrap()
    }

    pub fn open(&self, store: &Path, read_only: bool) -> Store {
        open(self.dir.path(), store, read_only)
    }

    /// `efscrypt ARGS` in the directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efscrypt"));
        command.args(args).args(["--key-file", "key"]).stdin(Stdio::null());
        command.current_dir(self.dir.path()).env("EFSCRYPT_KMS", "kms");
        command.env_remove("EFSCRYPT_PASSPHRASE");
        command
    }

    /// Standard output of a success.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn providers(keys: &Path) -> Providers {
    let kms = LocalKms::open(&keys.join("kms"), &Unlock::KeyFile(keys.join("key"))).unwrap();
    Providers::same(Arc::new(kms))
}

fn options(read_only: bool) -> StoreOptions {
    StoreOptions {
        engine: EngineOptions { log_bytes: 1 << 20, cache_bytes: 8 << 20, read_only },
        ..StoreOptions::default()
    }
}

/// Opens a store whose key service is in the directory `keys`.
pub fn open(keys: &Path, store: &Path, read_only: bool) -> Store {
    Store::open_file(store, providers(keys), options(read_only)).unwrap()
}

pub fn assert_clean(store: &Store, what: &str) {
    let report = check(store.file_system()).unwrap();
    assert!(report.is_clean(), "{what}: {report:?}");
}

/// How often something is killed.
pub fn kills(default: u64) -> u64 {
    number("EFSCRYPT_KILLS", default)
}

/// What the random numbers of a run start from.
pub fn seed() -> u64 {
    number("EFSCRYPT_SEED", 1)
}

fn number<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}
