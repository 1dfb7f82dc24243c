//! Waiting for who has a store open: it may be about to close, as a server whose mount just ended.

use std::fmt::{self, Display};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};

use super::FileDevice;
use crate::error::{Error, ErrorKind, Result};

/// How often a device that is in use is tried again.
const OFTEN: Duration = Duration::from_millis(20);
/// The kernel's list of locks.
const LOCKS: &str = "/proc/locks";

/// A process that has a store open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its name, as far as the kernel tells.
    pub name: Option<String>,
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.process)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl FileDevice {
    /// As [`FileDevice::open`], and where another handle has it open, tries again until `patience`
    /// is over: who has it open may be about to close it. Calls `waiting` once before it waits.
    ///
    /// # Errors
    /// Those of [`FileDevice::open`]; [`Error::InUse`] only once `patience` is over.
    pub fn open_patiently(
        path: impl AsRef<Path>,
        read_only: bool,
        patience: Duration,
        waiting: impl FnOnce(),
    ) -> Result<FileDevice> {
        let (path, start) = (path.as_ref(), Instant::now());
        let mut waiting = Some(waiting);
        loop {
            match FileDevice::open(path, read_only) {
                Err(error) if in_use(&error) && start.elapsed() < patience => {}
                opened => return opened,
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            sleep(OFTEN.min(patience.saturating_sub(start.elapsed())));
        }
    }

    /// Who has a file or block device open as a store; `None` where nobody has, or the kernel does
    /// not tell, as of processes in other containers.
    pub fn holder(path: impl AsRef<Path>) -> Option<Holder> {
        let found = fs::metadata(path).ok()?;
        let device = (major(found.dev()), minor(found.dev()));
        let process = held_by(&fs::read_to_string(LOCKS).ok()?, device, found.ino())?;
        let name = fs::read_to_string(format!("/proc/{process}/comm")).ok();
        let plain = |name: String| name.trim_end().chars().filter(|c| !c.is_control()).collect();
        Some(Holder { process, name: name.map(plain) })
    }
}

fn in_use(error: &Error) -> bool {
    error.kind() == ErrorKind::InUse
}

/// The process that holds a lock of the kind that [`FileDevice`] takes, from the kernel's list.
fn held_by(locks: &str, (major, minor): (u32, u32), ino: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{ino}");
    locks.lines().find_map(|line| {
        // Number, kind, manner, access, process, file; those who wait have an arrow first.
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_lock = fields.next() == Some("FLOCK");
        let process = fields.nth(2)?.parse().ok();
        let is_it = is_lock && fields.next() == Some(&file);
        process.filter(|process| is_it && *process > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process;

    use super::*;

    #[test]
    fn holders_are_found_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 5 fe:00:131 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 77 fe:00:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 78 fe:00:132 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 0 fe:00:133 0 EOF\n";
        assert_eq!(held_by(locks, (0xfe, 0), 131), Some(77));
        for other in [((0xfe, 1), 131), ((0xfe, 0), 132), ((0xfe, 0), 133), ((0xfe, 0), 13)] {
            assert_eq!(held_by(locks, other.0, other.1), None, "{other:?}");
        }
    }

    #[test]
    fn it_waits_as_long_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        File::create(&path).unwrap();
        let first = FileDevice::open(&path, false).unwrap();
        let (start, mut told) = (Instant::now(), 0);
        let patience = Duration::from_millis(100);
        let refused = FileDevice::open_patiently(&path, false, patience, || told += 1);
        assert!(matches!(refused, Err(Error::InUse)));
        assert!(start.elapsed() >= patience && told == 1, "{:?}", start.elapsed());
        if let Some(holder) = FileDevice::holder(&path) {
            assert_eq!(holder.process, process::id());
            assert!(holder.to_string().contains(" ("), "{holder}");
        }
        let closer = std::thread::spawn(move || {
            sleep(Duration::from_millis(100));
            drop(first);
        });
        let long = Duration::from_secs(60);
        FileDevice::open_patiently(&path, false, long, || told += 1).unwrap();
        FileDevice::open_patiently(&path, false, long, || unreachable!()).unwrap();
        closer.join().unwrap();
        assert_eq!(FileDevice::holder(&path), None);
        let none = FileDevice::open_patiently(dir.path().join("no"), false, long, || told += 1);
        assert!(matches!(none, Err(Error::NotFound)) && told <= 2);
    }
}
