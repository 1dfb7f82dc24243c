//! Staging: a directory of a store in which an import makes what is not whole yet.
//!
//! What is whole is renamed to its place, in one step also through a crash. What an import that
//! was interrupted left here is removed by the next.

use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::fs::{Attr, COOKIE_DOT_DOT, FileSystem, NewAttr, ROOT_INO, SetAttr, SetTime};
use efscrypt::{Error, Result};

use super::meta::Kind;

/// Its name in the root directory of the store.
pub const NAME: &str = ".efscrypt-import";

/// The directory, while an import goes on.
pub struct Staging<'a> {
    store: &'a FileSystem,
    ino: u64,
    next: AtomicU64,
}

/// Whether an entry of a store is the directory.
pub fn is_own(dir: u64, name: &[u8]) -> bool {
    dir == ROOT_INO && name == NAME.as_bytes()
}

impl<'a> Staging<'a> {
    /// Makes the directory, or empties one that was left.
    ///
    /// # Errors
    /// [`Error::Exists`] where the name is of something that no import made.
    pub fn open(store: &'a FileSystem) -> Result<Staging<'a>> {
        let ino = match store.lookup(ROOT_INO, NAME.as_bytes()) {
            Err(Error::NotFound) => {
                let new = NewAttr { mode: 0o700, ..NewAttr::default() };
                in_root(store, || store.mkdir(ROOT_INO, NAME.as_bytes(), &new))?.attr.ino
            }
            found => {
                let found = found?;
                empty(store, &found)?;
                found.ino
            }
        };
        Ok(Staging { store, ino, next: AtomicU64::new(0) })
    }

    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// A name in it that nothing has.
    pub fn name(&self) -> Vec<u8> {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
    }

    /// Removes the directory.
    pub fn close(self) -> Result<()> {
        in_root(self.store, || self.store.rmdir(ROOT_INO, NAME.as_bytes()).map(|_| ()))
    }
}

fn empty(store: &FileSystem, found: &Attr) -> Result<()> {
    if found.kind != Kind::Directory {
        return Err(Error::Exists);
    }
    let (mut names, mut ours) = (Vec::new(), true);
    store.read_dir(found.ino, COOKIE_DOT_DOT, |entry| {
        ours &= entry.kind != Kind::Directory && entry.name.iter().all(u8::is_ascii_digit);
        names.push(entry.name.to_vec());
        ours
    })?;
    if !ours {
        return Err(Error::Exists);
    }
    names.iter().try_for_each(|name| store.unlink(found.ino, name).map(|_| ()))
}

/// Does something in the root directory that leaves its time of change as it was: what comes and
/// goes there is nobody's.
fn in_root<T>(store: &FileSystem, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mtime = Some(SetTime::At(store.getattr(ROOT_INO)?.mtime));
    let done = work()?;
    store.setattr(ROOT_INO, &SetAttr { mtime, ..SetAttr::default() })?;
    Ok(done)
}
