//! Verify: every thing of a source and its copy, looked at once more and compared.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use efscrypt::Error;
use efscrypt::fs::FileSystem;

use super::contents::Copy;
use super::exporter;
use super::host::HostDir;
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Which side is the source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Machine,
    Store,
}

/// A comparison.
pub struct Verifier<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    source: Source,
    privileged: bool,
    /// The file that the store itself is in, where it may stand in the source.
    itself: Option<(u64, u64)>,
    /// The copies of inodes with several names.
    copies: Mutex<HashMap<(u64, u64), (u64, u64)>>,
}

/// A directory on both sides.
pub struct Pair {
    host: HostDir,
    ino: u64,
}

impl<'a> Verifier<'a> {
    pub fn new(
        store: &'a FileSystem,
        monitor: &'a Monitor,
        source: Source,
        itself: Option<(u64, u64)>,
    ) -> Self {
        let privileged = rustix::process::geteuid().is_root();
        Verifier { store, monitor, source, privileged, itself, copies: Mutex::default() }
    }

    /// The directories where it begins.
    pub fn root(&self, host: HostDir, ino: u64) -> Pair {
        Pair { host, ino }
    }

    /// Attributes on both sides: those of the machine, those of the store.
    fn both(&self, dir: &Pair, name: &[u8]) -> Result<Option<(Meta, Meta)>> {
        let host = dir.host.find(name)?.ok_or(Trouble::Missing)?;
        if self.itself == Some(host.id) {
            return Ok(None);
        }
        match self.store.lookup(dir.ino, name) {
            Err(Error::NotFound) => Err(Trouble::Missing),
            found => Ok(Some((host, Meta::of_attr(&found?)))),
        }
    }

    fn compare(&self, dir: &Pair, name: &[u8], buffer: &mut [u8]) -> Result<()> {
        let Some((host, store)) = self.both(dir, name)? else { return Ok(()) };
        self.compare_attributes(&host, &store)?;
        self.compare_links(&host, &store)?;
        let place = Place::Path(dir.host.proc_path(name));
        self.compare_xattrs(store.id.1, &place)?;
        let same = match host.kind {
            Kind::Regular => self.is_same_file(dir, name, &store, buffer)?,
            Kind::Symlink => dir.host.read_link(name)? == self.store.readlink(store.id.1)?,
            Kind::CharDevice | Kind::BlockDevice => host.rdev == store.rdev,
            _ => true,
        };
        match same {
            true => {
                self.monitor.add(Count::Files, 1);
                Ok(())
            }
            false => Err(Trouble::Differs("contents")),
        }
    }

    fn compare_attributes(&self, host: &Meta, store: &Meta) -> Result<()> {
        let differs = |what| Err(Trouble::Differs(what));
        if host.kind != store.kind {
            return differs("type");
        }
        if host.kind == Kind::Regular && host.size != store.size {
            return differs("size");
        }
        if host.mtime != store.mtime {
            return differs("time of change");
        }
        if self.keeps_owners() {
            if (host.uid, host.gid) != (store.uid, store.gid) {
                return differs("owner");
            }
            if host.kind != Kind::Symlink && host.mode != store.mode {
                return differs("permissions");
            }
        }
        Ok(())
    }

    /// Who is not root gives nothing away, and with other owners go other permissions.
    fn keeps_owners(&self) -> bool {
        self.privileged || self.source == Source::Machine
    }

    /// Names of one inode of the source must be names of one inode of the copy.
    fn compare_links(&self, host: &Meta, store: &Meta) -> Result<()> {
        let (source, copy) = match self.source {
            Source::Machine => (host, store),
            Source::Store => (store, host),
        };
        if source.links < 2 {
            return Ok(());
        }
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        match *copies.entry(source.id).or_insert(copy.id) == copy.id {
            true => Ok(()),
            false => Err(Trouble::Differs("hard links")),
        }
    }

    fn compare_xattrs(&self, ino: u64, place: &Place<'_>) -> Result<()> {
        match xattrs::same(self.store, ino, place, self.privileged)? {
            true => Ok(()),
            false => Err(Trouble::Differs("extended attributes")),
        }
    }

    fn is_same_file(
        &self,
        dir: &Pair,
        name: &[u8],
        store: &Meta,
        buffer: &mut [u8],
    ) -> Result<bool> {
        let file = dir.host.open_file(name)?;
        let (ino, size) = (store.id.1, store.size);
        let copy = Copy { store: self.store, ino, file: &file, size, monitor: self.monitor };
        copy.is_same(buffer)
    }
}

impl Tree for Verifier<'_> {
    type Dir = Pair;

    const VERB: &'static str = "verify";

    fn monitor(&self) -> &Monitor {
        self.monitor
    }

    fn path(&self, dir: &Pair, name: &[u8]) -> PathBuf {
        dir.host.path_of(name)
    }

    fn list(&self, dir: &Pair, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        match self.source {
            Source::Machine => Ok(dir.host.list(found)?),
            Source::Store => exporter::list(self.store, dir.ino, resume, found),
        }
    }

    fn enter(&self, dir: &Pair, entry: &Entry) -> Result<Pair> {
        let (host, store) = self.both(dir, &entry.name)?.ok_or(Trouble::Changed)?;
        if host.kind != store.kind {
            return Err(Trouble::Differs("type"));
        }
        let below = Pair { host: dir.host.enter(&entry.name)?, ino: store.id.1 };
        let attributes = self
            .compare_attributes(&host, &store)
            .and_then(|()| self.compare_xattrs(below.ino, &Place::Open(below.host.as_fd())));
        // What is below is compared all the same.
        if let Err(trouble) = attributes {
            self.failed(dir, &entry.name, trouble);
        }
        self.monitor.add(Count::Directories, 1);
        Ok(below)
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        if let Err(trouble) = self.compare(&job.node.dir, &job.name, buffer) {
            job.failed(trouble);
        }
    }

    fn leave(&self, _: &Pair) -> Result<()> {
        Ok(())
    }
}
