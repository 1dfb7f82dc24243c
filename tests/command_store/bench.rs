//! What the tests share: a directory with a key service in it, and the command.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use efscrypt::device::FileDevice;
use efscrypt::keys::{LocalKms, Unlock};
use efscrypt::{Providers, Store, StoreOptions};
use serde_json::Value;

/// The user and group that have no rights.
const NOBODY: u32 = 65_534;

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
        command.args(args);
        self.complete(command)
    }

    fn complete(&self, mut command: Command) -> Command {
        command.args(["--key-file", "key"]).stdin(Stdio::null());
        command.current_dir(self.dir.path()).env("EFSCRYPT_KMS", "kms");
        command.env_remove("EFSCRYPT_PASSPHRASE").env_remove("EFSCRYPT_FILES_CACHE");
        command.env("XDG_CACHE_HOME", self.path("caches"));
        command
    }

    /// The command with no file longer than `kib` KiB: as on a disk that is full.
    pub fn with_full_disk(&self, kib: u64, args: &[&str]) -> Command {
        // The shell counts blocks of 512 bytes.
        self.limited("-f", 2 * kib, args)
    }

    /// The command with a limit of the shell's `ulimit`.
    pub fn limited(&self, what: &str, limit: u64, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit {what} {limit}; exec \"$@\"");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_efscrypt")]).args(args);
        self.complete(command)
    }

    /// The command as a user who is not root, to whom all of the directory belongs from now on.
    pub fn as_user(&self, args: &[&str]) -> Command {
        if !rustix::process::geteuid().is_root() {
            return self.command(args);
        }
        // He may not come to where it was built.
        let program = self.path("efscrypt");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_efscrypt"), &program).unwrap();
        }
        give_away(self.dir.path());
        let mut command = Command::new(program);
        command.args(args).uid(NOBODY).gid(NOBODY);
        self.complete(command)
    }

    /// The store of that name, as a program that embeds the library has it.
    pub fn open(&self, name: &str) -> Store {
        let unlock = Unlock::KeyFile(self.path("key"));
        let kms = Arc::new(LocalKms::open(&self.path("kms"), &unlock).unwrap());
        let device = Arc::new(FileDevice::open(self.path(name), false).unwrap());
        Store::open(device, Providers::same(kms), StoreOptions::default()).unwrap()
    }

    /// Flips a bit in the middle of what was written between two states of a store in the longest
    /// piece: of the contents of a file, if that is large.
    pub fn flip_contents(&self, name: &str, before: &[u8]) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        let changed = changed_blocks(before, &bytes);
        let pieces = changed.chunk_by(|a, b| a + 1 == *b);
        let piece = pieces.max_by_key(|piece| piece.len()).unwrap();
        bytes[(piece[piece.len() / 2]) * 4096 + 77] ^= 4;
        fs::write(self.path(name), bytes).unwrap();
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

/// The blocks of 4 KiB that differ between two states of a store.
pub fn changed_blocks(before: &[u8], after: &[u8]) -> Vec<usize> {
    let block = |bytes: &[u8], i: usize| {
        let mut block = [0; 4096];
        let from = bytes.len().min(i * 4096);
        let part = &bytes[from..bytes.len().min(from + 4096)];
        block[..part.len()].copy_from_slice(part);
        block
    };
    (0..after.len().div_ceil(4096)).filter(|&i| block(before, i) != block(after, i)).collect()
}

fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}
