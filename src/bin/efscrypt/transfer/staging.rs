//! Staging: a directory of a store in which an import makes what is not whole yet.
//!
//! What is whole is renamed to its place, in one step also through a crash. What an import that
//! was interrupted left here is removed by the next. The directory carries a mark: one of the same
//! name that somebody else made is nobody's to empty or to leave out of a copy.

use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::fs::{
    Attr, COOKIE_DOT_DOT, FileSystem, NewAttr, ROOT_INO, SetAttr, SetTime, XattrMode,
};
use efscrypt::{Error, Result};

use super::meta::Kind;
use super::walk::Entry;

/// Its name in the root directory of the store.
pub const NAME: &str = ".efscrypt-import";

/// More directories than a path of the system's has, so that a loop of a damaged store ends.
const DEEPEST: usize = 1 << 18;
/// The attribute that marks it.
pub(super) const MARK: &[u8] = b"trusted.efscrypt.import";

/// The directory, while an import goes on.
pub struct Staging<'a> {
    store: &'a FileSystem,
    ino: u64,
    next: AtomicU64,
}

/// Whether an entry of a store has the name of the directory.
pub fn has_name(dir: u64, name: &[u8]) -> bool {
    dir == ROOT_INO && name == NAME.as_bytes()
}

/// Whether an entry of a store is the directory that an import made.
pub fn is_own(store: &FileSystem, dir: u64, entry: &Entry) -> bool {
    // Where that cannot be read nobody may leave anything out.
    has_name(dir, &entry.name) && entry.is_dir && is_marked(store, entry.ino).unwrap_or(false)
}

/// Whether a directory of the store is that of imports, or below it.
pub fn holds(store: &FileSystem, mut dir: u64) -> Result<bool> {
    let own = match store.lookup(ROOT_INO, NAME.as_bytes()) {
        Err(Error::NotFound) => return Ok(false),
        found => found?.ino,
    };
    for _ in 0..DEEPEST {
        if dir == ROOT_INO || dir == own {
            break;
        }
        dir = store.lookup(dir, b"..")?.ino;
    }
    Ok(dir == own)
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
        store.set_xattr(ino, MARK, b"", XattrMode::Either)?;
        Ok(Staging { store, ino, next: AtomicU64::new(0) })
    }

    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// A name in it that nothing has.
    pub fn name(&self) -> Vec<u8> {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
    }

    /// Removes the directory, unless something in it could not be removed.
    pub fn close(self) -> Result<()> {
        in_root(self.store, || match self.store.rmdir(ROOT_INO, NAME.as_bytes()) {
            Err(Error::NotEmpty) => Ok(()),
            removed => removed.map(|_| ()),
        })
    }
}

fn empty(store: &FileSystem, found: &Attr) -> Result<()> {
    // One without a mark and without entries was left between the two steps of making it.
    if found.kind != Kind::Directory || found.entries > 0 && !is_marked(store, found.ino)? {
        return Err(Error::Exists);
    }
    let (mut names, mut ours) = (Vec::new(), true);
    store.read_dir(found.ino, COOKIE_DOT_DOT, |entry| {
        ours &= entry.name.iter().all(u8::is_ascii_digit);
        names.push((entry.name.to_vec(), entry.kind));
        ours
    })?;
    if !ours {
        return Err(Error::Exists);
    }
    for (name, kind) in names {
        match kind {
            Kind::Directory => store.rmdir(found.ino, &name).map_err(|_| Error::Exists)?,
            _ => store.unlink(found.ino, &name)?,
        };
    }
    Ok(())
}

fn is_marked(store: &FileSystem, ino: u64) -> Result<bool> {
    match store.get_xattr(ino, MARK) {
        Err(Error::NoAttribute) => Ok(false),
        mark => mark.map(|_| true),
    }
}

/// Does something in the root directory that leaves its time of change as it was: what comes and
/// goes there is nobody's.
fn in_root<T>(store: &FileSystem, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mtime = Some(SetTime::At(store.getattr(ROOT_INO)?.mtime));
    let done = work()?;
    store.setattr(ROOT_INO, &SetAttr { mtime, ..SetAttr::default() })?;
    Ok(done)
}
