//! Verify: every thing of a source and its copy, looked at once more and compared.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use efscrypt::Error;
use efscrypt::fs::FileSystem;

use super::contents::Copy;
use super::except::Except;
use super::exporter;
use super::holds::{Destination, Holds};
use super::host::HostDir;
use super::importer;
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::rights::Rights;
use super::staging;
use super::trouble::{self, Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Which side is the source.
#[derive(Clone, Copy)]
pub enum Source {
    /// The machine, without this.
    Machine(Except),
    Store,
}

/// A comparison.
pub struct Verifier<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    source: Source,
    rights: Rights,
    /// Where the copy is, with what that keeps.
    place: Option<&'a Destination>,
    pairs: Mutex<Pairs>,
}

/// Inodes with several names, and which one of the other side they belong to.
#[derive(Default)]
struct Pairs {
    copy_of: HashMap<(u64, u64), (u64, u64)>,
    source_of: HashMap<(u64, u64), (u64, u64)>,
}

/// A directory on both sides.
pub struct Pair {
    host: HostDir,
    ino: u64,
    holds: Holds,
}

impl<'a> Verifier<'a> {
    pub fn new(
        store: &'a FileSystem,
        monitor: &'a Monitor,
        source: Source,
        rights: Rights,
    ) -> Self {
        Verifier { store, monitor, source, rights, place: None, pairs: Mutex::default() }
    }

    /// Takes what an export found out about its destination into account.
    pub fn at(self, place: &'a Destination) -> Self {
        Verifier { place: Some(place), ..self }
    }

    /// The directories where it begins, whose attributes are compared at once.
    pub fn root(&self, host: HostDir, ino: u64) -> Pair {
        let pair = self.pair(host, ino);
        if let Err(trouble) = self.compare_root(&pair) {
            self.failed(&pair, b"", trouble);
        }
        pair
    }

    fn pair(&self, host: HostDir, ino: u64) -> Pair {
        let device = host.stat_self().map_or(0, |meta| meta.id.0);
        let holds = self.place.map_or(Holds::ALL, |place| place.known(device));
        Pair { host, ino, holds }
    }

    fn compare_root(&self, pair: &Pair) -> Result<()> {
        let store = Meta::of_attr(&self.store.getattr(pair.ino)?);
        let place = Place::Open(pair.host.as_fd());
        self.compare_attributes(&pair.holds, &pair.host.stat_self()?, &store, &place)?;
        self.compare_xattrs(pair.ino, &Place::Open(pair.host.as_fd()))
    }

    /// Attributes on both sides: those of the machine, those of the store. `None` for what is not
    /// copied.
    fn both(&self, dir: &Pair, name: &[u8]) -> Result<Option<(Meta, Meta)>> {
        match self.source {
            Source::Machine(except) => {
                let host = dir.host.find(name)?.ok_or(Trouble::Changed)?;
                if host.kind != Kind::Directory && except.why(&host).is_some() {
                    return Ok(None);
                }
                let store = self.in_store(dir, name)?.ok_or(Trouble::Missing)?;
                Ok(Some((host, store)))
            }
            Source::Store => {
                let store = self.in_store(dir, name)?.ok_or(Trouble::Changed)?;
                if !self.rights.make(store.kind) {
                    return Ok(None);
                }
                let host = dir.host.find(name)?.ok_or(Trouble::Missing)?;
                Ok(Some((host, store)))
            }
        }
    }

    fn in_store(&self, dir: &Pair, name: &[u8]) -> Result<Option<Meta>> {
        match self.store.lookup(dir.ino, name) {
            Err(Error::NotFound) => Ok(None),
            found => Ok(Some(Meta::of_attr(&found?))),
        }
    }

    fn compare(&self, dir: &Pair, name: &[u8], buffer: &mut [u8]) -> Result<()> {
        let Some((host, store)) = self.both(dir, name)? else { return Ok(()) };
        let place = Place::Path(dir.host.proc_path(name));
        self.compare_attributes(&dir.holds, &host, &store, &place)?;
        if self.is_known(&host, &store)? {
            self.monitor.add(Count::HardLinks, 1);
            return Ok(());
        }
        self.compare_xattrs(store.id.1, &place)?;
        let same = match host.kind {
            Kind::Regular => self.is_same_file(dir, name, &store, host.size, buffer)?,
            Kind::Symlink => dir.host.read_link(name)? == self.store.readlink(store.id.1)?,
            Kind::CharDevice | Kind::BlockDevice => host.rdev == store.rdev,
            _ => true,
        };
        if !same {
            return Err(Trouble::Differs(trouble::CONTENTS));
        }
        let count = match host.kind {
            Kind::Regular => Count::Files,
            Kind::Symlink => Count::Symlinks,
            _ => Count::Special,
        };
        self.monitor.add(count, 1);
        Ok(())
    }

    /// Whether the time of change is the same, as far as a destination keeps it.
    fn has_time(&self, holds: &Holds, host: &Meta, store: &Meta) -> bool {
        match self.place {
            Some(place) => place.has_time(holds, host.mtime, store.mtime),
            None => host.mtime == store.mtime,
        }
    }

