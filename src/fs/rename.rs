//! Renaming.

use super::FileSystem;
use super::attr::{FileType, Wcc};
use super::dir::{Place, check_name, is_dot, live_directory};
use super::draft::Draft;
use super::link::retry_stale;
use super::mount::ROOT_INO;
use super::names::Target;
use super::orphan::Left;
use crate::error::{Error, Object, Result};
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

/// Answer to a rename. Both are the same where the directories are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renamed {
    /// The directory of the old name before and after.
    pub from: Wcc,
    /// The directory of the new name before and after.
    pub to: Wcc,
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
        check_name(name)?;
        check_name(new_name)?;
        if is_dot(name) || is_dot(new_name) {
            return Err(Error::InvalidArgument("\".\" and \"..\" are not renamed"));
        }
        let (old, new) = (End { dir: from, name }, End { dir: to, name: new_name });
        let (renamed, left) = self.changing(|| {
            let mut stale = None;
            loop {
                if let Some(done) = self.try_rename(old, new, mode, &mut stale)? {
                    return Ok(done);
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
        mode: RenameMode,
        stale: &mut Option<(Target, Option<Target>)>,
    ) -> Result<Option<(Renamed, Option<Left<'_>>)>> {
        let (from_dir, to_dir) = (self.inodes.get(from.dir), self.inodes.get(to.dir));
        let source = self.peek(&from_dir, from.name)?.ok_or(Error::NotFound)?;
        let target = self.peek(&to_dir, to.name)?;
        let swaps = mode == RenameMode::Exchange;
        let moved = [Some((source, to.dir)), target.filter(|_| swaps).map(|t| (t, from.dir))];
        let moved = moved.into_iter().flatten();
        let mut moved = moved.filter(|(entry, _)| from.dir != to.dir && is_dir(*entry)).peekable();
        let _shape = moved.peek().is_some().then(|| self.moves.lock());
        for (entry, dir) in moved {
            self.check_loop(entry.ino, dir)?;
        }
        let inode = self.inodes.get(source.ino);
        let other = self.inodes.get(target.map_or(source.ino, |target| target.ino));
        let mut draft = match self.draft(&[&from_dir, &to_dir, &inode, &other]) {
            Err(Error::Stale) => {
                retry_stale(stale, (source, target), source.ino)?;
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
        let mut left = None;
        let changed = match (target, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            (Some(target), _) if target.ino == source.ino => false,
            (Some(target), RenameMode::Exchange) => {
                exchange(&mut draft, (from, source), (to, target))?;
                true
            }
            (target, _) => {
                left = self.replace(&mut draft, (from, source), to, target)?;
                true
            }
        };
        let after = (*draft.row(from.dir)?, *draft.row(to.dir)?);
        if changed {
            draft.commit(Class::Normal)?;
        }
        let (from, to) =
            (Wcc::of(from.dir, &before.0, &after.0), Wcc::of(to.dir, &before.1, &after.1));
        Ok(Some((Renamed { from, to }, left)))
    }

    /// Moves an entry to where none is, or another that it replaces. Returns the inode of that one
    /// where it is left to be freed.
    fn replace<'a>(
        &self,
        draft: &mut Draft<'a>,
        (from, source): (End<'a>, Target),
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
        draft.remove_entry(from.dir, from.name, source)?;
        moved(draft, source, from.dir, to.dir)?;
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
    moved(draft, source, from.dir, to.dir)?;
    moved(draft, target, to.dir, from.dir)
}

/// Says in the rows that an inode went from one directory to another.
fn moved(draft: &mut Draft<'_>, entry: Target, from: u64, to: u64) -> Result<()> {
    draft.touch(entry.ino)?.parent = to.into();
    if is_dir(entry) {
        draft.add_links(from, -1)?;
        draft.add_links(to, 1)?;
    }
    Ok(())
}

fn is_dir(entry: Target) -> bool {
    entry.kind == FileType::Directory as u8
}
