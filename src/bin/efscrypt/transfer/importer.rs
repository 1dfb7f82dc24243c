//! Importer: a tree of the machine becomes one in a store.
//!
//! Whatever is made is made in [`Staging`] first, and renamed to its place when it is whole and
//! has all its attributes: what had that name before is there until then, and stays where
//! something fails. What is there already is left alone if it is the same, as the [`FilesCache`]
//! knows or a comparison shows. Names that only the store has are left alone too.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use efscrypt::Error;
use efscrypt::fs::{AclKind, Attr, CreateMode, Created, FileSystem, NewAttr, RenameMode, SetAttr};
use efscrypt::limits::MAX_INLINE_LEN;

use super::How;
use super::contents::{Copy, Same, read_until_full};
use super::except::Except;
use super::files_cache::FilesCache;
use super::host::HostDir;
use super::links::{self, Copier, Links};
use super::meta::{Kind, Meta};
use super::monitor::{Count, Monitor};
use super::rights::Rights;
use super::staging::{self, Staging};
use super::trouble::{Result, Trouble};
use super::walk::{Entry, Job, Tree};
use super::xattrs::{self, Place};

/// Permissions of what is not complete.
const PRIVATE: u32 = 0o700;

/// Bytes that files of `/sys` say they have.
const MADE_UP: u64 = 4096;

/// An import.
pub struct Importer<'a> {
    store: &'a FileSystem,
    monitor: &'a Monitor,
    how: How,
    except: Except,
    cache: &'a FilesCache,
    staging: Staging<'a>,
    /// How often space was freed. Held by the one who does it.
    freed: Mutex<u64>,
    links: Links<Copied, Job<Self>>,
}

/// A directory of the machine, and the one that it becomes.
pub struct ImportDir {
    host: HostDir,
    meta: Meta,
    ino: u64,
    /// Whether the import made it, so that there is nothing in it that it has to look at.
    fresh: bool,
    is_root: bool,
}

/// What something became.
#[derive(Clone)]
pub struct Copied {
    ino: u64,
    /// What it was made from, if a change after it was read shows.
    lasting: Option<Meta>,
}

impl<'a> Importer<'a> {
    /// Into a store in which nobody else makes changes.
    ///
    /// # Errors
    /// Those of [`Staging::open`].
    pub fn new(
        store: &'a FileSystem,
        monitor: &'a Monitor,
        how: How,
        except: Except,
        cache: &'a FilesCache,
    ) -> efscrypt::Result<Self> {
        let staging = Staging::open(store)?;
        let (freed, links) = (Mutex::new(0), Links::new());
        Ok(Importer { store, monitor, how, except, cache, staging, freed, links })
    }

    /// The directory where it begins, and the one that takes its place.
    pub fn root(&self, host: HostDir, ino: u64) -> Result<ImportDir> {
        let meta = self.source_dir(&host)?;
        Ok(ImportDir { host, meta, ino, fresh: false, is_root: true })
    }

    fn stat_dir(&self, host: &HostDir) -> Result<Meta> {
        let meta = host.stat_self()?;
        if meta.size > 0 {
            return Ok(meta);
        }
        // As of files of `/sys`.
        xattrs::any(&Place::Open(host.as_fd()), &self.how.rights)?;
        Ok(host.stat_self()?)
    }

    /// The attributes that something gets in the store; says so where they are less than it has.
    fn source(&self, meta: Meta, place: &Place<'_>, path: impl Fn() -> PathBuf) -> Result<Meta> {
        let (meta, left) = lend(meta, place, &self.how.rights)?;
        if let Some(left) = left {
            self.monitor.less(&path(), left);
        }
        Ok(meta)
    }

    fn source_dir(&self, host: &HostDir) -> Result<Meta> {
        self.source(self.stat_dir(host)?, &Place::Open(host.as_fd()), || host.path_of(b""))
    }

    /// Whether what is made in a directory gets access control lists of its own accord.
    fn gives_lists(&self, dir: &ImportDir) -> Result<bool> {
        Ok(!dir.fresh && self.store.get_acl(dir.ino, AclKind::Default)?.is_some())
    }

