//! Reading a directory, resumable at every entry.

use super::FileSystem;
use super::attr::{Attr, FileType};
use super::dir::{directory, parse_entry};
use crate::error::{Error, Result};
use crate::format::FsKey;
use crate::secret::Wiped;

/// Cookie of ".": resuming there continues with "..".
pub const COOKIE_DOT: u64 = 1;
/// Cookie of "..": resuming there leaves both out, as NFSv4 wants.
pub const COOKIE_DOT_DOT: u64 = 2;

/// Cookies are below this one.
const COOKIES_END: u64 = 1 << 63;

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
    names: Wiped,
    /// End of the name, inode, type, cookie.
    entries: Vec<(usize, u64, FileType, u64)>,
    /// The first failure, and how many entries stand before it.
    failure: Option<(usize, Error)>,
}

impl Batch {
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert((self.entries.len(), error));
    }

    /// The failure, if it stands before an entry.
    fn failure_before(&mut self, entry: usize) -> Option<Error> {
        self.failure.take_if(|(at, _)| *at <= entry).map(|(_, error)| error)
    }
}

impl FileSystem {
    /// Calls `visit` with the entries behind `cookie`, 0 for the start, until it returns `false`:
    /// that entry counts as not read. Returns whether the end was reached.
    ///
    /// Entries that are neither added nor removed meanwhile are seen exactly once, also when a
    /// read is resumed after a restart. `visit` may call the file system. Reading moves no time.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Stale`]; [`Error::Corrupt`] or [`Error::Io`] where a part
    /// of the directory cannot be read. Then what can be read behind that part was visited too, as
    /// far as `visit` wanted it: **a failure is not the end**. Read on behind the last entry that
    /// was visited, where there was one since the last read; a read that fails and visits nothing
    /// has nothing behind it.
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
        let mut next = Some(cookie.max(COOKIE_DOT_DOT).saturating_add(1));
        // A failure is told once something behind it was read: whoever goes on there does not
        // meet it again, and one behind what was read is left to the next read.
        let (mut batch, mut failure, mut behind) = (Batch::default(), None, None);
        while let Some(from) = next {
            next = self.gather(dir, from, &mut batch)?;
            let mut start = 0;
            for at in 0..batch.entries.len() {
                let (end, ino, kind, cookie) = batch.entries[at];
                let name = &batch.names[start..end];
                if !visit(&DirEntry { name, ino, kind, cookie }) {
                    return failure.map_or(Ok(false), Err);
                }
                start = end;
                failure = failure.or(behind.take()).or(batch.failure_before(at));
            }
            behind = behind.or(batch.failure_before(usize::MAX));
        }
        failure.or(behind).map_or(Ok(true), Err)
    }

    /// As [`FileSystem::read_dir`], with the attributes of each entry; `None` for one that was
    /// removed meanwhile, or whose inode cannot be read.
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
            Err(Error::Stale | Error::Corrupt { .. } | Error::Io { .. }) => visit(entry, None),
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        failure.map_or(Ok(end), Err)
    }

    /// Copies the next entries out of the tree, from a cookie on, and returns the cookie where to
    /// go on: `None` at the end. Passes over what cannot be read.
    fn gather(&self, dir: u64, from: u64, batch: &mut Batch) -> Result<Option<u64>> {
        batch.names.clear();
        batch.entries.clear();
        let (start, end) =
            (FsKey::Entry(dir, from).encode(), FsKey::Entry(dir, COOKIES_END).encode());
        let read = self.engine.scan(self.tree, &start, &end, |key, value| {
            match parse_entry(key, value) {
                Ok((cookie, entry)) => {
                    batch.names.extend_from_slice(entry.name);
                    let kind = FileType::from_code(entry.kind).unwrap_or(FileType::Regular);
                    batch.entries.push((batch.names.len(), entry.ino, kind, cookie));
                }
                Err(error) => batch.fail(error),
            }
            batch.entries.len() < BATCH
        });
        let next = batch.entries.last().map_or(from, |(.., cookie)| cookie + 1);
        match read {
            Ok(()) if batch.entries.len() == BATCH => Ok(Some(next)),
            Ok(()) => Ok(None),
            Err(error @ (Error::Corrupt { .. } | Error::Io { .. })) => {
                batch.fail(error);
                self.entry_behind(dir, next)
            }
            Err(error) => Err(error),
        }
    }

    /// The first cookie behind what cannot be read at one, or behind the leaf where it stands.
    fn entry_behind(&self, dir: u64, cookie: u64) -> Result<Option<u64>> {
        let key = FsKey::Entry(dir, cookie).encode();
        let behind = self.engine.behind(self.tree, &key)?;
        Ok(match behind.as_deref().map(FsKey::parse) {
            Some(Ok(FsKey::Entry(other, next))) if other == dir && next > cookie => {
                Some(next).filter(|next| *next < COOKIES_END)
            }
            _ => None,
        })
    }
}
