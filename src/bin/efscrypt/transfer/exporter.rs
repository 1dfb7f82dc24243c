//! Exporter: a tree of a store becomes one of the machine.
//!
//! Whatever is made gets a private name in its directory first, and the name that it is to have
//! when it is whole and has all its attributes: what had that name before is there until then,
//! and stays where something fails. What is there already is left alone if it is the same, as the
//! [`FilesCache`] knows or a comparison shows. Names that only the machine has are left alone too.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use efscrypt::fs::{COOKIE_DOT_DOT, FileSystem};

use super::How;
use super::contents::{Copy, Same};
use super::files_cache::FilesCache;
use super::holds::{Destination, Holds};
use super::host::HostDir;
use super::links::{self, Copier, Links};
use super::making::{LINKS, is_any};
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::names::Names;
use super::rights::Rights;
use super::staging;
use super::trail::Trail;
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Entries of one read of a directory.
const LIST: usize = 512;
/// What the owner of a directory needs to change what is in it.
const OWNER: u32 = 0o700;

/// An export.
pub struct Exporter<'a> {
    pub(super) store: &'a FileSystem,
    pub(super) monitor: &'a Monitor,
    pub(super) how: How,
    cache: &'a FilesCache,
    pub(super) place: &'a Destination,
    /// Where it goes, once more: links are made from here.
    root: HostDir,
    /// The number of the next private name; the first is anyone's guess.
    pub(super) private: AtomicU64,
    links: Links<Made, Job<Self>>,
}

/// A directory of the store, and the one that it becomes.
pub struct ExportDir {
    pub(super) host: HostDir,
    meta: Meta,
    pub(super) ino: u64,
    /// Whether the export made it, so that there is nothing in it that it has to look at.
    pub(super) fresh: bool,
    pub(super) is_root: bool,
    pub(super) holds: Holds,
    /// What is in it already, where different names may lead to the same.
    pub(super) names: Option<Names>,
}

/// Where something was made: its directory by the way from the root, and its name.
#[derive(Clone)]
pub struct Made {
    dir: Arc<Trail>,
    name: Arc<[u8]>,
}

impl<'a> Exporter<'a> {
    pub fn new(
        store: &'a FileSystem,
        monitor: &'a Monitor,
        how: How,
        cache: &'a FilesCache,
        place: &'a Destination,
        root: HostDir,
    ) -> Self {
        let private = AtomicU64::new(RandomState::new().build_hasher().finish());
        Exporter { store, monitor, how, cache, place, root, private, links: Links::new() }
    }

    /// The directory where it begins, and the one that takes its place.
    pub fn root(&self, host: HostDir, ino: u64) -> Result<ExportDir> {
        let meta = self.told(ino, || host.path_of(b""))?;
        if !self.how.rights.privileged {
            host.open_to_owner()?;
        }
        host.clean()?;
        self.dir(host, meta, false, true)
    }

    fn dir(&self, host: HostDir, meta: Meta, fresh: bool, is_root: bool) -> Result<ExportDir> {
        let (device, privileged) = (host.stat_self()?.id.0, self.how.rights.privileged);
        let holds = self.place.holds(&host, device, &self.private(), privileged);
        let names = match holds.exact_names {
            true => None,
            false => Some(Names::of(&host)?),
        };
        Ok(ExportDir { host, ino: meta.id.1, meta, fresh, is_root, holds, names })
    }

    /// Tells of names that became others, where that may be, when all are there.
    fn check_names(&self, dir: &ExportDir) -> Result<()> {
        if dir.names.is_none() {
            return Ok(());
        }
        let now = Names::of(&dir.host)?;
        let (mut resume, mut found, mut more) = (0, Vec::new(), true);
        while more {
            more = self.list(dir, &mut resume, &mut found)?;
            for entry in found.drain(..) {
                let name = &*entry.name;
                if !now.has(name)
                    && !self.place.has_lost(dir.ino, name)
                    && dir.host.find(name).is_ok_and(|there| there.is_some())
                {
                    self.tell_lack(&dir.host, name, Trouble::Lacks(vec!["name as it is written"]));
                }
            }
        }
        Ok(())
    }

    /// The attributes that an inode gets on the machine; says so where they are less than it has.
    fn told(&self, ino: u64, path: impl Fn() -> PathBuf) -> Result<Meta> {
        let (meta, left) = lend(self.store, ino, &self.how.rights)?;
        if let Some(left) = left {
            self.monitor.less(&path(), left);
        }
        Ok(meta)
    }

