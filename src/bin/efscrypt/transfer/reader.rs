//! Reader: reads every byte of a tree of a store, so that everything in it authenticates.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::fs::{FileSystem, ROOT_INO};
use efscrypt::{Error, Object};

use super::exporter;
use super::meta::Kind;
use super::monitor::{Count, Monitor};
use super::trail::Trail;
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};

/// A reading.
pub struct Reader<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    damaged: AtomicU64,
    unread: AtomicU64,
    failed: AtomicU64,
}

/// How many things could not be read.
#[derive(Clone, Copy, Default)]
pub struct Losses {
    /// With contents, and nothing else, that do not authenticate.
    pub damaged: u64,
    /// Of which nothing is known: the device failed, or a key.
    pub unread: u64,
    /// With damaged names or attributes.
    pub failed: u64,
}

/// A directory of the store.
pub struct ReadDir {
    ino: u64,
    trail: Arc<Trail>,
}

impl<'a> Reader<'a> {
    pub fn new(store: &'a FileSystem, monitor: &'a Monitor) -> Self {
        let zero = AtomicU64::default;
        Reader { store, monitor, damaged: zero(), unread: zero(), failed: zero() }
    }

    /// Where it begins.
    pub fn root(&self) -> ReadDir {
        ReadDir { ino: ROOT_INO, trail: Trail::new(Path::new("/")) }
    }

    /// What could not be read so far.
    pub fn losses(&self) -> Losses {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Losses { damaged: get(&self.damaged), unread: get(&self.unread), failed: get(&self.failed) }
    }

    fn read(&self, ino: u64, buffer: &mut [u8]) -> Result<()> {
        let attr = self.store.getattr(ino)?;
        for name in self.store.list_xattrs(ino)? {
            self.store.get_xattr(ino, &name)?;
        }
        match attr.kind {
            Kind::Regular => {
                let mut next = 0;
                while let Some(data) = self.store.seek_data(ino, next)? {
                    let len = self.store.read(ino, data, buffer)?.len as u64;
                    self.monitor.add(Count::Bytes, len);
                    self.monitor.add(Count::Moved, len);
                    next = data + len.max(1);
                }
                self.monitor.add(Count::Files, 1);
            }
            Kind::Symlink => {
                self.store.readlink(ino)?;
                self.monitor.add(Count::Symlinks, 1);
            }
            _ => self.monitor.add(Count::Special, 1),
        }
        Ok(())
    }
}

impl Tree for Reader<'_> {
    type Dir = ReadDir;

    const VERB: &'static str = "read";

    fn monitor(&self) -> &Monitor {
        self.monitor
    }

    fn path(&self, dir: &ReadDir, name: &[u8]) -> PathBuf {
        dir.trail.path().join(OsStr::from_bytes(name))
    }

    fn list(&self, dir: &ReadDir, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        Ok(exporter::list(self.store, dir.ino, resume, found)?)
    }

    fn enter(&self, dir: &ReadDir, entry: &Entry) -> Result<ReadDir> {
        self.monitor.add(Count::Directories, 1);
        Ok(ReadDir { ino: entry.ino, trail: dir.trail.below(&entry.name) })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        if let Err(trouble) = self.read(job.ino, buffer) {
            job.failed(trouble);
        }
    }

    fn leave(&self, _: &ReadDir) -> Result<()> {
        Ok(())
    }

    fn failed(&self, dir: &ReadDir, name: &[u8], trouble: Trouble) {
        let count = match &trouble {
            Trouble::Store(Error::Corrupt { object: Object::File { .. }, .. }) => &self.damaged,
            Trouble::Store(Error::Corrupt { .. }) => &self.failed,
            _ => &self.unread,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.say(dir, name, trouble);
    }
}
