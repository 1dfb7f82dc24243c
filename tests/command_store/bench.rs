//! What the tests share: a directory with a key service in it, and the command.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A directory with a key service file, its key file, and the keys `alias/data` and `alias/meta`.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// Without a store.
    pub fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        bench.ok(&["key", "init"]);
        bench.ok(&["key", "create", "--alias", "data"]);
        bench.ok(&["key", "create", "--alias", "meta"]);
        bench
    }

    /// With an empty store of the name `s`.
    pub fn with_store() -> Bench {
        let bench = Bench::new();
        bench.create("s");
        bench
    }

    /// Makes a store with a small log: the tests write few bytes.
    pub fn create(&self, name: &str) -> Value {
        self.json(&["create", name, "--data-key", "alias/data", "--log", "1"])
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `efscrypt ARGS` in the directory, with the key service opened by its key file.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efscrypt"));
        command.args(args).args(["--key-file", "key"]).stdin(Stdio::null());
        command.current_dir(self.dir.path()).env("EFSCRYPT_KMS", "kms");
        command.env_remove("EFSCRYPT_PASSPHRASE");
        command
    }

    /// Standard output of a success.
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        String::from_utf8(self.bytes(args)).unwrap()
    }

    /// Standard output of a success, in bytes.
    pub fn bytes<S: AsRef<OsStr>>(&self, args: &[S]) -> Vec<u8> {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Standard output of a success with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Exit code and standard error of a failure.
    pub fn fail<S: AsRef<OsStr>>(&self, args: &[S]) -> (i32, String) {
        failure(self.command(args).output().unwrap())
    }
}

/// Exit code and standard error of a failure.
pub fn failure(output: Output) -> (i32, String) {
    assert!(!output.status.success(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
