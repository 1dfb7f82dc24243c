//! Reader: reads every byte of a tree of a store, so that everything in it authenticates.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::fs::{FileSystem, ROOT_INO};
use efscrypt::{Error, Object};

use super::exporter;
use super::meta::Kind;
use super::monitor::{Count, Monitor};
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};

/// A reading.
pub struct Reader<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    /// Things whose contents, and nothing else, are damaged.
    damaged: AtomicU64,
}

/// A directory of the store.
pub struct ReadDir {
    ino: u64,
    path: PathBuf,
}

impl<'a> Reader<'a> {
    pub fn new(store: &'a FileSystem, monitor: &'a Monitor) -> Self {
        Reader { store, monitor, damaged: AtomicU64::new(0) }
    }

    /// Where it begins.
    pub fn root(&self) -> ReadDir {
        ReadDir { ino: ROOT_INO, path: PathBuf::from("/") }
    }

    /// How many failures were of contents alone.
    pub fn damaged_contents(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
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
        dir.path.join(OsStr::from_bytes(name))
    }

    fn list(&self, dir: &ReadDir, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        exporter::list(self.store, dir.ino, resume, found)
    }

    fn enter(&self, dir: &ReadDir, entry: &Entry) -> Result<ReadDir> {
        self.monitor.add(Count::Directories, 1);
        Ok(ReadDir { ino: entry.ino, path: self.path(dir, &entry.name) })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        if let Err(trouble) = self.read(job.ino, buffer) {
            if is_of_contents(&trouble) {
                self.damaged.fetch_add(1, Ordering::Relaxed);
            }
            job.failed(trouble);
        }
    }

    fn leave(&self, _: &ReadDir) -> Result<()> {
        Ok(())
    }
}

fn is_of_contents(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Store(Error::Corrupt { object: Object::File { .. }, .. }))
}
