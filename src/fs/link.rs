//! Names of inodes that exist: giving one more, taking one away.

use super::FileSystem;
use super::attr::{FileType, Wcc};
use super::dir::{Place, check_name, check_new_name, is_dot, live_directory};
use super::draft::Draft;
use super::names::Target;
use super::orphan::Left;
use crate::error::{Error, Object, Result};
use crate::format::FsKey;
use crate::limits::MAX_LINKS;
use crate::txn::Class;

/// Steps that the last unlink or close of an inode spends on freeing it, and that a file which is
/// to grow spends on what is in its way before others may have its lock.
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
        self.changing(|| self.try_link(ino, dir, name))
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
        draft.touch(ino)?;
        draft.add_links(ino, 1)?;
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
        let (wcc, left) = self.changing(|| self.try_remove(dir, name, &accept))?;
        if let Some(left) = left {
            self.free_unused(left);
        }
        self.reap_few();
        Ok(wcc)
    }

    /// Takes a name away; returns the inode too where it is left.
    fn try_remove(
        &self,
        dir: u64,
        name: &[u8],
        accept: impl Fn(&Target) -> Result<()>,
    ) -> Result<(Wcc, Option<Left<'_>>)> {
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
            let left = self.drop_name(&mut draft, dir, target)?;
            let after = *draft.row(dir)?;
            draft.commit(Class::Freeing)?;
            return Ok((Wcc::of(dir, &before, &after), left));
        }
    }

    /// Takes a name off an inode that the draft holds, after or before its entry goes from `dir`.
    /// With its last name goes an inode that is not open and holds little; else it is left, to be
    /// freed once the draft is committed.
    pub(in crate::fs) fn drop_name(
        &self,
        draft: &mut Draft<'_>,
        dir: u64,
        target: Target,
    ) -> Result<Option<Left<'_>>> {
        let ino = target.ino;
        let row = draft.touch(ino)?;
        let directory = FileType::of_mode(row.mode.get()) == Some(FileType::Directory);
        if directory && row.entries.get() > 0 {
            return Err(Error::NotEmpty);
        }
        draft.add_links(ino, if directory { -2 } else { -1 })?;
        if directory {
            draft.add_links(dir, -1)?;
        }
        if draft.row(ino)?.nlink.get() > 0 {
            return Ok(None);
        }
        let open = draft.opens(ino)? > 0;
        if !open && draft.free_with(ino)? {
            return Ok(None);
        }
        draft.edits.put(self.tree, &FsKey::Orphan(ino).encode(), &[]);
        Ok((!open).then(|| self.left(ino)))
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
