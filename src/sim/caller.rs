//! A caller: who applies operations to a file system, from a directory of its own.

use super::lists::List;
use super::operation::{On, Operation, SLOTS};
use crate::error::{Error, Result};
use crate::fs::{Attr, FileSystem, NewAttr, ROOT_INO, SetAttr};
use crate::limits::MAX_NAME_LEN;

/// Owner and group of what callers make.
pub(super) const OWNER: (u32, u32) = (7, 8);
/// Permissions that what callers make does not get, where no default list says what it gets.
pub(super) const UMASK: u32 = 0o022;
/// First name of paths that lead to the directory that callers have in common.
pub(super) const COMMON: &str = "s";

/// A name that ends with this in a path is as long as a name can be.
pub(super) const PADDING: char = '~';

/// Where a caller's paths start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory that is `/` to it.
    pub home: u64,
    /// The directory that all callers have in common, and this one's number among them.
    pub common: Option<(u64, usize)>,
}

impl Place {
    /// Of a caller that is alone.
    pub const WHOLE: Place = Place { home: ROOT_INO, common: None };

    /// How the names of this caller start in the common directory.
    pub fn prefix(number: usize) -> String {
        format!("{number}-")
    }

    /// The first directory of a path, and the names from there on.
    pub fn names(self, path: &str) -> (u64, Vec<String>) {
        let names = path.split('/').filter(|name| !name.is_empty());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        let mut dir = self.home;
        if let Some((common, number)) = self.common.filter(|_| names.len() > 1)
            && names[0] == COMMON
        {
            names.remove(0);
            names[0].insert_str(0, &Place::prefix(number));
            dir = common;
        }
        for name in names.iter_mut().filter(|name| name.ends_with(PADDING)) {
            let missing = MAX_NAME_LEN.saturating_sub(name.len());
            name.extend(std::iter::repeat_n(PADDING, missing));
        }
        (dir, names)
    }
}

/// Applies operations to a file system, and keeps what they hold open.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(super) place: Place,
    slots: [Option<u64>; SLOTS],
}

/// What an operation answered, besides that it did.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// The inode that it made or found by a creation.
    pub made: Option<Attr>,
    /// Inodes as it left them, as far as the answer tells.
    pub after: Vec<Attr>,
    /// Bytes that were written.
    pub len: Option<usize>,
}

impl Default for Caller {
    fn default() -> Caller {
        Caller::new()
    }
}

impl Caller {
    /// A caller whose paths start at the root directory.
    pub fn new() -> Caller {
        Caller::at(Place::WHOLE)
    }

    pub(super) fn at(place: Place) -> Caller {
        Caller { place, slots: [None; SLOTS] }
    }