    /// Whether what has the name on the machine is what the store has; it then gets the attributes
    /// that it should have. What has other names too, nobody knows where, is never changed.
    fn keep(
        &self,
        dir: &ExportDir,
        name: &[u8],
        there: &Meta,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<bool> {
        if there.kind != meta.kind {
            return Ok(false);
        }
        let lasting = match self.compare(dir, name, there, meta, buffer)? {
            Same::No => return Ok(false),
            Same::Now => false,
            Same::Lasting => true,
        };
        let place = Place::Path(dir.host.proc_path(name));
        let complete = self.is_complete(dir, there, meta, &place)?;
        if there.links > 1 {
            let take = || self.links.take(meta.id, there.id, there.links);
            if !complete || meta.links < 2 || !take() {
                return Ok(false);
            }
        }
        if !complete && !self.may_refit(there, meta, &place)? {
            return Ok(false);
        }
        if !complete {
            self.set_by_name(dir, name, meta, name)?;
        }
        let now = if complete { *there } else { dir.host.stat(name)? };
        self.tell_lacks(dir, name, &now, meta);
        if lasting && (now.id, now.size) == (there.id, there.size) {
            self.learn(dir, name, &now, meta);
        }
        Ok(true)
    }

    /// Remembers that both sides are the same.
    pub(super) fn learn(&self, dir: &ExportDir, name: &[u8], host: &Meta, store: &Meta) {
        self.cache.learn(&dir.host, name, host, store);
        self.cache.save_much(|| self.root.sync().is_ok());
    }

    /// Whether what is on the machine may get its attributes as it is: equal size and times do not
    /// show that its contents are those that are to run with the rights of somebody.
    fn may_refit(&self, there: &Meta, meta: &Meta, place: &Place<'_>) -> Result<bool> {
        let rights = &self.how.rights;
        let capability = || xattrs::changes_capability(self.store, meta.id.1, place, rights);
        Ok(rights.may_refit(there, meta) && !(rights.privileged && capability()?))
    }

    fn compare(
        &self,
        dir: &ExportDir,
        name: &[u8],
        there: &Meta,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<Same> {
        let same = match meta.kind {
            Kind::Regular => return self.compare_file(dir, name, there, meta, buffer),
            Kind::Symlink => dir.host.read_link(name)? == self.store.readlink(meta.id.1)?,
            Kind::CharDevice | Kind::BlockDevice => there.rdev == meta.rdev,
            _ => true,
        };
        Ok(if same { Same::Now } else { Same::No })
    }

    fn compare_file(
        &self,
        dir: &ExportDir,
        name: &[u8],
        there: &Meta,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<Same> {
        if there.size != meta.size {
            return Ok(Same::No);
        }
        let same_time = || self.place.has_time(&dir.holds, there.mtime, meta.mtime);
        if !self.how.checksum && !same_time() {
            self.place.try_time(&dir.host, &self.private(), meta);
            if !same_time() {
                return Ok(Same::No);
            }
        }
        if !self.how.checksum && self.cache.knows(&dir.host, name, there, meta) {
            return Ok(Same::Lasting);
        }
        let now = Meta::now();
        let file = match dir.host.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Same::No),
            file => file?,
        };
        let (store, ino, size) = (self.store, meta.id.1, meta.size);
        let copy = Copy { store, ino, file: &file, size, monitor: self.monitor };
        let (same, bytes) = copy.compare(there.size, buffer)?;
        self.monitor.add(Count::Compared, bytes);
        Ok(match same {
            false => Same::No,
            true if there.is_settled(now) => Same::Lasting,
            true => Same::Now,
        })
    }

    /// Whether something of the machine has all attributes that it should have.
    fn is_complete(
        &self,
        dir: &ExportDir,
        there: &Meta,
        meta: &Meta,
        place: &Place<'_>,
    ) -> Result<bool> {
        let (rights, holds) = (&self.how.rights, &dir.holds);
        let mut wanted = *meta;
        if !(rights.privileged && holds.owners) {
            (wanted.uid, wanted.gid) = (there.uid, there.gid);
        }
        if meta.kind == Kind::Symlink || !holds.modes {
            wanted.mode = there.mode;
        }
        if self.place.has_time(holds, there.mtime, meta.mtime) {
            wanted.mtime = there.mtime;
        }
        Ok(there.has_attributes_of(&wanted)
            && xattrs::is_exported(self.store, meta.id.1, place, rights)?)
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
        let more = list(self.store, dir.ino, resume, found);
        found.retain(|entry| !staging::is_own(self.store, dir.ino, entry));
        Ok(more?)
    }

    fn enter(&self, dir: &ExportDir, entry: &Entry) -> Result<ExportDir> {
        let (name, ino) = (&*entry.name, entry.ino);
        let meta = self.told(ino, || dir.host.path_of(name))?;
        let there = self.find(dir, name)?;
        let fresh = match there {
            Some(there) if there.kind == Kind::Directory => {
                if !self.how.rights.privileged && there.mode & OWNER != OWNER {
                    // Without success the first change in it says why.
                    let _ = dir.host.set_mode(name, there.mode | OWNER);
                }
                false
            }
            None => {
                self.make_dir(dir, name)?;
                true
            }
            Some(there) => {
                let make = |private: &[u8]| Ok(dir.host.make_dir(private)?);
                self.settle(dir, name, Kind::Directory, Some(&there), make)?;
                true
            }
        };
        let host = dir.host.enter(name)?;
        if !fresh {
            host.clean()?;
        }
        self.dir(host, meta, fresh, false)
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        links::work(self, job, buffer);
    }

    fn leave(&self, dir: &ExportDir) -> Result<()> {
        self.check_names(dir)?;
        let (place, mut there) = (Place::Open(dir.host.as_fd()), dir.host.stat_self()?);
        if !self.is_complete(dir, &there, &dir.meta, &place)? {
            self.set_open(&dir.host, &dir.meta, &dir.holds, (&dir.host, b""))?;
            there = dir.host.stat_self()?;
        }
        self.tell_lacks(dir, b"", &there, &dir.meta);
        self.monitor.add(Count::Directories, u64::from(!dir.is_root));
        Ok(())
    }

    fn failed(&self, dir: &ExportDir, name: &[u8], trouble: Trouble) {
        if matches!(trouble, Trouble::Folded(_) | Trouble::Unheld(..)) {
            self.place.lose(dir.ino, name);
        }
        self.say(dir, name, trouble);
    }
}

impl Copier for Exporter<'_> {
    type Place = Made;

