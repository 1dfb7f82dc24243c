//! Importer: a tree of the machine becomes one in a store.
//!
//! A file that is in the store already is left alone if type, size and time of change agree; else
//! it is written anew in its place. Times are set last: what was interrupted is seen to differ.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use efscrypt::Error;
use efscrypt::fs::{Attr, CreateMode, FileSystem, NewAttr, SetAttr};
use efscrypt::limits::MAX_INLINE_LEN;

use super::contents::{Copy, read_exact};
use super::host::HostDir;
use super::links::{self, Copier, Links};
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Permissions of a directory that is not complete.
const PRIVATE: u32 = 0o700;

/// An import.
pub struct Importer<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    /// The file that the store itself is in, which cannot come into it.
    itself: (u64, u64),
    privileged: bool,
    links: Links<u64, Job<Self>>,
}

/// A directory of the machine, and the one that it becomes.
pub struct ImportDir {
    host: HostDir,
    meta: Meta,
    ino: u64,
    /// Whether the import made it, so that there is nothing in it that it has to look at.
    fresh: bool,
}

impl<'a> Importer<'a> {
    /// Into a store that is the file `itself`.
    pub fn new(store: &'a FileSystem, monitor: &'a Monitor, itself: (u64, u64)) -> Self {
        let privileged = rustix::process::geteuid().is_root();
        Importer { store, monitor, itself, privileged, links: Links::new() }
    }

    /// The directory where it begins, and the one that takes its place.
    pub fn root(&self, host: HostDir, ino: u64) -> Result<ImportDir> {
        let meta = host.stat_self()?;
        Ok(ImportDir { host, meta, ino, fresh: false })
    }

    /// What has the name in the store and can stay there. Anything else of this name is removed.
    fn existing(&self, dir: &ImportDir, name: &[u8], meta: &Meta) -> Result<Option<Attr>> {
        let Some(there) = self.lookup(dir, name)? else { return Ok(None) };
        if self.can_stay(&there, dir, name, meta)? {
            return Ok(Some(there));
        }
        self.remove(dir, name, &there)?;
        Ok(None)
    }