    /// Applies an operation. [`Operation::Reopen`] is up to who holds the store: here it forgets
    /// what was open.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn apply(&mut self, fs: &FileSystem, operation: &Operation) -> Result<Done> {
        use Operation as O;
        match operation {
            O::Write { file, at, bytes } => self.on(fs, file, |ino| {
                let write = fs.write(ino, *at, &bytes.bytes())?;
                Ok(Done { after: vec![write.file.after], len: Some(write.len), made: None })
            }),
            O::PrivilegedWrite { file, at, bytes } => self.on(fs, file, |ino| {
                let write = fs.privileged().write(ino, *at, &bytes.bytes())?;
                Ok(Done { after: vec![write.file.after], len: Some(write.len), made: None })
            }),
            O::Append { file, bytes } => self.on(fs, file, |ino| {
                let write = fs.append(ino, &bytes.bytes())?;
                Ok(Done { after: vec![write.file.after], len: Some(write.len), made: None })
            }),
            O::Truncate { file, size } => {
                let set = SetAttr { size: Some(*size), ..SetAttr::default() };
                self.on(fs, file, |ino| Ok(after([fs.setattr(ino, &set)?.after])))
            }
            O::PunchHole { file, at, len } => {
                self.on(fs, file, |ino| Ok(after([fs.punch_hole(ino, *at, *len)?.after])))
            }
            O::ZeroRange { file, at, len, beyond } => {
                self.on(fs, file, |ino| Ok(after([fs.zero_range(ino, *at, *len, *beyond)?.after])))
            }
            O::Allocate { file, at, len, beyond } => {
                self.on(fs, file, |ino| Ok(after([fs.allocate(ino, *at, *len, *beyond)?.after])))
            }
            O::SetAttr { of, set } => {
                self.on(fs, of, |ino| Ok(after([fs.setattr(ino, set)?.after])))
            }
            O::SetXattr { of, name, value, mode } => self.on(fs, of, |ino| {
                Ok(after([fs.set_xattr(ino, name.as_bytes(), &value.bytes(), *mode)?.after]))
            }),
            O::RemoveXattr { of, name } => {
                self.on(fs, of, |ino| Ok(after([fs.remove_xattr(ino, name.as_bytes())?.after])))
            }
            O::SetAcl { of, kind, list } => self.on(fs, of, |ino| {
                let list = list.and_then(List::acl);
                Ok(after([fs.set_acl(ino, *kind, list.as_ref())?.after]))
            }),
            _ => self.keep(fs, operation),
        }
    }

    /// Operations that change no contents and no attributes: names, opens, durability.
    fn keep(&mut self, fs: &FileSystem, operation: &Operation) -> Result<Done> {
        use Operation as O;
        match operation {
            O::Durably(change) => fs.durably(|fs| self.apply(fs, change)),
            O::Commit { file } => {
                self.on(fs, file, |ino| fs.commit(ino, 0, 0).map(|_| Done::default()))
            }
            O::Fsync { of } => self.on(fs, of, |ino| fs.fsync(ino).map(|()| Done::default())),
            O::Open { path, slot } => {
                let ino = self.find(fs, path)?;
                fs.open(ino)?;
                self.close(fs, *slot)?;
                self.slots[*slot % SLOTS] = Some(ino);
                Ok(Done::default())
            }
            O::Close { slot } => self.close(fs, *slot).map(|()| Done::default()),
            O::Sync => fs.sync().map(|()| Done::default()),
            O::Maintain => fs.maintain().map(|_| Done::default()),
            O::Trim => fs.trim().map(|_| Done::default()),
            O::Checkpoint => fs.engine().checkpoint().map(|()| Done::default()),
            O::DropCaches => {
                fs.drop_caches();
                Ok(Done::default())
            }
            O::Reopen => {
                self.slots = [None; SLOTS];
                Ok(Done::default())
            }
            _ => self.change_names(fs, operation),
        }
    }

    fn change_names(&self, fs: &FileSystem, operation: &Operation) -> Result<Done> {
        use Operation as O;
        let (umask, uid, gid) = (UMASK, OWNER.0, OWNER.1);
        let new = |mode| NewAttr { mode, umask, uid, gid, ..NewAttr::default() };
        let made = |made: crate::fs::Created| Done {
            made: Some(made.attr),
            after: vec![made.attr, made.dir.after],
            len: None,
        };
        match operation {
            O::Create { path, mode, how, contents } => {
                let (dir, name) = self.parent(fs, path)?;
                let bytes = contents.bytes();
                Ok(made(fs.create_with(dir, name.as_bytes(), &new(*mode), *how, &bytes)?))
            }
            O::Mkdir { path, mode } => {
                let (dir, name) = self.parent(fs, path)?;
                Ok(made(fs.mkdir(dir, name.as_bytes(), &new(*mode))?))
            }
            O::Symlink { path, target } => {
                let (dir, name) = self.parent(fs, path)?;
                Ok(made(fs.symlink(dir, name.as_bytes(), &target.letters(), &new(0o777))?))
            }
            O::Mknod { path, kind, rdev } => {
                let (dir, name) = self.parent(fs, path)?;
                Ok(made(fs.mknod(dir, name.as_bytes(), *kind, *rdev, &new(0o600))?))
            }
            O::Link { of, path } => self.on(fs, of, |ino| {
                let (dir, name) = self.parent(fs, path)?;
                let linked = fs.link(ino, dir, name.as_bytes())?;
                Ok(after([linked.inode.after, linked.dir.after]))
            }),
            O::Unlink { path } => {
                let (dir, name) = self.parent(fs, path)?;
                Ok(after([fs.unlink(dir, name.as_bytes())?.after]))
            }
            O::Rmdir { path } => {
                let (dir, name) = self.parent(fs, path)?;
                Ok(after([fs.rmdir(dir, name.as_bytes())?.after]))
            }
            O::Rename { from, to, mode } => {
                let (from, name) = self.parent(fs, from)?;
                let (to, new_name) = self.parent(fs, to)?;
                let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
                let renamed = fs.rename(from, name, to, new_name, *mode)?;
                Ok(after([renamed.from.after, renamed.to.after]))
            }
            O::Whiteout { from, to, mode } => {
                let (from, name) = self.parent(fs, from)?;
                let (to, new_name) = self.parent(fs, to)?;
                let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
                let renamed = fs.rename_whiteout(from, name, to, new_name, *mode, &new(0))?;
                let dirs = [renamed.from.after, renamed.to.after];
                let after = renamed.whiteout.iter().chain(&dirs).copied().collect();
                Ok(Done { made: renamed.whiteout, after, len: None })
            }
            _ => Err(Error::Internal("an operation that changes no names")),
        }
    }

    /// Closes everything.
    ///
    /// # Errors
    /// Those of closing.
    pub fn close_all(&mut self, fs: &FileSystem) -> Result<()> {
        (0..SLOTS).try_for_each(|slot| self.close(fs, slot))
    }

    fn close(&mut self, fs: &FileSystem, slot: usize) -> Result<()> {
        self.slots[slot % SLOTS].take().map_or(Ok(()), |ino| fs.close(ino))
    }

    fn on(&self, fs: &FileSystem, on: &On, work: impl FnOnce(u64) -> Result<Done>) -> Result<Done> {
        match on {
            On::Path(path) => work(self.find(fs, path)?),
            On::Slot(slot) => self.slots[slot % SLOTS].map_or(Ok(Done::default()), work),
        }
    }

    /// What a path leads to.
    pub(super) fn find(&self, fs: &FileSystem, path: &str) -> Result<u64> {
        let (mut dir, names) = self.place.names(path);
        for name in names {
            dir = fs.lookup(dir, name.as_bytes())?.ino;
        }
        Ok(dir)
    }

    /// The directory of a path's last name, and the name.
    fn parent(&self, fs: &FileSystem, path: &str) -> Result<(u64, String)> {
        let (mut dir, mut names) = self.place.names(path);
        let last = names.pop().ok_or(Error::InvalidArgument("the path has no name"))?;
        for name in names {
            dir = fs.lookup(dir, name.as_bytes())?.ino;
        }
        Ok((dir, last))
    }
}

fn after<const N: usize>(after: [Attr; N]) -> Done {
    Done { after: after.into(), ..Done::default() }
}
