//! Names of inodes that exist: giving one more, taking one away.

use super::FileSystem;
use super::attr::{FileType, Wcc};
use super::dir::{Place, check_name, check_new_name, is_dot, live_directory};
use super::draft::Draft;
use super::names::Target;
use crate::error::{Error, Object, Result};
use crate::format::FsKey;
use crate::limits::MAX_LINKS;
use crate::txn::Class;

/// Steps that the last unlink or close of an inode spends on freeing it; the rest is left to
/// [`FileSystem::maintain`].
pub(in crate::fs) const FREE_STEPS: usize = 16;

/// Answer to a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linked {
    /// The inode before and after.
    pub inode: Wcc,
    /// The directory before and after.
    pub dir: Wcc,
}

impl FileSystem {
    /// Gives an inode one more name.
    ///
    /// # Errors
    /// [`Error::IsDirectory`] for a directory, [`Error::TooManyLinks`] beyond 65,000,
    /// [`Error::Exists`], and those of [`FileSystem::create`].
    pub fn link(&self, ino: u64, dir: u64, name: &[u8]) -> Result<Linked> {
        check_new_name(name)?;
        self.with_room(|| self.try_link(ino, dir, name))
    }

    fn try_link(&self, ino: u64, dir: u64, name: &[u8]) -> Result<Linked> {
        let (inode, parent) = (self.inodes.get(ino), self.inodes.get(dir));
        let mut draft = self.draft(&[&inode, &parent])?;
        let (old, before) = (*draft.row(ino)?, *draft.row(dir)?);
        live_directory(&before)?;
        let kind = match FileType::of_mode(old.mode.get()) {
            Some(FileType::Directory) | None => return Err(Error::IsDirectory),
            Some(kind) => kind as u8,
        };
        match old.nlink.get() {
            // Open, and without a name: it waits to be freed.
            0 => return Err(Error::NotFound),
            MAX_LINKS.. => return Err(Error::TooManyLinks),
            _ => {}
        }
        let Place::Free(cookie) = self.place(dir, name)? else { return Err(Error::Exists) };
        draft.add_entry(dir, name, Target { ino, kind, cookie })?;
        draft.touch(ino)?.nlink += 1;
        let (new, after) = (*draft.row(ino)?, *draft.row(dir)?);
        draft.commit(Class::Normal)?;
        Ok(Linked { inode: Wcc::of(ino, &old, &new), dir: Wcc::of(dir, &before, &after) })
    }

    /// Takes away a name of anything but a directory. With the last name the inode goes, once
    /// nobody has it open.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsDirectory`], and those of [`FileSystem::lookup`].
    pub fn unlink(&self, dir: u64, name: &[u8]) -> Result<Wcc> {
        if is_dot(name) {
            return Err(Error::IsDirectory);
        }
        self.remove(dir, name, |target| match target.kind == FileType::Directory as u8 {
            true => Err(Error::IsDirectory),
            false => Ok(()),
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`],
    /// [`Error::InvalidArgument`] for ".", and those of [`FileSystem::lookup`].
    pub fn rmdir(&self, dir: u64, name: &[u8]) -> Result<Wcc> {
        match name {
            b"." => return Err(Error::InvalidArgument("a directory is not removed as \".\"")),
            b".." => return Err(Error::NotEmpty),
            _ => {}
        }
        self.remove(dir, name, |target| match target.kind == FileType::Directory as u8 {
            true => Ok(()),
            false => Err(Error::NotDirectory),
        })
    }

    fn remove(&self, dir: u64, name: &[u8], accept: impl Fn(&Target) -> Result<()>) -> Result<Wcc> {
        check_name(name)?;
        let parent = self.inodes.get(dir);
        let mut stale = None;
        loop {
            let target = self.peek(&parent, name)?.ok_or(Error::NotFound)?;
            accept(&target)?;
            let inode = self.inodes.get(target.ino);
            let mut draft = match self.draft(&[&parent, &inode]) {
                Err(Error::Stale) => {
                    retry_stale(&mut stale, target, target.ino)?;
                    continue;
                }
                draft => draft?,
            };
            if self.find(dir, name)? != Some(target) {
                continue;
            }
            let before = *draft.row(dir)?;
            draft.remove_entry(dir, name, target)?;
            self.drop_name(&mut draft, dir, target)?;
            let after = *draft.row(dir)?;
            draft.commit(Class::Freeing)?;
            self.free_unused(target.ino);
            return Ok(Wcc::of(dir, &before, &after));
        }
    }

    /// Takes a name off an inode that the draft holds, after or before its entry goes from `dir`.
    pub(in crate::fs) fn drop_name(
        &self,
        draft: &mut Draft<'_>,
        dir: u64,
        target: Target,
    ) -> Result<()> {
        let ino = target.ino;
        let opens = draft.opens(ino)?;
        let row = draft.touch(ino)?;
        let directory = FileType::of_mode(row.mode.get()) == Some(FileType::Directory);
        if directory && row.entries.get() > 0 {
            return Err(Error::NotEmpty);
        }
        let gone = if directory { 2 } else { 1 };
        let left = row.nlink.get().checked_sub(gone);
        row.nlink = left.ok_or(Error::corrupt(Object::Inode { ino }, "link count"))?.into();
        let bare = row.key_id.get() == 0 && row.xattrs.get() == 0;
        if left == Some(0) {
            if opens == 0 && bare {
                draft.delete(ino)?;
            } else {
                draft.edits.put(self.tree, &FsKey::Orphan(ino).encode(), &[]);
            }
        }
        if directory {
            draft.change_row(dir)?.nlink -= 1;
        }
        Ok(())
    }
}

/// Says whether to look again after names led to an inode that is gone: they were changed in
/// between, unless they lead to the same still.
pub(in crate::fs) fn retry_stale<T: PartialEq>(
    last: &mut Option<T>,
    seen: T,
    ino: u64,
) -> Result<()> {
    if last.as_ref() == Some(&seen) {
        return Err(Error::corrupt(Object::Inode { ino }, "an entry leads to no inode"));
    }
    *last = Some(seen);
    Ok(())
}