    /// Sets the extended attributes of an inode, and tells of a list that no store takes.
    fn set_xattrs(&self, at: (&HostDir, &[u8]), ino: u64, place: &Place<'_>) -> Result<()> {
        if let Some(refused) = xattrs::import(place, self.store, ino, &self.how.rights)? {
            let doing = format!("cannot import all of {}", at.0.path_of(at.1).display());
            self.monitor.incomplete(Trouble::Refused(refused).at(&doing));
        }
        Ok(())
    }

    /// Ends it, when nothing is left to do.
    pub fn close(self) -> efscrypt::Result<()> {
        self.staging.close()
    }

    fn find(&self, dir: &ImportDir, name: &[u8]) -> Result<Option<Attr>> {
        if dir.fresh {
            return Ok(None);
        }
        match self.store.lookup(dir.ino, name) {
            Err(Error::NotFound) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// Does something; where the store has no space left, frees what deleted files still hold and
    /// does it once more.
    fn with_room<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let freed = *self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        match work() {
            Err(Trouble::Store(Error::NoSpace)) if self.make_room(freed)? => work(),
            done => done,
        }
    }

    /// Returns whether there is more space than when it was freed `before` times.
    fn make_room(&self, before: u64) -> Result<bool> {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        if *freed == before {
            let space = self.store.statfs().free;
            while !self.store.maintain()? {}
            if self.store.statfs().free <= space {
                return Ok(false);
            }
            *freed += 1;
        }
        Ok(true)
    }

    /// Whether what has the name in the store is what the machine has; it then gets the attributes
    /// that it should have. What has other names too, nobody knows where, is never changed.
    fn keep(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: &Attr,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<Option<Copied>> {
        if there.kind != meta.kind {
            return Ok(None);
        }
        let lasting = match self.compare(dir, name, there, meta, buffer)? {
            Same::No => return Ok(None),
            Same::Now => None,
            Same::Lasting => Some(*meta),
        };
        let kept = Some(Copied { ino: there.ino, lasting });
        let place = Place::Path(dir.host.proc_path(name));
        if there.nlink > 1 {
            let (inode, names) = (Meta::of_attr(there).id, u64::from(there.nlink));
            let taken = meta.links > 1
                && self.is_complete(there, meta, &place)?
                && self.links.take(meta.id, inode, names);
            return Ok(kept.filter(|_| taken));
        }
        self.refresh((&dir.host, name), there.ino, meta, &place)?;
        Ok(kept)
    }

    fn compare(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: &Attr,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<Same> {
        let same = match meta.kind {
            Kind::Regular => return self.compare_file(dir, name, there, meta, buffer),
            Kind::Symlink => self.store.readlink(there.ino)? == dir.host.read_link(name)?,
            Kind::CharDevice | Kind::BlockDevice => there.rdev == meta.rdev,
            _ => true,
        };
        Ok(if same { Same::Now } else { Same::No })
    }

    fn compare_file(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: &Attr,
        meta: &Meta,
        buffer: &mut [u8],
    ) -> Result<Same> {
        if !(there.mtime == meta.mtime || self.how.checksum) {
            return Ok(Same::No);
        }
        if !self.how.checksum && self.cache.knows(&dir.host, name, meta, &Meta::of_attr(there)) {
            return Ok(Same::Lasting);
        }
        let now = Meta::now();
        let file = dir.host.open_file(name)?;
        let (store, ino, size) = (self.store, there.ino, there.size);
        let copy = Copy { store, ino, file: &file, size, monitor: self.monitor };
        let (same, bytes) = copy.compare(meta.size, buffer)?;
        self.monitor.add(Count::Compared, bytes);
        Ok(match same {
            false => Same::No,
            true if meta.is_settled(now) => Same::Lasting,
            true => Same::Now,
        })
    }

    /// Remembers that both sides are the same, where that will show.
    fn learn(&self, dir: &ImportDir, name: &[u8], copied: &Copied) -> Result<()> {
        if let Some(meta) = &copied.lasting {
            let store = Meta::of_attr(&self.store.getattr(copied.ino)?);
            self.cache.learn(&dir.host, name, meta, &store);
            self.cache.save_much(|| self.store.sync().is_ok());
        }
        Ok(())
    }

    /// Whether something of the store has all attributes that it should have.
    fn is_complete(&self, there: &Attr, meta: &Meta, place: &Place<'_>) -> Result<bool> {
        Ok(Meta::of_attr(there).has_attributes_of(meta)
            && xattrs::is_imported(place, self.store, there.ino, &self.how.rights)?)
    }

    /// Makes the attributes of something of the store those of the source.
    fn refresh(
        &self,
        at: (&HostDir, &[u8]),
        ino: u64,
        meta: &Meta,
        place: &Place<'_>,
    ) -> Result<()> {
        self.set_xattrs(at, ino, place)?;
        if !Meta::of_attr(&self.store.getattr(ino)?).has_attributes_of(meta) {
            self.store.setattr(ino, &meta.to_set())?;
        }
        Ok(())
    }

    /// Makes something in the staging directory and renames it to its place. Where that fails
    /// nothing is left of it, and what had the name before still has it.
    fn settle(
        &self,
        dir: &ImportDir,
        name: &[u8],
        kind: Kind,
        there: Option<&Attr>,
        make: impl FnOnce(u64, &[u8]) -> Result<u64>,
    ) -> Result<u64> {
        let (from, private) = (self.staging.ino(), self.staging.name());
        let is_dir = |kind| kind == Kind::Directory;
        let swap = there.filter(|there| is_dir(there.kind) != is_dir(kind));
        if swap.is_some_and(|there| there.entries > 0) {
            return Err(Trouble::InTheWay);
        }
        // A directory is not renamed over a file: the two change places.
        let mode = if swap.is_some() { RenameMode::Exchange } else { RenameMode::Replace };
        let settled = make(from, &private).and_then(|ino| {
            self.store.rename(from, &private, dir.ino, name, mode)?;
            Ok(ino)
        });
        let left = match (&settled, there) {
            (Ok(_), None) => None,
            (Ok(_), Some(_)) => {
                self.monitor.add(Count::Replaced, 1);
                swap.map(|there| there.kind)
            }
            // It may not even have been made.
            (Err(_), _) => Some(kind),
        };
        // What cannot be removed goes with the next import.
        match left {
            None => {}
            Some(Kind::Directory) => drop(self.store.rmdir(from, &private)),
            Some(_) => drop(self.store.unlink(from, &private)),
        }
        settled
    }

    fn make(
        &self,
        dir: &ImportDir,
        name: &[u8],
        meta: &Meta,
        there: Option<&Attr>,
        buffer: &mut [u8],
    ) -> Result<(Copied, Count)> {
        let (host, store) = (&dir.host, self.store);
        let complete = |made: Created| {
            let place = Place::Path(host.proc_path(name));
            self.refresh((host, name), made.attr.ino, meta, &place)?;
            Ok(made.attr.ino)
        };
        let (ino, count) = match meta.kind {
            Kind::Directory => return Err(Trouble::Changed),
            Kind::Regular => return Ok((self.file(dir, name, there, buffer)?, Count::Files)),
            Kind::Symlink => {
                let target = host.read_link(name)?;
                let ino = self.settle(dir, name, meta.kind, there, |from, private| {
                    complete(store.symlink(from, private, &target, &new_attr(meta))?)
                })?;
                (ino, Count::Symlinks)
            }
            kind => {
                let ino = self.settle(dir, name, meta.kind, there, |from, private| {
                    complete(store.mknod(from, private, kind, meta.rdev, &new_attr(meta))?)
                })?;
                (ino, Count::Special)
            }
        };
        Ok((Copied { ino, lasting: None }, count))
    }

    /// A directory, with nothing in it so far.
    fn directory(
        &self,
        dir: &ImportDir,
        name: &[u8],
        meta: &Meta,
        there: Option<&Attr>,
    ) -> Result<u64> {
        let new = NewAttr { mode: PRIVATE, ..new_attr(meta) };
        if there.is_none() && !self.gives_lists(dir)? {
            return Ok(self.store.mkdir(dir.ino, name, &new)?.attr.ino);
        }
        self.settle(dir, name, Kind::Directory, there, |from, private| {
            Ok(self.store.mkdir(from, private, &new)?.attr.ino)
        })
    }

    fn file(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: Option<&Attr>,
        buffer: &mut [u8],
    ) -> Result<Copied> {
        let now = Meta::now();
        let file = dir.host.open_file(name)?;
        let mut meta = Meta::of_stat(&rustix::fs::fstat(&file)?);
        if meta.size == MADE_UP {
            // Where a kernel makes files up, asking for attributes moves their times once.
            xattrs::any(&Place::Open(file.as_fd()), &self.how.rights)?;
            meta = Meta::of_stat(&rustix::fs::fstat(&file)?);
        }
        if meta.kind != Kind::Regular {
            return Err(Trouble::Changed);
        }
        let lasting = meta.is_settled(now).then_some(meta);
        let place = Place::Open(file.as_fd());
        let (meta, _) = lend(meta, &place, &self.how.rights)?;
        let still = || check_still(&file, &meta);
        // One byte more shows whether that is all.
        let len = match meta.size <= MAX_INLINE_LEN as u64 {
            true => read_until_full(&file, &mut buffer[..=MAX_INLINE_LEN])?,
            false => usize::MAX,
        };
        if len <= MAX_INLINE_LEN {
            let bytes = &mut buffer[..len];
            let ino = self.small_file(dir, name, there, &meta, bytes, &place, still)?;
            return Ok(Copied { ino, lasting });
        }
        let mut bytes = 0;
        let ino = self.settle(dir, name, Kind::Regular, there, |from, private| {
            let new = NewAttr { mode: PRIVATE, ..NewAttr::default() };
            let made = self.store.create(from, private, &new, CreateMode::Guarded)?.attr;
            let (store, ino, size) = (self.store, made.ino, meta.size);
            let copy = Copy { store, ino, file: &file, size, monitor: self.monitor };
            let (size, copied) = copy.import(buffer, still)?;
            bytes = copied;
            self.set_xattrs((&dir.host, name), ino, &place)?;
            still()?;
            let size = (store.getattr(ino)?.size != size).then_some(size);
            store.setattr(ino, &SetAttr { size, ..meta.to_set() })?;
            Ok(ino)
        })?;
        self.monitor.add(Count::Bytes, bytes);
        Ok(Copied { ino, lasting })
    }

    /// A file that is made with its contents in one step; where that is all of it, in its place.
    #[allow(clippy::too_many_arguments, reason = "the parts of one copy")]
    fn small_file(
        &self,
        dir: &ImportDir,
        name: &[u8],
        there: Option<&Attr>,
        meta: &Meta,
        bytes: &[u8],
        place: &Place<'_>,
        still: impl Fn() -> Result<()>,
    ) -> Result<u64> {
        let (store, new) = (self.store, new_attr(meta));
        still()?;
        let alone = there.is_none() && !xattrs::any(place, &self.how.rights)?;
        let ino = if alone && !self.gives_lists(dir)? {
            let made = store.create_with(dir.ino, name, &new, CreateMode::Guarded, bytes)?.attr;
            // A directory may give its group to what is made in it.
            if !Meta::of_attr(&made).has_attributes_of(meta) {
                let set = store.setattr(made.ino, &meta.to_set());
                set.inspect_err(|_| drop(store.unlink(dir.ino, name)))?;
            }
            made.ino
        } else {
            self.settle(dir, name, Kind::Regular, there, |from, private| {
                let made = store.create_with(from, private, &new, CreateMode::Guarded, bytes)?;
                self.refresh((&dir.host, name), made.attr.ino, meta, place)?;
                still()?;
                Ok(made.attr.ino)
            })?
        };
        for count in [Count::Bytes, Count::Moved] {
            self.monitor.add(count, bytes.len() as u64);
        }
        Ok(ino)
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
        if self.except.is_elsewhere(&dir.meta) {
            return Ok(false);
        }
        Ok(dir.host.list(found)?)
    }

    fn enter(&self, dir: &ImportDir, entry: &Entry) -> Result<ImportDir> {
        let name = &*entry.name;
        if staging::has_name(dir.ino, name) {
            return Err(Trouble::Reserved);
        }
        let host = dir.host.enter(name)?;
        let meta = self.source_dir(&host)?;
        let there = self.find(dir, name)?;
        let (ino, fresh) = match there {
            Some(there) if there.kind == Kind::Directory => (there.ino, false),
            there => (self.with_room(|| self.directory(dir, name, &meta, there.as_ref()))?, true),
        };
        if self.except.is_elsewhere(&meta) {
            let why = "what is in it is on another file system";
            self.monitor.left_out(&host.path_of(b""), why);
        }
        Ok(ImportDir { host, meta, ino, fresh, is_root: false })
    }

    fn work(&self, job: Job<Self>, buffer: &mut [u8]) {
        links::work(self, job, buffer);
    }

    fn leave(&self, dir: &ImportDir) -> Result<()> {
        self.with_room(|| {
            self.refresh((&dir.host, b""), dir.ino, &dir.meta, &Place::Open(dir.host.as_fd()))
        })?;
        self.monitor.add(Count::Directories, u64::from(!dir.is_root));
        Ok(())
    }
}

impl Copier for Importer<'_> {
    type Place = Copied;

    fn links(&self) -> &Links<Copied, Job<Self>> {
        &self.links
    }

    fn look(&self, job: &Job<Self>) -> Result<Option<Meta>> {
        let (dir, name) = (&job.node.dir, &*job.name);
        if staging::has_name(dir.ino, name) {
            return Err(Trouble::Reserved);
        }
        let meta = dir.host.stat(name)?;
        if let Some(why) = self.except.why(&meta) {
            self.monitor.left_out(&dir.host.path_of(name), why);
            return Ok(None);
        }
        let place = Place::Path(dir.host.proc_path(name));
        self.source(meta, &place, || dir.host.path_of(name)).map(Some)
    }

    fn copy(&self, job: &Job<Self>, meta: &Meta, buffer: &mut [u8]) -> Result<Copied> {
        let (dir, name) = (&job.node.dir, &*job.name);
        let (copied, count) = self.with_room(|| {
            let there = self.find(dir, name)?;
            if let Some(there) = &there
                && let Some(kept) = self.keep(dir, name, there, meta, buffer)?
            {
                return Ok((kept, Count::Unchanged));
            }
            self.make(dir, name, meta, there.as_ref(), buffer)
        })?;
        self.monitor.add(count, 1);
        self.learn(dir, name, &copied)?;
        Ok(copied)
    }

    fn link(&self, job: &Job<Self>, copied: &Copied, _: &mut [u8]) -> Result<bool> {
        let (dir, name, ino) = (&job.node.dir, &*job.name, &copied.ino);
        let there = self.find(dir, name)?;
        if there.is_some_and(|there| there.ino == *ino) {
            self.monitor.add(Count::Unchanged, 1);
            return Ok(true);
        }
        self.with_room(|| match &there {
            None => Ok(self.store.link(*ino, dir.ino, name).map(|_| ())?),
            there => {
                let link = |from, private: &[u8]| {
                    self.store.link(*ino, from, private)?;
                    Ok(*ino)
                };
                // Of what kind it is nobody looks at: it is no directory.
                self.settle(dir, name, Kind::Regular, there.as_ref(), link).map(|_| ())
            }
        })?;
        // One more name moved the time of its last change.
        self.learn(dir, name, copied)?;
        self.monitor.add(Count::HardLinks, 1);
        Ok(false)
    }
}

/// The attributes that something of the machine gets in a store, and what is left behind.
pub fn lend(
    mut meta: Meta,
    place: &Place<'_>,
    rights: &Rights,
) -> Result<(Meta, Option<&'static str>)> {
    let mut left = None;
    if meta.kind != Kind::Symlink {
        (meta.mode, left) = xattrs::imported_mode(place, meta.mode, rights)?;
    }
    Ok((meta, left))
}

/// Fails if somebody wrote to a file while it was read.
fn check_still(file: impl AsFd, before: &Meta) -> Result<()> {
    let now = Meta::of_stat(&rustix::fs::fstat(file)?);
    if before.is_still(&now) { Ok(()) } else { Err(Trouble::Changed) }
}

fn new_attr(meta: &Meta) -> NewAttr {
    NewAttr {
        mode: meta.mode,
        umask: 0,
        uid: meta.uid,
        gid: meta.gid,
        atime: Some(meta.atime),
        mtime: Some(meta.mtime),
    }
}
