//! Small file systems and block devices in a file. Only root can have them; a test that gets none
//! says so and does nothing, unless `EFSCRYPT_MOUNTS` is set, which says that it must.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A file that is a block device (`losetup`).
pub struct Loop {
    /// Removed after the device is gone.
    _dir: tempfile::TempDir,
    pub device: PathBuf,
}

/// An ext4 file system in such a file, mounted.
pub struct Mount {
    pub path: PathBuf,
    _loop: Loop,
}

/// Runs a command; returns what it prints, or says why a test is skipped.
fn run(command: &mut Command) -> Option<String> {
    let output = match command.output() {
        Ok(output) if output.status.success() => {
            return Some(String::from_utf8(output.stdout).unwrap());
        }
        other => other,
    };
    assert!(env::var_os("EFSCRYPT_MOUNTS").is_none(), "{command:?}: {output:?}");
    // Not `eprintln`, which shows nothing where a test succeeds.
    let _ = writeln!(std::io::stderr(), "SKIPPED, since {command:?} failed: {output:?}");
    None
}

impl Loop {
    pub fn new(bytes: u64) -> Option<Loop> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(image))?;
        Some(Loop { _dir: dir, device: device.trim().into() })
    }

    /// The file that it is made of.
    pub fn image(&self) -> PathBuf {
        self._dir.path().join("image")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

impl Mount {
    /// Without blocks that are kept for root.
    pub fn new(bytes: u64) -> Option<Mount> {
        let device = Loop::new(bytes)?;
        let path = device._dir.path().join("mounted");
        std::fs::create_dir(&path).unwrap();
        let mkfs = ["-q", "-m", "0", "-b", "4096"];
        run(Command::new("mkfs.ext4").args(mkfs).arg(&device.device))?;
        run(Command::new("mount").arg(&device.device).arg(&path))?;
        Some(Mount { path, _loop: device })
    }

    /// Bytes that the file system has free.
    pub fn free(&self) -> u64 {
        let about = rustix::fs::statvfs(&self.path).unwrap();
        about.f_bavail * about.f_frsize
    }

    /// Fills it with a file beside the store, to the last byte.
    pub fn hog(&self) -> Hog {
        let path = self.path.join("hog");
        let mut file = std::fs::File::create(&path).unwrap();
        for len in [1 << 20, 4096, 1] {
            let bytes = vec![1; len];
            while file.write_all(&bytes).is_ok() {}
        }
        // What the cache took must be on the device, or there was no room for it.
        let _ = file.sync_all();
        Hog { path }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

/// A file that takes all space.
pub struct Hog {
    path: PathBuf,
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
