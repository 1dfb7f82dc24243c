//! What the tests stand on: a store, and the program that mounts it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use efscrypt::keys::{KeyProvider, LocalKms, Unlock};
use efscrypt::{Providers, Store, StoreOptions};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store in a directory of its own, and the place where it is mounted.
pub struct Bed {
    dir: TempDir,
    /// Whether a file system of its own is mounted on the directory.
    mounted: bool,
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.mounted {
            let _gone = unmount(self.dir.path(), UnmountFlags::DETACH);
        }
    }
}

/// A program that has the store mounted. Dropped, it is killed.
pub struct Mounted {
    child: Option<Child>,
    root: PathBuf,
    log: PathBuf,
}

impl Bed {
    /// A new store; `None` where nobody can mount, which is said.
    pub fn new() -> Option<Bed> {
        if File::options().read(true).write(true).open("/dev/fuse").is_err()
            || !rustix::process::geteuid().is_root()
        {
            eprintln!("NOT CHECKED: only root with /dev/fuse can mount");
            return None;
        }
        Some(Bed::in_dir(tempfile::tempdir().unwrap(), false))
    }

    /// As [`Bed::new`], where the store cannot grow beyond some MiB.
    pub fn small() -> Option<Bed> {
        Bed::new()?;
        let dir = tempfile::tempdir().unwrap();
        let none = MountFlags::empty();
        mount("tmpfs", dir.path(), "tmpfs", none, Some(c"size=160m")).unwrap();
        Some(Bed::in_dir(dir, true))
    }

    fn in_dir(dir: TempDir, mounted: bool) -> Bed {
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let bed = Bed { dir, mounted };
        let key = Unlock::KeyFile(bed.path("key"));
        Unlock::create_key_file(&bed.path("key")).unwrap();
        let kms = LocalKms::init(&bed.path("kms"), &key).unwrap();
        kms.create_key(Some("alias/k")).unwrap();
        let keys = Providers::same(Arc::new(kms));
        let options = StoreOptions::default();
        let store = Store::create_file(bed.path("store"), keys, "alias/k", "alias/k", options);
        store.unwrap().close().unwrap();
        bed
    }

    /// A file beside the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, with its arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        // Whatever the tests were started with is no part of them.
        let mut command = Command::new("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_efscrypt-fuse")]);
        command.arg(self.path("store")).arg(self.path("mnt")).arg("--kms").arg(self.path("kms"));
        command.arg("--key-file").arg(self.path("key")).args(args);
        command
    }

    /// Mounts the store, and waits until it is there.
    pub fn mount(&self, args: &[&str]) -> Mounted {
        self.mount_by(self.command(args))
    }

    /// As [`Bed::mount`], by a shell that does something first.
    pub fn mount_after(&self, first: &str) -> Mounted {
        let program = self.command(&[]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{first}; exec \"$@\"")).arg("sh");
        self.mount_by({
            // Past `env`, which would undo it.
            shell.args(program.get_args().skip(1));
            shell
        })
    }

    fn mount_by(&self, mut command: Command) -> Mounted {
        let log = self.path("log");
        command.stderr(File::create(&log).unwrap()).stdout(Stdio::null());
        let child = Some(command.spawn().unwrap());
        let mut mounted = Mounted { child, root: self.path("mnt"), log };
        let outside = fs::metadata(self.dir.path()).unwrap().dev();
        until("mounted", || {
            let ended = mounted.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}", mounted.said());
            fs::metadata(&mounted.root).is_ok_and(|root| root.dev() != outside)
        });
        mounted
    }

    /// The store, opened by this process.
    pub fn store(&self) -> Store {
        let kms = LocalKms::open(&self.path("kms"), &Unlock::KeyFile(self.path("key"))).unwrap();
        let keys: Arc<dyn KeyProvider> = Arc::new(kms);
        let options = StoreOptions::default();
        Store::open_file(self.path("store"), Providers::same(keys), options).unwrap()
    }

    /// Fails unless the store is as it should be after it was closed.
    pub fn check(&self) {
        let store = self.store();
        assert_eq!(store.recovery().records, 0, "everything was committed");
        let report = efscrypt::check::check(store.file_system()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.orphans, 0);
        store.close().unwrap();
    }
}

impl Mounted {
    /// A path in the mounted store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The mounted store's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the program said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A file of the kernel's about the program.
    pub fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.as_ref().unwrap().id()).into()
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits until the program ends.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        until("ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends the program as a user does.
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{}", self.said());
        assert!(self.said().contains("everything is committed"), "{}", self.said());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _failed = child.kill();
            let _gone = child.wait();
        }
        let _none = unmount(&self.root, UnmountFlags::DETACH);
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
        sleep(Duration::from_millis(10));
    }
}

/// Bytes that differ by seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
