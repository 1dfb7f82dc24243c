//! Exporter: a tree of a store becomes one of the machine.
//!
//! What is there already is left alone if type, size and time of change agree; else it is removed
//! and made anew. Times are set last: what was interrupted is seen to differ.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use efscrypt::fs::{COOKIE_DOT_DOT, FileSystem};

use super::contents::Copy;
use super::host::{HostDir, set_mode_and_times_of, set_owner_of};
use super::links::{self, Copier, Links};
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Entries of one read of a directory.
const LIST: usize = 512;
/// Set-user-ID and set-group-ID.
const SET_IDS: u32 = 0o6000;

/// An export.
pub struct Exporter<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    /// Where it goes, once more: links are made from here.
    root: HostDir,
    privileged: bool,
    links: Links<Arc<PathBuf>, Job<Self>>,
}

/// A directory of the store, and the one that it becomes.
pub struct ExportDir {
    host: HostDir,
    meta: Meta,
    ino: u64,
    /// From where it goes.
    path: PathBuf,
    /// Whether the export made it, so that there is nothing in it that it has to look at.
    fresh: bool,
}

impl<'a> Exporter<'a> {
    pub fn new(store: &'a FileSystem, monitor: &'a Monitor, root: HostDir) -> Self {
        let privileged = rustix::process::geteuid().is_root();
        Exporter { store, monitor, root, privileged, links: Links::new() }
    }

    /// The directory where it begins, and the one that takes its place.
    pub fn root(&self, host: HostDir, ino: u64) -> Result<ExportDir> {
        let meta = self.meta(ino)?;
        Ok(ExportDir { host, meta, ino, path: PathBuf::new(), fresh: false })
    }

    /// The attributes that an inode gets on the machine. Who may not give files away does not lend
    /// his own rights to others either.
    fn meta(&self, ino: u64) -> Result<Meta> {
        let mut meta = Meta::of_attr(&self.store.getattr(ino)?);
        let user = rustix::process::geteuid().as_raw();
        if !self.privileged && meta.uid != user && meta.kind != Kind::Directory {
            meta.mode &= !SET_IDS;
        }
        Ok(meta)
    }

    /// What has the name on the machine and can stay there. Anything else of this name is removed.
    fn existing(&self, dir: &ExportDir, name: &[u8], meta: &Meta) -> Result<Option<Meta>> {
        if dir.fresh {
            return Ok(None);
        }
        let Some(there) = dir.host.find(name)? else { return Ok(None) };
        if self.can_stay(&there, dir, name, meta)? {
            return Ok(Some(there));
        }
        self.remove(dir, name, &there)?;
        Ok(None)
    }

    fn can_stay(&self, there: &Meta, dir: &ExportDir, name: &[u8], meta: &Meta) -> Result<bool> {
        if there.kind != meta.kind {
            return Ok(false);
        }
        // Names that belong together there but not in the store are parted.
        if meta.kind != Kind::Directory
            && there.links > 1
            && !(meta.links > 1 && self.links.take(there.id.1))
        {
            return Ok(false);
        }
        Ok(match meta.kind {
            Kind::Regular => there.looks_like(meta),
            Kind::Symlink => dir.host.read_link(name)? == self.store.readlink(meta.id.1)?,
            Kind::CharDevice | Kind::BlockDevice => there.rdev == meta.rdev,
            _ => true,
        })
    }

    fn remove(&self, dir: &ExportDir, name: &[u8], there: &Meta) -> Result<()> {
        dir.host.remove(name, there.kind).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty => Trouble::InTheWay,
            _ => Trouble::Host(error),
        })
    }

    /// Sets the attributes of what is no file and no directory, or of a file that is there.
    fn set_by_name(&self, dir: &ExportDir, name: &[u8], meta: &Meta) -> Result<()> {
        if self.privileged {
            dir.host.set_owner(name, meta)?;
        }
        let place = Place::Path(dir.host.proc_path(name));
        xattrs::export(self.store, meta.id.1, &place, self.privileged)?;
        if meta.kind != Kind::Symlink {
            dir.host.set_mode(name, meta.mode)?;
        }
        Ok(dir.host.set_times(name, meta)?)
    }

    /// Sets the attributes of an open file or directory.
    fn set_open(&self, file: impl AsFd, meta: &Meta) -> Result<()> {
        if self.privileged {
            set_owner_of(&file, meta)?;
        }
        xattrs::export(self.store, meta.id.1, &Place::Open(file.as_fd()), self.privileged)?;
        Ok(set_mode_and_times_of(&file, meta.mode, meta)?)
    }

    /// Whether something of the machine has all attributes that it should have.
    fn is_complete(&self, there: &Meta, meta: &Meta, place: &Place<'_>) -> Result<bool> {
        let owner = if self.privileged { (meta.uid, meta.gid) } else { (there.uid, there.gid) };
        let wanted = Meta { uid: owner.0, gid: owner.1, ..*meta };
        Ok(there.has_attributes_of(&wanted)
            && xattrs::same(self.store, meta.id.1, place, self.privileged)?)
    }

    fn file(&self, dir: &ExportDir, name: &[u8], meta: &Meta, buffer: &mut [u8]) -> Result<()> {
        let file = dir.host.create_file(name)?;
        let made = self.fill(&file, meta, buffer);
        if made.is_err() {
            // What is not whole must not look as if it were.
            dir.host.remove(name, Kind::Regular)?;
        }
        made
    }

    fn fill(&self, file: &File, meta: &Meta, buffer: &mut [u8]) -> Result<()> {
        let (ino, size) = (meta.id.1, meta.size);
        let copy = Copy { store: self.store, ino, file, size, monitor: self.monitor };
        copy.export(buffer)?;
        self.set_open(file, meta)
    }
}

