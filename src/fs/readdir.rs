//! Reading a directory, resumable at every entry.

use super::FileSystem;
use super::attr::{Attr, FileType};
use super::dir::{directory, parse_entry};
use crate::error::{Error, Result};
use crate::format::FsKey;

/// Cookie of ".": resuming there continues with "..".
pub const COOKIE_DOT: u64 = 1;
/// Cookie of "..": resuming there leaves both out, as NFSv4 wants.
pub const COOKIE_DOT_DOT: u64 = 2;

/// Entries that are gathered at a time.
const BATCH: usize = 128;

/// An entry of a directory, as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What it leads to.
    pub ino: u64,
    /// Type of that.
    pub kind: FileType,
    /// Where to resume behind this entry: below 2^63, and 3 or more except for "." and "..".
    /// Valid as long as the directory exists, whatever happens to this entry or others.
    pub cookie: u64,
}

/// Entries that were copied out of the tree.
#[derive(Default)]
struct Batch {
    names: Vec<u8>,
    /// End of the name, inode, type, cookie.
    entries: Vec<(usize, u64, FileType, u64)>,
}

impl FileSystem {
    /// Calls `visit` with the entries behind `cookie`, 0 for the start, until it returns `false`:
    /// that entry counts as not read. Returns whether the end was reached.
    ///
    /// Entries that are neither added nor removed meanwhile are seen exactly once, also when a
    /// read is resumed after a restart. `visit` may call the file system. Reading moves no time.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Stale`], and those of reading rows.
    pub fn read_dir(
        &self,
        dir: u64,
        cookie: u64,
        mut visit: impl FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<bool> {
        let inode = self.inodes.get(dir);
        let parent = {
            let row = inode.read(&self.engine, self.tree)?;
            directory(&row)?;
            row.parent.get()
        };
        let kind = FileType::Directory;
        let dots = [
            DirEntry { name: b".", ino: dir, kind, cookie: COOKIE_DOT },
            DirEntry { name: b"..", ino: parent, kind, cookie: COOKIE_DOT_DOT },
        ];
        for dot in dots.iter().filter(|dot| dot.cookie > cookie) {
            if !visit(dot) {
                return Ok(false);
            }
        }
        let mut next = cookie.max(COOKIE_DOT_DOT).saturating_add(1);
        let mut batch = Batch::default();
        loop {
            self.gather(dir, next, &mut batch)?;
            let mut start = 0;
            for &(end, ino, kind, cookie) in &batch.entries {
                let name = &batch.names[start..end];
                if !visit(&DirEntry { name, ino, kind, cookie }) {
                    return Ok(false);
                }
                (start, next) = (end, cookie + 1);
            }
            if batch.entries.len() < BATCH {
                return Ok(true);
            }
        }
    }

    /// As [`FileSystem::read_dir`], with the attributes of each entry; `None` for one that was
    /// removed meanwhile.
    ///
    /// # Errors
    /// As there.
    pub fn read_dir_plus(
        &self,
        dir: u64,
        cookie: u64,
        mut visit: impl FnMut(&DirEntry<'_>, Option<&Attr>) -> bool,
    ) -> Result<bool> {
        let mut failure = None;
        let end = self.read_dir(dir, cookie, |entry| match self.getattr(entry.ino) {
            Ok(attr) => visit(entry, Some(&attr)),
            Err(Error::Stale) => visit(entry, None),
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        failure.map_or(Ok(end), Err)
    }

    /// Copies the next entries out of the tree.
    fn gather(&self, dir: u64, cookie: u64, batch: &mut Batch) -> Result<()> {
        batch.names.clear();
        batch.entries.clear();
        let mut failure = None;
        let (from, to) = (FsKey::Entry(dir, cookie).encode(), FsKey::Entry(dir, 1 << 63).encode());
        self.engine.scan(self.tree, &from, &to, |key, value| {
            match parse_entry(key, value) {
                Ok((cookie, entry)) => {
                    batch.names.extend_from_slice(entry.name);
                    let kind = FileType::from_code(entry.kind).unwrap_or(FileType::Regular);
                    batch.entries.push((batch.names.len(), entry.ino, kind, cookie));
                }
                Err(error) => failure = Some(error),
            }
            failure.is_none() && batch.entries.len() < BATCH
        })?;
        failure.map_or(Ok(()), Err)
    }
}
