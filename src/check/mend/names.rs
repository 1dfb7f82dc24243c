//! Names: `/lost+found` for what has none, circles of directories, and the paths of notes.

use std::collections::HashMap;

use super::{Bucket, Mender};
use crate::check::census::{Census, Seen};
use crate::check::note::Mending;
use crate::error::{Error, Object, Result};
use crate::format::{COOKIE_COUNTER_BITS, EntryRow, FIRST_COOKIE, FIRST_FS_TREE, FsKey};
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
        let dir = self.lost_found()?;
        let name = format!("ino-{ino}").into_bytes();
        let name = self.enter(dir, &name, ino, kind)?;
        let name = [b"/", LOST_FOUND, b"/", &name].concat();
        self.note(ino, Mending::NameLost { name });
        Ok(())
    }

    /// The directory `/lost+found`, made where it is missing.
    fn lost_found(&mut self) -> Result<u64> {
        if let Some(ino) = self.lost_found {
            return Ok(ino);
        }
        // Entries of this round must be seen.
        self.flush()?;
        let found = match self.find_name(ROOT_INO, LOST_FOUND)? {
            Ok(entry) if entry.1 == FileType::Directory as u8 => Some(entry.0),
            _ => None,
        };
        let ino = match found {
            Some(ino) if self.get(FsKey::Inode(ino))?.is_some() => ino,
            _ => {
                let ino = self.salvage.engine().new_ino()?;
                let row = self.new_row(FileType::Directory.mode_bits() | 0o700, ROOT_INO)?;
                self.put_row(ino, &row)?;
                self.made.insert(ino);
                self.enter(ROOT_INO, LOST_FOUND, ino, FileType::Directory)?;
                ino
            }
        };
        self.lost_found = Some(ino);
        Ok(ino)
    }

    /// Enters an inode in a directory under a name, or one like it that is free.
    fn enter(&mut self, dir: u64, name: &[u8], ino: u64, kind: FileType) -> Result<Vec<u8>> {
        for n in 1..=TRIES {
            let suffix = if n == 1 { String::new() } else { format!("-{n}") };
            let name = [name, suffix.as_bytes()].concat();
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
            let (mut way, mut at) = (vec![ino], seen.above);
            while !reached.contains_key(&at) && !way.contains(&at) {
                way.push(at);
                match inodes.get(&at).filter(|seen| seen.names > 0) {
                    Some(seen) => at = seen.above,
                    None => break,
                }
            }
            if way.contains(&at) && inodes.get(&at).is_some_and(|seen| seen.names > 0) {
                let Seen { above, cookie, .. } = inodes[&at];
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