impl Tree for Exporter<'_> {
    type Dir = ExportDir;

    const VERB: &'static str = "export";

    fn monitor(&self) -> &Monitor {
        self.monitor
    }

    fn path(&self, dir: &ExportDir, name: &[u8]) -> PathBuf {
        dir.host.path_of(name)
    }

    fn list(&self, dir: &ExportDir, resume: &mut u64, found: &mut Vec<Entry>) -> Result<bool> {
        list(self.store, dir.ino, resume, found)
    }

    fn enter(&self, dir: &ExportDir, entry: &Entry) -> Result<ExportDir> {
        let (name, ino) = (&*entry.name, entry.ino);
        let meta = self.meta(ino)?;
        self.monitor.add(Count::Directories, 1);
        let fresh = self.existing(dir, name, &meta)?.is_none();
        if fresh {
            dir.host.make_dir(name)?;
        }
        let host = dir.host.enter(name)?;
        let path = dir.path.join(std::path::Path::new(os(name)));
        Ok(ExportDir { host, meta, ino, path, fresh })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        links::work(self, job, buffer);
    }

    fn leave(&self, dir: &ExportDir) -> Result<()> {
        let place = Place::Open(dir.host.as_fd());
        match self.is_complete(&dir.host.stat_self()?, &dir.meta, &place)? {
            true => Ok(()),
            false => self.set_open(&dir.host, &dir.meta),
        }
    }
}

impl Copier for Exporter<'_> {
    type Place = Arc<PathBuf>;

    fn links(&self) -> &Links<Arc<PathBuf>, Job<Self>> {
        &self.links
    }

    fn look(&self, job: &Job<Self>) -> Result<Option<Meta>> {
        self.meta(job.ino).map(Some)
    }

    fn copy(&self, job: &Job<Self>, meta: &Meta, buffer: &mut [u8]) -> Result<Arc<PathBuf>> {
        let (dir, name) = (&job.node.dir, &*job.name);
        let path = Arc::new(dir.path.join(os(name)));
        if let Some(there) = self.existing(dir, name, meta)? {
            let place = Place::Path(dir.host.proc_path(name));
            if !self.is_complete(&there, meta, &place)? {
                self.set_by_name(dir, name, meta)?;
            }
            self.monitor.add(Count::Unchanged, 1);
            return Ok(path);
        }
        match meta.kind {
            Kind::Directory => return Err(Trouble::Changed),
            Kind::Regular => {
                self.file(dir, name, meta, buffer)?;
                self.monitor.add(Count::Files, 1);
            }
            Kind::Symlink => {
                dir.host.make_symlink(name, &self.store.readlink(meta.id.1)?)?;
                self.set_by_name(dir, name, meta)?;
                self.monitor.add(Count::Symlinks, 1);
            }
            _ => {
                dir.host.make_node(name, meta)?;
                self.set_by_name(dir, name, meta)?;
                self.monitor.add(Count::Special, 1);
            }
        }
        Ok(path)
    }

    fn link(&self, job: &Job<Self>, path: &Arc<PathBuf>) -> Result<()> {
        let (dir, name) = (&job.node.dir, &*job.name);
        if !dir.fresh
            && let Some(there) = dir.host.find(name)?
        {
            if self.root.find(os_bytes(path))?.is_some_and(|first| first.id == there.id) {
                self.monitor.add(Count::Unchanged, 1);
                return Ok(());
            }
            self.remove(dir, name, &there)?;
        }
        dir.host.link(&self.root, path, name)?;
        self.monitor.add(Count::HardLinks, 1);
        Ok(())
    }
}

/// Reads some entries of a directory of a store; returns whether there are more.
pub fn list(
    store: &FileSystem,
    ino: u64,
    resume: &mut u64,
    found: &mut Vec<Entry>,
) -> Result<bool> {
    let at_end = store.read_dir(ino, (*resume).max(COOKIE_DOT_DOT), |entry| {
        if found.len() >= LIST {
            return false;
        }
        let is_dir = entry.kind == Kind::Directory;
        found.push(Entry { name: entry.name.into(), is_dir, ino: entry.ino });
        *resume = entry.cookie;
        true
    })?;
    Ok(!at_end)
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

fn os_bytes(path: &std::path::Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}
