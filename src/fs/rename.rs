//! Renaming.

use std::sync::Arc;

use super::FileSystem;
use super::attr::{Attr, FileType, Time, Wcc};
use super::create::NewAttr;
use super::dir::{Place, check_name, is_dot, live_directory};
use super::draft::Draft;
use super::inode::Inode;
use super::link::retry_stale;
use super::mount::ROOT_INO;
use super::names::Target;
use super::orphan::Left;
use crate::error::{Error, Object, Result};
use crate::format::InodeRow;
use crate::txn::Class;

/// Most directories above one: a longer way up is a circle in a damaged store.
const DEEPEST: u32 = 1 << 20;

/// What a rename does with an entry that has the new name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place: a file over a file, a directory over an empty directory.
    #[default]
    Replace,
    /// Leaves it: [`Error::Exists`].
    NoReplace,
    /// Exchanges the two, which must both exist.
    Exchange,
}

/// Answer to a rename. The directories' are the same where they are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// The directory of the old name before and after.
    pub from: Wcc,
    /// The directory of the new name before and after.
    pub to: Wcc,
    /// What was left at the old name, where that was asked for and both names were not of one
    /// inode.
    pub whiteout: Option<Attr>,
}

/// What a rename is to do beside moving the name.
#[derive(Clone, Copy)]
struct How<'n> {
    mode: RenameMode,
    whiteout: Option<&'n NewAttr>,
}

/// Why an attempt is made again.
#[derive(Default)]
struct Again {
    /// What was seen last when an inode was gone.
    stale: Option<(Target, Option<Target>)>,
    /// Whether there is no number for a whiteout yet.
    number: bool,
}

/// One end of a rename.
#[derive(Clone, Copy)]
struct End<'n> {
    dir: u64,
    name: &'n [u8],
}

