//! Names: `/lost+found` for what has none, circles of directories, and the paths of notes.

use std::collections::{HashMap, HashSet};

use super::{Bucket, Mender};
use crate::check::census::{Census, Seen};
use crate::check::note::Mending;
use crate::error::{Error, Object, Result};
use crate::format::{COOKIE_COUNTER_BITS, EntryRow, FIRST_COOKIE, FIRST_FS_TREE, FsKey, InodeRow};
use crate::fs::{FileType, ROOT_INO};

/// Where inodes go that have no name.
const LOST_FOUND: &[u8] = b"lost+found";
/// Names tried for one purpose.
const TRIES: u32 = 100;
/// Longest path of a note, in names.
const DEPTH: usize = 4096;

impl Mender<'_> {
    /// Gives an inode a name in `/lost+found`.
    pub(super) fn link_lost(&mut self, ino: u64, seen: &Seen) -> Result<()> {
        let Some(kind) = seen.kind else { return Ok(()) };
        let (dir, above) = self.lost_found()?;
        let name = format!("ino-{ino}").into_bytes();
        let name = self.enter(dir, &name, ino, kind)?;
        let name = [b"/", &above[..], b"/", &name].concat();
        self.note(ino, Mending::NameLost { name });
        Ok(())
    }

    /// A directory of root's own, `/lost+found` or one named like it, made where there is none:
    /// what lost its name may have stood where few could reach it.
    fn lost_found(&mut self) -> Result<(u64, Vec<u8>)> {
        if let Some(known) = &self.lost_found {
            return Ok(known.clone());
        }
        // Entries of this round must be seen.
        self.flush()?;
        let mut known = None;
        for n in 1..=TRIES {
            let name = numbered(LOST_FOUND, n);
            match self.find_name(ROOT_INO, &name)? {
                Ok((ino, kind)) if kind == FileType::Directory as u8 && self.is_private(ino)? => {
                    known = Some((ino, name));
                    break;
                }
                Err(Some(_)) => break,
                _ => {}
            }
        }
        let known = match known {
            Some(known) => known,
            None => {
                let ino = self.salvage.engine().new_ino()?;
                let row = self.new_row(FileType::Directory.mode_bits() | 0o700, ROOT_INO)?;
                self.put_row(ino, &row)?;
                self.remember(ino);
                (ino, self.enter(ROOT_INO, LOST_FOUND, ino, FileType::Directory)?)
            }
        };
        self.lost_found = Some(known.clone());
        Ok(known)
    }

    /// Whether a directory is root's, and nobody else may look into it.
    fn is_private(&self, ino: u64) -> Result<bool> {
        let value = self.get(FsKey::Inode(ino))?;
        let row = value.as_deref().and_then(|value| InodeRow::parse(value, ino).ok());
        Ok(row.is_some_and(|row| row.uid.get() == 0 && row.mode.get() & 0o077 == 0))
    }

    /// Enters an inode in a directory under a name, or one like it that is free.
    fn enter(&mut self, dir: u64, name: &[u8], ino: u64, kind: FileType) -> Result<Vec<u8>> {
        for n in 1..=2 * TRIES {
            let name = match n {
                ..=TRIES => numbered(name, n),
                // Who makes directories here cannot have taken these.
                _ => {
                    let chosen = self.salvage.engine().rng().u64()?;
                    [name, format!("-{chosen:016x}").as_bytes()].concat()
                }
            };
            self.flush()?;
            if let Err(Some(cookie)) = self.find_name(dir, &name)? {
                let entry = EntryRow { ino, kind: kind as u8, name: &name }.encode();
                self.put_fs(FsKey::Entry(dir, cookie), &entry)?;
                return Ok(name);
            }
        }
        Err(Error::corrupt(Object::Inode { ino: dir }, "no name is free in it"))
    }

    /// Inode and type of a name, or where it would stand.
    pub(super) fn find_name(
        &self,
        dir: u64,
        name: &[u8],
    ) -> Result<Result<(u64, u8), Option<u64>>> {
        let bucket = (self.bucket)(name);
        let end = bucket + (1 << COOKIE_COUNTER_BITS);
        let mut free = bucket.max(FIRST_COOKIE);
        for (key, value) in self.scan(FsKey::Entry(dir, bucket), FsKey::Entry(dir, end))? {
            let FsKey::Entry(_, cookie) = key else { continue };
            free += u64::from(cookie == free);
            if let Ok(entry) = EntryRow::parse(&value)
                && entry.name == name
            {
                return Ok(Ok((entry.ino, entry.kind)));
            }
        }
        Ok(Err((free < end).then_some(free)))
    }

    /// Takes a directory out of a circle of directories that no path from the root leads to.
    pub(super) fn break_circle(&mut self, census: &Census<Bucket>) -> Result<()> {
        let inodes = census.inodes();
        let mut reached = HashMap::from([(ROOT_INO, true)]);
        for (&ino, seen) in inodes.iter().filter(|(_, seen)| seen.is_dir() && seen.names > 0) {
            let (mut way, mut at) = (HashSet::from([ino]), seen.above);
            while !reached.contains_key(&at) && way.insert(at) {
                match inodes.get(&at).filter(|seen| seen.names > 0) {
                    Some(seen) => at = seen.above,
                    None => break,
                }
            }
            if way.contains(&at) && inodes.get(&at).is_some_and(|seen| seen.names > 0) {
                let Some(&Seen { above, cookie, .. }) = inodes.get(&at) else { break };
                self.note(at, Mending::NameMoved { dir: above, name: b"..".to_vec() });
                return self.del_fs(FsKey::Entry(above, cookie));
            }
            reached.extend(way.into_iter().map(|dir| (dir, true)));
        }
        Ok(())
    }

    /// Finds a path for each note.
    pub(super) fn find_paths(&mut self) -> Result<()> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let census = self.census()?;
        for at in 0..self.notes.len() {
            let ino = self.notes[at].ino;
            self.notes[at].path = self.path_of(ino, &census)?;
        }
        Ok(())
    }

    fn path_of(&self, ino: u64, census: &Census<Bucket>) -> Result<Option<Vec<u8>>> {
        let (mut names, mut at) = (Vec::new(), ino);
        while at != ROOT_INO {
            let Some(seen) = census.inodes().get(&at).filter(|seen| seen.names > 0) else {
                return Ok(None);
            };
            let key = FsKey::Entry(seen.above, seen.cookie).encode();
            let engine = self.salvage.engine();
            let name = engine.get(FIRST_FS_TREE, &key, |value| {
                EntryRow::parse(value).ok().map(|entry| entry.name.to_vec())
            })?;
            let Some(name) = name.flatten() else { return Ok(None) };
            names.push(name);
            at = seen.above;
            if names.len() > DEPTH {
                return Ok(None);
            }
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Ok(Some(if path.is_empty() { b"/".to_vec() } else { path }))
    }
}

/// The n-th name that is tried for one.
fn numbered(name: &[u8], n: u32) -> Vec<u8> {
    let suffix = if n == 1 { String::new() } else { format!("-{n}") };
    [name, suffix.as_bytes()].concat()
}
