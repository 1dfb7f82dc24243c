//! Exporter: a tree of a store becomes one of the machine.
//!
//! Whatever is made gets a private name in its directory first, and the name that it is to have
//! when it is whole and has all its attributes: what had that name before is there until then,
//! and stays where something fails. What is there already is left alone if it is the same, as the
//! [`FilesCache`] knows or a comparison shows. Names that only the machine has are left alone too.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::fs::{AclKind, COOKIE_DOT_DOT, FileSystem};

use super::How;
use super::contents::{Copy, Losses, Same, is_damage};
use super::files_cache::FilesCache;
use super::host::{HostDir, private_name, set_mode_and_times_of, set_owner_of};
use super::links::{self, Copier, Links};
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
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
/// Permission bits without those of group and others.
const OWNER_ALONE: u32 = 0o7700;

/// Device and inode.
type Id = (u64, u64);

/// An export.
pub struct Exporter<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    how: How,
    cache: &'a FilesCache,
    /// Where it goes, once more: links are made from here.
    root: HostDir,
    /// The number of the next private name; the first is anyone's guess.
    private: AtomicU64,
    links: Links<Made, Job<Self>>,
}

/// A directory of the store, and the one that it becomes.
pub struct ExportDir {
    host: HostDir,
    meta: Meta,
    ino: u64,
    /// Whether the export made it, so that there is nothing in it that it has to look at.
    fresh: bool,
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
        root: HostDir,
    ) -> Self {
        let private = AtomicU64::new(RandomState::new().build_hasher().finish());
        Exporter { store, monitor, how, cache, root, private, links: Links::new() }
    }

    /// The directory where it begins, and the one that takes its place.
    pub fn root(&self, host: HostDir, ino: u64) -> Result<ExportDir> {
        let meta = self.told(ino, || host.path_of(b""))?;
        if !self.how.rights.privileged {
            host.open_to_owner()?;
        }
        host.clean()?;
        Ok(ExportDir { host, meta, ino, fresh: false })
    }

    /// The attributes that an inode gets on the machine; says so where they are less than it has.
    fn told(&self, ino: u64, path: impl Fn() -> PathBuf) -> Result<Meta> {
        let (meta, left) = lend(self.store, ino, &self.how.rights)?;
        if let Some(left) = left {
            self.monitor.less(&path(), left);
        }
        Ok(meta)
    }

    fn find(&self, dir: &ExportDir, name: &[u8]) -> Result<Option<Meta>> {
        if dir.fresh { Ok(None) } else { Ok(dir.host.find(name)?) }
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
        let complete = self.is_complete(there, meta, &place)?;
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
        if lasting {
            let now = if complete { *there } else { dir.host.stat(name)? };
            if (now.id, now.size) == (there.id, there.size) {
                self.learn(dir, name, &now, meta);
            }
        }
        Ok(true)
    }

    /// Remembers that both sides are the same.
    fn learn(&self, dir: &ExportDir, name: &[u8], host: &Meta, store: &Meta) {
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

    /// Sets the extended attributes of something, and tells of those that it does not take. `name`
    /// is the one that it has or is to have. Returns the mode that goes with what it took.
    fn set_xattrs(
        &self,
        dir: &HostDir,
        name: &[u8],
        meta: &Meta,
        place: &Place<'_>,
    ) -> Result<u32> {
        let without_list = || match self.store.get_acl(meta.id.1, AclKind::Access) {
            Ok(list) => list.map_or(meta.mode, |list| list.mode_without(meta.mode)),
            Err(_) => meta.mode & OWNER_ALONE,
        };
        match xattrs::export(self.store, meta.id.1, place, &self.how.rights) {
            Ok(None) => Ok(meta.mode),
            Ok(Some(refused)) => {
                let mode = if refused.list { without_list() } else { meta.mode };
                self.tell(dir, name, Trouble::Refused(refused));
                Ok(mode)
            }
            Err(Trouble::Store(error)) if self.how.keep_damaged && is_damage(&error) => {
                self.tell(dir, name, error.into());
                Ok(without_list())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Tells of something that a copy lacks.
    fn tell(&self, dir: &HostDir, name: &[u8], trouble: Trouble) {
        let doing = format!("cannot export all of {}", dir.path_of(name).display());
        self.monitor.failed(trouble.at(&doing));
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
        if there.size != meta.size || !(there.mtime == meta.mtime || self.how.checksum) {
            return Ok(Same::No);
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
        Ok(match copy.is_same(Count::Compared, buffer)? {
            false => Same::No,
            true if there.is_settled(now) => Same::Lasting,
            true => Same::Now,
        })
    }

    /// Sets the attributes of what is no file and no directory, or of a file that is there, and has
    /// the name `last` at last.
    fn set_by_name(&self, dir: &ExportDir, name: &[u8], meta: &Meta, last: &[u8]) -> Result<()> {
        let rights = &self.how.rights;
        if rights.privileged {
            dir.host.set_owner(name, meta)?;
        }
        let (place, mut mode) = (Place::Path(dir.host.proc_path(name)), meta.mode);
        if !xattrs::is_exported(self.store, meta.id.1, &place, rights)? {
            // The owner of a file that he may not write cannot set them either.
            if !rights.privileged && meta.kind == Kind::Regular {
                dir.host.set_mode(name, meta.mode | 0o600)?;
            }
            mode = self.set_xattrs(&dir.host, last, meta, &place)?;
        }
        if meta.kind != Kind::Symlink {
            dir.host.set_mode(name, mode)?;
        }
        Ok(dir.host.set_times(name, meta)?)
    }

    /// Sets the attributes of an open file or directory that its owner may write.
    fn set_open(&self, file: impl AsFd, meta: &Meta, dir: &HostDir, name: &[u8]) -> Result<()> {
        if self.how.rights.privileged {
            set_owner_of(&file, meta)?;
        }
        let mode = self.set_xattrs(dir, name, meta, &Place::Open(file.as_fd()))?;
        Ok(set_mode_and_times_of(&file, mode, meta)?)
    }

    /// Whether something of the machine has all attributes that it should have.
    fn is_complete(&self, there: &Meta, meta: &Meta, place: &Place<'_>) -> Result<bool> {
        let rights = &self.how.rights;
        let owner = if rights.privileged { (meta.uid, meta.gid) } else { (there.uid, there.gid) };
        let mode = if meta.kind == Kind::Symlink { there.mode } else { meta.mode };
        let wanted = Meta { uid: owner.0, gid: owner.1, mode, ..*meta };
        Ok(there.has_attributes_of(&wanted)
            && xattrs::is_exported(self.store, meta.id.1, place, rights)?)
    }

    /// Makes something under a private name and gives it its own. Where that fails nothing is left
    /// of it, and what had the name before still has it, unless a directory takes its place or
    /// the other way round: one cannot be renamed over the other.
    fn settle(
        &self,
        dir: &ExportDir,
        name: &[u8],
        kind: Kind,
        there: Option<&Meta>,
        make: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let is_dir = |kind| kind == Kind::Directory;
        let private = private_name(self.private.fetch_add(1, Ordering::Relaxed));
        let settled = make(&private).and_then(|()| {
            if let Some(there) = there.filter(|there| is_dir(there.kind) != is_dir(kind)) {
                remove(dir, name, there.kind)?;
            }
            Ok(dir.host.rename(&private, name)?)
        });
        match (&settled, there) {
            (Ok(()), Some(_)) => self.monitor.add(Count::Replaced, 1),
            (Ok(()), None) => {}
            // It may not even have been made.
            (Err(_), _) => drop(dir.host.remove(&private, kind)),
        }
        settled
    }

    /// A file under a private name, for one of its own. A damaged one never takes the place of
    /// another, which may be whole, and does not get its time: a later export copies it again.
    /// Returns which one it is if it is whole.
    fn file(
        &self,
        dir: &ExportDir,
        (private, name): (&[u8], &[u8]),
        meta: &Meta,
        replaces: bool,
        buffer: &mut [u8],
    ) -> Result<Option<Id>> {
        let file: File = dir.host.create_file(private)?;
        let (ino, size) = (meta.id.1, meta.size);
        let copy = Copy { store: self.store, ino, file: &file, size, monitor: self.monitor };
        let mut losses = Losses::default();
        copy.export(buffer, self.how.keep_damaged.then_some(&mut losses))?;
        let mut meta = *meta;
        let whole = losses.why.is_none();
        if let Some(why) = losses.why {
            if replaces || losses.ranges.first() == Some(&(0..size)) {
                return Err(why.into());
            }
            meta.mtime = Meta::now();
            self.monitor.add(Count::Damaged, 1);
            self.tell(&dir.host, name, Trouble::Zeros(why, losses.ranges));
        }
        self.set_open(&file, &meta, &dir.host, name)?;
        if replaces {
            // A power cut must not leave the new name with contents that never arrived.
            file.sync_all()?;
        }
        let id = Meta::of_stat(&rustix::fs::fstat(&file)?).id;
        Ok(whole.then_some(id))
    }

    fn make(
        &self,
        dir: &ExportDir,
        name: &[u8],
        meta: &Meta,
        there: Option<&Meta>,
        buffer: &mut [u8],
    ) -> Result<Count> {
        if there.is_some_and(|there| there.kind == Kind::Directory)
            && !dir.host.enter(name)?.is_empty()?
        {
            return Err(Trouble::InTheWay);
        }
        let count = match meta.kind {
            Kind::Directory => return Err(Trouble::Changed),
            Kind::Regular => Count::Files,
            Kind::Symlink => Count::Symlinks,
            _ => Count::Special,
        };
        let mut whole = None;
        self.settle(dir, name, meta.kind, there, |private| match meta.kind {
            Kind::Regular => {
                whole = self.file(dir, (private, name), meta, there.is_some(), buffer)?;
                Ok(())
            }
            Kind::Symlink => {
                dir.host.make_symlink(private, &self.store.readlink(meta.id.1)?)?;
                self.set_by_name(dir, private, meta, name)
            }
            _ => {
                dir.host.make_node(private, meta)?;
                self.set_by_name(dir, private, meta, name)
            }
        })?;
        if whole.is_some() {
            let made = dir.host.stat(name)?;
            if whole == Some(made.id) {
                self.learn(dir, name, &made, meta);
            }
        }
        Ok(count)
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
                dir.host.make_dir(name)?;
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
        self.monitor.add(Count::Directories, 1);
        Ok(ExportDir { host, meta, ino, fresh })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        links::work(self, job, buffer);
    }

    fn leave(&self, dir: &ExportDir) -> Result<()> {
        let place = Place::Open(dir.host.as_fd());
        match self.is_complete(&dir.host.stat_self()?, &dir.meta, &place)? {
            true => Ok(()),
            false => self.set_open(&dir.host, &dir.meta, &dir.host, b""),
        }
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

    fn link(&self, job: &Job<Self>, made: &Made) -> Result<bool> {
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
        self.settle(dir, name, Kind::Regular, there.as_ref(), |private| {
            Ok(dir.host.link(&first, &made.name, private)?)
        })?;
        self.monitor.add(Count::HardLinks, 1);
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

fn remove(dir: &ExportDir, name: &[u8], kind: Kind) -> Result<()> {
    dir.host.remove(name, kind).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => Trouble::InTheWay,
        _ => Trouble::Host(error),
    })
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