impl FileSystem {
    /// Renames an entry, in one step also for readers and through a crash. Where both names are of
    /// one inode, nothing happens.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::Loop`] for a directory that would come to
    /// stand below itself, [`Error::IsDirectory`] and [`Error::NotDirectory`] where only one of
    /// the two is one, [`Error::NotEmpty`], [`Error::InvalidArgument`] for "." and "..", and
    /// those of [`FileSystem::create`].
    pub fn rename(
        &self,
        from: u64,
        name: &[u8],
        to: u64,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<Renamed> {
        self.rename_how((from, name), (to, new_name), How { mode, whiteout: None })
    }

    /// As [`FileSystem::rename`], and leaves a whiteout at the old name in the same step: a
    /// character device with number 0, by which an overlay of file systems knows that the name is
    /// not there, whatever the layers below have. `new` is what it gets: Linux gives it mode 0, and
    /// owner and group of who renames.
    ///
    /// # Errors
    /// Those of [`FileSystem::rename`] and of [`FileSystem::create`];
    /// [`Error::InvalidArgument`] for [`RenameMode::Exchange`], which leaves no place for it.
    pub fn rename_whiteout(
        &self,
        from: u64,
        name: &[u8],
        to: u64,
        new_name: &[u8],
        mode: RenameMode,
        new: &NewAttr,
    ) -> Result<Renamed> {
        if mode == RenameMode::Exchange {
            return Err(Error::InvalidArgument("an exchange leaves no place for a whiteout"));
        }
        [new.atime, new.mtime].iter().flatten().try_for_each(Time::check)?;
        self.rename_how((from, name), (to, new_name), How { mode, whiteout: Some(new) })
    }

    fn rename_how(
        &self,
        (from, name): (u64, &[u8]),
        (to, new_name): (u64, &[u8]),
        how: How<'_>,
    ) -> Result<Renamed> {
        check_name(name)?;
        check_name(new_name)?;
        if is_dot(name) || is_dot(new_name) {
            return Err(Error::InvalidArgument("\".\" and \"..\" are not renamed"));
        }
        let (old, new) = (End { dir: from, name }, End { dir: to, name: new_name });
        let (renamed, left) = self.changing(|| {
            let mut again = Again::default();
            loop {
                if let Some(done) = self.try_rename(old, new, how, &mut again)? {
                    return Ok(done);
                }
                if std::mem::take(&mut again.number) {
                    self.engine.promise_inos()?;
                }
            }
        })?;
        if let Some(left) = left {
            self.free_unused(left);
            self.reap_few();
        }
        Ok(renamed)
    }

    /// One attempt; `None` where a name changed between the look and the locks. Returns too which
    /// inode is left to be freed.
    fn try_rename(
        &self,
        from: End<'_>,
        to: End<'_>,
        how: How<'_>,
        again: &mut Again,
    ) -> Result<Option<(Renamed, Option<Left<'_>>)>> {
        let (from_dir, to_dir) = (self.inodes.get(from.dir), self.inodes.get(to.dir));
        let source = self.peek(&from_dir, from.name)?.ok_or(Error::NotFound)?;
        let target = self.peek(&to_dir, to.name)?;
        let swaps = how.mode == RenameMode::Exchange;
        let moved = [Some((source, to.dir)), target.filter(|_| swaps).map(|t| (t, from.dir))];
        let moved = moved.into_iter().flatten();
        let mut moved = moved.filter(|(entry, _)| from.dir != to.dir && is_dir(*entry)).peekable();
        let _shape = moved.peek().is_some().then(|| self.moves.lock());
        for (entry, dir) in moved {
            self.check_loop(entry.ino, dir)?;
        }
        let inode = self.inodes.get(source.ino);
        let other = self.inodes.get(target.map_or(source.ino, |target| target.ino));
        #[expect(clippy::needless_late_init, reason = "it outlives the draft, which borrows it")]
        let made: Option<Arc<Inode>>;
        let mut draft = match self.draft(&[&from_dir, &to_dir, &inode, &other]) {
            Err(Error::Stale) => {
                retry_stale(&mut again.stale, (source, target), source.ino)?;
                return Ok(None);
            }
            draft => draft?,
        };
        let same = self.find(from.dir, from.name)? == Some(source)
            && self.find(to.dir, to.name)? == target;
        if !same {
            return Ok(None);
        }
        let before = (*draft.row(from.dir)?, *draft.row(to.dir)?);
        live_directory(&before.0)?;
        live_directory(&before.1)?;
        match (target, how.mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            _ => {}
        }
        let changed = target.is_none_or(|target| target.ino != source.ino);
        let leaves = how.whiteout.filter(|_| changed);
        made = leaves.map(|_| self.new_inode()).transpose()?.flatten();
        if leaves.is_some() && made.is_none() {
            // Numbers are promised without locks.
            again.number = true;
            return Ok(None);
        }
        let mut left = None;
        if changed {
            let whiteout = made.as_deref().zip(leaves);
            left = self.change_names(&mut draft, (from, source), (to, target), swaps, whiteout)?;
        }
        let whiteout = made.as_deref().map(|inode| attr(&draft, inode)).transpose()?;
        let after = (*draft.row(from.dir)?, *draft.row(to.dir)?);
        if changed {
            draft.commit(Class::Normal)?;
        }
        let (from, to) =
            (Wcc::of(from.dir, &before.0, &after.0), Wcc::of(to.dir, &before.1, &after.1));
        Ok(Some((Renamed { from, to, whiteout }, left)))
    }

    /// Changes the names, which lead to two inodes, and leaves a whiteout where one is given.
    /// Returns which inode is left to be freed.
    fn change_names<'a>(
        &self,
        draft: &mut Draft<'a>,
        (from, source): (End<'a>, Target),
        (to, target): (End<'a>, Option<Target>),
        swaps: bool,
        whiteout: Option<(&'a Inode, &NewAttr)>,
    ) -> Result<Option<Left<'_>>> {
        if let Some(target) = target.filter(|_| swaps) {
            return exchange(draft, (from, source), (to, target)).map(|()| None);
        }
        let row = match whiteout {
            Some((_, new)) => Some(self.whiteout(draft, from.dir, new)?),
            None => None,
        };
        let left = self.replace(draft, source, to, target)?;
        moved_entry(draft, source, from.dir, to.dir)?;
        match whiteout.zip(row) {
            Some(((inode, _), (row, lists))) => {
                leave(draft, inode, row, (from, source))?;
                self.put_lists(draft, inode.ino(), &lists)?;
            }
            None => draft.remove_entry(from.dir, from.name, source)?,
        }
        Ok(left)
    }

    /// Puts an entry also where none is, or another that it replaces. Returns the inode of that one
    /// where it is left to be freed.
    fn replace<'a>(
        &self,
        draft: &mut Draft<'a>,
        source: Target,
        to: End<'a>,
        target: Option<Target>,
    ) -> Result<Option<Left<'_>>> {
        let entry = |cookie| Target { cookie, ..source };
        let mut left = None;
        match target {
            Some(target) => {
                match (is_dir(source), is_dir(target)) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    _ => {}
                }
                left = self.drop_name(draft, to.dir, target)?;
                draft.touch_contents(to.dir)?;
                draft.put_entry(to.dir, to.name, entry(target.cookie))?;
            }
            None => match self.place(to.dir, to.name)? {
                Place::Free(cookie) => draft.add_entry(to.dir, to.name, entry(cookie))?,
                Place::Taken(_) => {
                    let object = Object::Inode { ino: to.dir };
                    return Err(Error::corrupt(object, "a name is there, and cannot be found"));
                }
            },
        }
        Ok(left)
    }

    /// Fails where `dir` is `ino` or below it. The caller holds the lock of directory moves, so
    /// nothing above `dir` changes.
    fn check_loop(&self, ino: u64, mut dir: u64) -> Result<()> {
        for _ in 0..DEEPEST {
            if dir == ino {
                return Err(Error::Loop);
            }
            if dir == ROOT_INO {
                return Ok(());
            }
            dir = self.inodes.get(dir).row(&self.engine, self.tree)?.parent.get();
        }
        Err(Error::corrupt(Object::Inode { ino: dir }, "parents that lead nowhere"))
    }
}