    fn lookup(&self, dir: &ImportDir, name: &[u8]) -> Result<Option<Attr>> {
        if dir.fresh {
            return Ok(None);
        }
        match self.store.lookup(dir.ino, name) {
            Err(Error::NotFound) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    fn can_stay(&self, there: &Attr, dir: &ImportDir, name: &[u8], meta: &Meta) -> Result<bool> {
        if there.kind != meta.kind {
            return Ok(false);
        }
        // Names that belong together in the store but not in the source are parted.
        if meta.kind != Kind::Directory
            && there.nlink > 1
            && !(meta.links > 1 && self.links.take(there.ino))
        {
            return Ok(false);
        }
        Ok(match meta.kind {
            Kind::Symlink => self.store.readlink(there.ino)? == dir.host.read_link(name)?,
            Kind::CharDevice | Kind::BlockDevice => there.rdev == meta.rdev,
            _ => true,
        })
    }

    fn remove(&self, dir: &ImportDir, name: &[u8], there: &Attr) -> Result<()> {
        let removed = match there.kind {
            Kind::Directory => self.store.rmdir(dir.ino, name),
            _ => self.store.unlink(dir.ino, name),
        };
        match removed {
            Err(Error::NotEmpty) => Err(Trouble::InTheWay),
            other => other.map(|_| ()).map_err(Trouble::Store),
        }
    }

    /// Makes the attributes of what was there those of the source.
    fn refresh(&self, there: &Attr, meta: &Meta, place: &Place<'_>) -> Result<()> {
        xattrs::import(place, self.store, there.ino, false, self.privileged)?;
        if !Meta::of_attr(there).has_attributes_of(meta) {
            self.store.setattr(there.ino, &meta.to_set())?;
        }
        Ok(())
    }

    /// Sets what making an inode did not: extended attributes, and a group that a directory's
    /// set-group-ID bit chose.
    fn complete(&self, made: &Attr, meta: &Meta, place: &Place<'_>) -> Result<()> {
        xattrs::import(place, self.store, made.ino, true, self.privileged)?;
        if !Meta::of_attr(made).has_attributes_of(meta) {
            self.store.setattr(made.ino, &meta.to_set())?;
        }
        Ok(())
    }

    fn file(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: Option<Attr>,
        buffer: &mut [u8],
    ) -> Result<u64> {
        let file = dir.host.open_file(name)?;
        let meta = Meta::of_stat(&rustix::fs::fstat(&file).map_err(std::io::Error::from)?);
        if meta.kind != Kind::Regular {
            return Err(Trouble::Changed);
        }
        let ino = match there {
            None if meta.size <= MAX_INLINE_LEN as u64 => {
                return self.small_file(dir, name, &file, &meta, buffer);
            }
            None => {
                let new = NewAttr { mtime: None, atime: None, ..new_attr(&meta) };
                self.store.create(dir.ino, name, &new, CreateMode::Guarded)?.attr.ino
            }
            Some(there) => {
                self.store.setattr(there.ino, &SetAttr { size: Some(0), ..Default::default() })?;
                there.ino
            }
        };
        let copy =
            Copy { store: self.store, ino, file: &file, size: meta.size, monitor: self.monitor };
        copy.import(buffer)?;
        let place = Place::Open(file.as_fd());
        xattrs::import(&place, self.store, ino, there.is_none(), self.privileged)?;
        check_still(&file, &meta)?;
        let size = (self.store.getattr(ino)?.size != meta.size).then_some(meta.size);
        self.store.setattr(ino, &SetAttr { size, ..meta.to_set() })?;
        Ok(ino)
    }

    /// A file that is made with its contents in one step.
    fn small_file(
        &self,
        dir: &ImportDir,
        name: &[u8],
        file: &File,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<u64> {
        let bytes = &mut buffer[..meta.size as usize];
        read_exact(file, 0, bytes)?;
        check_still(file, meta)?;
        let new = new_attr(meta);
        let made = self.store.create_with(dir.ino, name, &new, CreateMode::Guarded, bytes)?;
        self.complete(&made.attr, meta, &Place::Open(file.as_fd()))?;
        self.monitor.add(Count::Bytes, bytes.len() as u64);
        Ok(made.attr.ino)
    }
}

impl Tree for Importer<'_> {
    type Dir = ImportDir;

    const VERB: &'static str = "import";

    fn monitor(&self) -> &Monitor {
        self.monitor
    }

    fn path(&self, dir: &ImportDir, name: &[u8]) -> PathBuf {
        dir.host.path_of(name)
    }

    fn list(&self, dir: &ImportDir, _: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        Ok(dir.host.list(found)?)
    }

    fn enter(&self, dir: &ImportDir, entry: &Entry) -> Result<ImportDir> {
        let host = dir.host.enter(&entry.name)?;
        let meta = host.stat_self()?;
        self.monitor.add(Count::Directories, 1);
        if let Some(there) = self.existing(dir, &entry.name, &meta)? {
            return Ok(ImportDir { host, meta, ino: there.ino, fresh: false });
        }
        let new = NewAttr { mode: PRIVATE, ..new_attr(&meta) };
        let ino = self.store.mkdir(dir.ino, &entry.name, &new)?.attr.ino;
        Ok(ImportDir { host, meta, ino, fresh: true })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        links::work(self, job, buffer);
    }

    fn leave(&self, dir: &ImportDir) -> Result<()> {
        let there = self.store.getattr(dir.ino)?;
        self.refresh(&there, &dir.meta, &Place::Open(dir.host.as_fd()))
    }
}

impl Copier for Importer<'_> {
    type Place = u64;

    fn links(&self) -> &Links<u64, Job<Self>> {
        &self.links
    }

    fn look(&self, job: &Job<Self>) -> Result<Option<Meta>> {
        let meta = job.node.dir.host.stat(&job.name)?;
        if meta.id == self.itself {
            let path = job.node.dir.host.path_of(&job.name);
            self.monitor.note(&format!("{} is the store itself: left out", path.display()));
            return Ok(None);
        }
        Ok(Some(meta))
    }

    fn copy(&self, job: &Job<Self>, meta: &Meta, buffer: &mut [u8]) -> Result<u64> {
        let (dir, name) = (&job.node.dir, &*job.name);
        let there = self.existing(dir, name, meta)?;
        let path = || Place::Path(dir.host.proc_path(name));
        let is_done = |there: &Attr| match meta.kind {
            Kind::Regular => Meta::of_attr(there).looks_like(meta),
            _ => true,
        };
        if let Some(there) = there.filter(is_done) {
            self.refresh(&there, meta, &path())?;
            self.monitor.add(Count::Unchanged, 1);
            return Ok(there.ino);
        }
        let (made, what) = match meta.kind {
            Kind::Regular => {
                let ino = self.file(dir, name, there, buffer)?;
                self.monitor.add(Count::Files, 1);
                return Ok(ino);
            }
            Kind::Directory => return Err(Trouble::Changed),
            Kind::Symlink => {
                let target = dir.host.read_link(name)?;
                let made = self.store.symlink(dir.ino, name, &target, &new_attr(meta))?;
                (made, Count::Symlinks)
            }
            kind => {
                let made = self.store.mknod(dir.ino, name, kind, meta.rdev, &new_attr(meta))?;
                (made, Count::Special)
            }
        };
        self.complete(&made.attr, meta, &path())?;
        self.monitor.add(what, 1);
        Ok(made.attr.ino)
    }

    fn link(&self, job: &Job<Self>, ino: &u64) -> Result<()> {
        let (dir, name) = (&job.node.dir, &*job.name);
        match self.lookup(dir, name)? {
            Some(there) if there.ino == *ino => {
                self.monitor.add(Count::Unchanged, 1);
                return Ok(());
            }
            Some(there) => self.remove(dir, name, &there)?,
            None => {}
        }
        self.store.link(*ino, dir.ino, name)?;
        self.monitor.add(Count::HardLinks, 1);
        Ok(())
    }
}

/// Fails if somebody wrote to a file while it was read.
fn check_still(file: &File, before: &Meta) -> Result<()> {
    let now = Meta::of_stat(&rustix::fs::fstat(file).map_err(std::io::Error::from)?);
    if before.is_still(&now) { Ok(()) } else { Err(Trouble::Changed) }
}

fn new_attr(meta: &Meta) -> NewAttr {
    NewAttr {
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        atime: Some(meta.atime),
        mtime: Some(meta.mtime),
    }
}
