//! Directories: looking up names, and where entries stand.
//!
//! The entries of a directory stand under cookies: 55 bits of the name's keyed hash, the *bucket*,
//! and 8 bits that count names with equal hashes. A new entry takes the lowest free cookie of its
//! bucket and keeps it. Nobody who lacks the key can find names that share a bucket; should 256
//! ever do, the next one is refused with [`Error::NoSpace`].

use super::FileSystem;
use super::attr::{Attr, FileType};
use super::inode::Inode;
use super::link::retry_stale;
use super::names::Target;
use crate::error::{Error, Object, Result};
use crate::format::{COOKIE_COUNTER_BITS, EntryRow, FIRST_COOKIE, FsKey, InodeRow};
use crate::limits::MAX_NAME_LEN;

/// Where a name stands in its directory, or may stand.
pub(in crate::fs) enum Place {
    /// The entry that has the name.
    Taken(Target),
    /// The cookie for a new entry.
    Free(u64),
}

impl FileSystem {
    /// The attributes of what a name in a directory leads to. "." is the directory itself and ".."
    /// its parent; the root is its own.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NameTooLong`],
    /// [`Error::InvalidArgument`] for a name with `/` or NUL or without a byte, and
    /// [`Error::Stale`] where the directory is gone.
    pub fn lookup(&self, dir: u64, name: &[u8]) -> Result<Attr> {
        let mut stale = None;
        loop {
            let ino = self.resolve(dir, name)?;
            match self.getattr(ino) {
                // Removed, or another was put in its place, since the name was looked up.
                Err(Error::Stale) if !is_dot(name) => retry_stale(&mut stale, ino, ino)?,
                answer => return answer,
            }
        }
    }

    fn resolve(&self, dir: u64, name: &[u8]) -> Result<u64> {
        let inode = self.inodes.get(dir);
        let row = inode.read(&self.engine, self.tree)?;
        directory(&row)?;
        match name {
            b"." => Ok(dir),
            b".." => Ok(row.parent.get()),
            _ => {
                check_name(name)?;
                self.find(dir, name)?.map(|target| target.ino).ok_or(Error::NotFound)
            }
        }
    }

    /// What a name in a directory led to a moment ago.
    pub(in crate::fs) fn peek(&self, inode: &Inode, name: &[u8]) -> Result<Option<Target>> {
        let row = inode.read(&self.engine, self.tree)?;
        directory(&row)?;
        self.find(inode.ino(), name)
    }

    /// What a name leads to. The caller holds the directory's lock.
    pub(in crate::fs) fn find(&self, dir: u64, name: &[u8]) -> Result<Option<Target>> {
        let bucket = self.bucket_of(name)?;
        if let Some(known) = self.names.get(dir, bucket, name) {
            return Ok(known);
        }
        let (found, _) = self.scan_bucket(dir, bucket, name)?;
        self.names.put(dir, bucket, name, found);
        Ok(found)
    }

    /// Where a name stands or may stand. The caller holds the directory's write lock.
    pub(in crate::fs) fn place(&self, dir: u64, name: &[u8]) -> Result<Place> {
        let bucket = self.bucket_of(name)?;
        if let Some(Some(target)) = self.names.get(dir, bucket, name) {
            return Ok(Place::Taken(target));
        }
        match self.scan_bucket(dir, bucket, name)? {
            (Some(target), _) => Ok(Place::Taken(target)),
            (None, Some(cookie)) => Ok(Place::Free(cookie)),
            (None, None) => Err(Error::NoSpace),
        }
    }

    /// The entry of a name, and the lowest free cookie of its bucket.
    fn scan_bucket(
        &self,
        dir: u64,
        bucket: u64,
        name: &[u8],
    ) -> Result<(Option<Target>, Option<u64>)> {
        let end = bucket + (1 << COOKIE_COUNTER_BITS);
        let mut free = bucket.max(FIRST_COOKIE);
        let (mut found, mut failure) = (None, None);
        let (from, to) = (FsKey::Entry(dir, bucket).encode(), FsKey::Entry(dir, end).encode());
        self.engine.scan(self.tree, &from, &to, |key, value| match parse_entry(key, value) {
            Ok((cookie, entry)) => {
                free += u64::from(cookie == free);
                if entry.name == name {
                    found = Some(Target { ino: entry.ino, kind: entry.kind, cookie });
                }
                found.is_none()
            }
            Err(error) => {
                failure = Some(error);
                false
            }
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok((found, (free < end).then_some(free))),
        }
    }

    /// The first cookie of a name's bucket.
    pub(in crate::fs) fn bucket_of(&self, name: &[u8]) -> Result<u64> {
        Ok(self.buckets()?(name))
    }

    /// The first cookies of the buckets of names.
    pub(crate) fn buckets(&self) -> Result<impl Fn(&[u8]) -> u64 + '_> {
        let (hasher, mask) = (self.hasher.get()?, (1 << self.options.hash_bits.min(55)) - 1);
        Ok(move |name: &[u8]| (hasher.hash56(name) & mask) << COOKIE_COUNTER_BITS)
    }
}

/// Cookie and entry of a row of class 2.
pub(in crate::fs) fn parse_entry<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, EntryRow<'a>)> {
    let FsKey::Entry(_, cookie) = FsKey::parse(key)? else {
        return Err(Error::corrupt(Object::Row { class: 2 }, "class of an entry"));
    };
    let entry = EntryRow::parse(value)?;
    if FileType::from_code(entry.kind).is_none() {
        return Err(Error::corrupt(Object::Row { class: 2 }, "type of an entry"));
    }
    Ok((cookie, entry))
}

/// Fails unless the row is a directory's.
pub(in crate::fs) fn directory(row: &InodeRow) -> Result<()> {
    match FileType::of_mode(row.mode.get()) {
        Some(FileType::Directory) => Ok(()),
        _ => Err(Error::NotDirectory),
    }
}

/// Fails unless the row is that of a directory that can take entries: one that was removed while
/// it is open cannot.
pub(in crate::fs) fn live_directory(row: &InodeRow) -> Result<()> {
    directory(row)?;
    if row.nlink.get() == 0 { Err(Error::NotFound) } else { Ok(()) }
}

/// Fails unless an entry could have the name; "." and ".." are let through.
pub(in crate::fs) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME_LEN {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Error::InvalidArgument("a name is not empty and has no '/' and no NUL"));
    }
    Ok(())
}

/// Fails unless a new entry may have the name.
pub(in crate::fs) fn check_new_name(name: &[u8]) -> Result<()> {
    check_name(name)?;
    if is_dot(name) { Err(Error::Exists) } else { Ok(()) }
}

/// Whether a name is "." or "..", which are not entries.
pub(in crate::fs) fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}