fn exchange<'a>(
    draft: &mut Draft<'a>,
    (from, source): (End<'a>, Target),
    (to, target): (End<'a>, Target),
) -> Result<()> {
    draft.touch_contents(from.dir)?;
    draft.touch_contents(to.dir)?;
    draft.put_entry(from.dir, from.name, Target { cookie: source.cookie, ..target })?;
    draft.put_entry(to.dir, to.name, Target { cookie: target.cookie, ..source })?;
    moved_entry(draft, source, from.dir, to.dir)?;
    moved_entry(draft, target, to.dir, from.dir)
}

/// Has the old name, which keeps its place in the directory, lead to a new inode.
fn leave<'a>(
    draft: &mut Draft<'a>,
    inode: &'a Inode,
    row: InodeRow,
    (from, source): (End<'a>, Target),
) -> Result<()> {
    let kind = FileType::CharDevice as u8;
    draft.add(inode, row)?;
    draft.touch_contents(from.dir)?;
    draft.put_entry(from.dir, from.name, Target { ino: inode.ino(), kind, cookie: source.cookie })
}

/// Says in the rows that an inode went from one directory to another.
fn moved_entry(draft: &mut Draft<'_>, entry: Target, from: u64, to: u64) -> Result<()> {
    draft.touch(entry.ino)?.parent = to.into();
    if is_dir(entry) {
        draft.add_links(from, -1)?;
        draft.add_links(to, 1)?;
    }
    Ok(())
}

/// The attributes of an inode as an operation leaves it.
fn attr(draft: &Draft<'_>, inode: &Inode) -> Result<Attr> {
    Ok(Attr::of(inode.ino(), draft.row(inode.ino())?))
}

fn is_dir(entry: Target) -> bool {
    entry.kind == FileType::Directory as u8
}