    fn compare_attributes(
        &self,
        holds: &Holds,
        host: &Meta,
        store: &Meta,
        place: &Place<'_>,
    ) -> Result<()> {
        let differs = |what| Err(Trouble::Differs(what));
        if host.kind != store.kind {
            return differs("type");
        }
        // What lies about its size is read, and has to be the same.
        let lies = matches!(self.source, Source::Machine(_));
        if host.kind == Kind::Regular && host.size != store.size && !lies {
            return differs("size");
        }
        if !self.has_time(holds, host, store) {
            return differs("time of change");
        }
        let (source, copy, owners) = match self.source {
            Source::Machine(_) => (importer::lend(*host, place, &self.rights)?.0, store, true),
            // Who is not root gives nothing away.
            Source::Store => {
                let (meta, _) = exporter::lend(self.store, store.id.1, &self.rights)?;
                (meta, host, self.rights.privileged)
            }
        };
        if owners && holds.owners && (host.uid, host.gid) != (store.uid, store.gid) {
            return differs("owner");
        }
        if host.kind != Kind::Symlink && holds.modes && copy.mode != source.mode {
            return differs("permissions");
        }
        Ok(())
    }

    /// Whether both sides are one more name of what is compared already. Names of one inode of
    /// the source are names of one inode of the copy, and of no other.
    fn is_known(&self, host: &Meta, store: &Meta) -> Result<bool> {
        let (source, copy) = match self.source {
            Source::Machine(_) => (host, store),
            Source::Store => (store, host),
        };
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = None;
        if source.links > 1 {
            known = pairs.copy_of.insert(source.id, copy.id);
            let split = self.place.is_some_and(Destination::has_split);
            if known.is_some_and(|known| known != copy.id) {
                // The export told of it; it is compared as any other file.
                if split {
                    return Ok(false);
                }
                return Err(Trouble::Differs("hard links"));
            }
        }
        if copy.links > 1 {
            let known = pairs.source_of.insert(copy.id, source.id);
            if known.is_some_and(|known| known != source.id) {
                return Err(Trouble::Differs("hard links"));
            }
        }
        Ok(known.is_some())
    }

    fn compare_xattrs(&self, ino: u64, place: &Place<'_>) -> Result<()> {
        let same = match self.source {
            Source::Machine(_) => xattrs::is_imported(place, self.store, ino, &self.rights)?,
            Source::Store => xattrs::is_exported(self.store, ino, place, &self.rights)?,
        };
        match same {
            true => Ok(()),
            false => Err(Trouble::Differs("extended attributes")),
        }
    }

    fn is_same_file(
        &self,
        dir: &Pair,
        name: &[u8],
        store: &Meta,
        said: u64,
        buffer: &mut [u8],
    ) -> Result<bool> {
        let file = dir.host.open_file(name)?;
        let (ino, size) = (store.id.1, store.size);
        let copy = Copy { store: self.store, ino, file: &file, size, monitor: self.monitor };
        let (same, bytes) = copy.compare(said, buffer)?;
        self.monitor.add(Count::Bytes, if same { bytes } else { 0 });
        Ok(same)
    }

    /// Reads some names of the copy's directory; returns whether there are more.
    fn list_copy(&self, dir: &Pair, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        match self.source {
            Source::Machine(_) => Ok(exporter::list(self.store, dir.ino, resume, found)?),
            Source::Store => Ok(dir.host.list(found)?),
        }
    }

    fn is_in_source(&self, dir: &Pair, name: &[u8]) -> Result<bool> {
        Ok(match self.source {
            Source::Machine(_) => dir.host.find(name)?.is_some(),
            Source::Store => self.in_store(dir, name)?.is_some(),
        })
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
            Source::Machine(except) => {
                Ok(!except.is_elsewhere(&dir.host.stat_self()?) && dir.host.list(found)?)
            }
            Source::Store => {
                let more = exporter::list(self.store, dir.ino, resume, found);
                found.retain(|entry| {
                    let lost = self.place.is_some_and(|it| it.has_lost(dir.ino, &entry.name));
                    !lost && !staging::is_own(self.store, dir.ino, entry)
                });
                Ok(more?)
            }
        }
    }

    fn enter(&self, dir: &Pair, entry: &Entry) -> Result<Pair> {
        let (host, store) = self.both(dir, &entry.name)?.ok_or(Trouble::Changed)?;
        if host.kind != store.kind {
            return Err(Trouble::Differs("type"));
        }
        let below = self.pair(dir.host.enter(&entry.name)?, store.id.1);
        let attributes = self
            .compare_attributes(&below.holds, &host, &store, &Place::Open(below.host.as_fd()))
            .and_then(|()| self.compare_xattrs(below.ino, &Place::Open(below.host.as_fd())));
        // What is below is compared all the same.
        match attributes {
            Err(trouble) => self.failed(dir, &entry.name, trouble),
            Ok(()) => self.monitor.add(Count::Directories, 1),
        }
        Ok(below)
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        if let Err(trouble) = self.compare(&job.node.dir, &job.name, buffer) {
            job.failed(trouble);
        }
    }

    /// Counts the names that only the copy has.
    fn leave(&self, dir: &Pair) -> Result<()> {
        let (mut resume, mut found, mut more) = (0, Vec::new(), true);
        while more {
            more = self.list_copy(dir, &mut resume, &mut found)?;
            for entry in found.drain(..) {
                if !staging::has_name(dir.ino, &entry.name)
                    && !self.is_in_source(dir, &entry.name)?
                {
                    self.monitor.add(Count::OnlyInCopy, 1);
                }
            }
        }
        Ok(())
    }
}