    fn links(&self) -> &Links<Made, Job<Self>> {
        &self.links
    }

    fn look(&self, job: &Job<Self>) -> Result<Option<Meta>> {
        let meta = self.told(job.ino, || job.node.dir.host.path_of(&job.name))?;
        if self.how.rights.make(meta.kind) {
            return Ok(Some(meta));
        }
        self.monitor.left_out(&job.node.dir.host.path_of(&job.name), "it is a device node");
        Ok(None)
    }

    fn copy(&self, job: &Job<Self>, meta: &Meta, buffer: &mut [u8]) -> Result<Made> {
        let (dir, name) = (&job.node.dir, &*job.name);
        let there = self.find(dir, name)?;
        let count = match &there {
            Some(there) if self.keep(dir, name, there, meta, buffer)? => Count::Unchanged,
            there => self.make(dir, name, meta, there.as_ref(), buffer)?,
        };
        self.monitor.add(count, 1);
        Ok(Made { dir: Arc::clone(dir.host.trail()), name: name.into() })
    }

    fn link(&self, job: &Job<Self>, made: &Made, buffer: &mut [u8]) -> Result<bool> {
        let (dir, name) = (&job.node.dir, &*job.name);
        let first = self.root.follow(&made.dir)?;
        let there = self.find(dir, name)?;
        if let Some(there) = &there
            && first.find(&made.name)?.is_some_and(|first| first.id == there.id)
        {
            self.monitor.add(Count::Unchanged, 1);
            return Ok(true);
        }
        // Of what kind it is nobody looks at: it is no directory.
        let linked = self.settle(dir, name, Kind::Regular, there.as_ref(), |private| {
            Ok(dir.host.link(&first, &made.name, private)?)
        });
        match linked {
            // A file of its own is better than none.
            Err(Trouble::Host(why)) if is_any(&why, &LINKS) => {
                self.place.split();
                let (meta, _) = lend(self.store, job.ino, &self.how.rights)?;
                let count = match &there {
                    Some(there) if self.keep(dir, name, there, &meta, buffer)? => Count::Unchanged,
                    there => self.make(dir, name, &meta, there.as_ref(), buffer)?,
                };
                self.monitor.add(count, 1);
                let lack = Trouble::Lacks(vec!["link to the same file as other names"]);
                self.tell_lack(&dir.host, name, lack);
            }
            linked => {
                linked?;
                self.monitor.add(Count::HardLinks, 1);
            }
        }
        Ok(false)
    }
}

/// The attributes that an inode gets on the machine, and what is left behind.
pub fn lend(store: &FileSystem, ino: u64, rights: &Rights) -> Result<(Meta, Option<&'static str>)> {
    let mut meta = rights.lend(Meta::of_attr(&store.getattr(ino)?));
    let left;
    (meta.mode, left) = xattrs::exported_mode(store, ino, meta.mode, rights)?;
    Ok((meta, left))
}

/// Reads some entries of a directory of a store, without "." and ".."; returns whether there are
/// more. `resume` is 0 at first and then what the last call left there, also by failing: then there
/// is more if it moved.
pub fn list(
    store: &FileSystem,
    ino: u64,
    resume: &mut u64,
    found: &mut Vec<Entry>,
) -> efscrypt::Result<bool> {
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
