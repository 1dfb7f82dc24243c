//! Extended attributes: names of up to 255 bytes with values of up to 64 KiB, any bytes.
//!
//! They stand in the tree like names do, sealed under the META domain, under cookies by the hash
//! of the name as directory entries do. Which names a client may use is up to the server.
//!
//! Two names are access control lists, in the form in which Linux hands them over: setting one
//! checks it, and changes the mode with it. See [`FileSystem::set_acl`].

use super::FileSystem;
use super::acl::{Acl, AclKind};
use super::attr::Wcc;
use super::caller::Caller;
use super::draft::Draft;
use crate::error::{Error, Object, Result};
use crate::format::{COOKIE_COUNTER_BITS, FsKey, InodeRow, XattrRow};
use crate::limits::{MAX_NAME_LEN, MAX_VALUE_LEN, MAX_XATTR_LEN, MAX_XATTR_LIST_LEN};
use crate::secret::wipe;
use crate::txn::{Class, Edits};

/// Whether an attribute must or must not exist when it is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XattrMode {
    /// It may or may not.
    #[default]
    Either,
    /// It must not: [`Error::Exists`].
    Create,
    /// It must: [`Error::NoAttribute`].
    Replace,
}

/// Where an attribute stands.
struct Found {
    cookie: u64,
    chunks: u8,
}

impl FileSystem {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`], [`Error::Stale`], and those of reading rows.
    pub fn get_xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        check_xattr_name(name)?;
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        match AclKind::of_xattr_name(name) {
            None => self.stored_xattr(ino, &row, name),
            Some(kind) => {
                let list = self.acl_of(ino, &row, kind)?.ok_or(Error::NoAttribute)?;
                Ok(list.to_xattr())
            }
        }
    }

    /// The value of an attribute as its rows have it. The caller holds the inode's lock.
    pub(in crate::fs) fn stored_xattr(
        &self,
        ino: u64,
        row: &InodeRow,
        name: &[u8],
    ) -> Result<Vec<u8>> {
        if row.xattrs.get() == 0 {
            return Err(Error::NoAttribute);
        }
        let bucket = self.bucket_of(name)?;
        let (mut value, mut len, mut failure) = (Vec::new(), None, None);
        let (from, to) = range(ino, bucket);
        self.engine.scan(self.tree, &from, &to, |key, bytes| {
            match (chunk(key), len) {
                (Ok(0), Some(_)) => return false,
                (Ok(0), None) => match XattrRow::parse(bytes) {
                    Ok(row) if row.name == name => {
                        len = Some(row.value_len);
                        // Not grown later: that would give memory back with the value in it.
                        value.reserve_exact(row.value_len);
                        value.extend_from_slice(row.value);
                    }
                    Ok(_) => {}
                    Err(error) => failure = Some(error),
                },
                (Ok(_), Some(_)) => value.extend_from_slice(bytes),
                (Ok(_), None) => {}
                (Err(error), _) => failure = Some(error),
            }
            failure.is_none()
        })?;
        match (failure, len) {
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::NoAttribute),
            (None, Some(len)) if len == value.len() => Ok(value),
            _ => Err(Error::corrupt(Object::Inode { ino }, "length of an attribute")),
        }
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// As the mode says; as [`FileSystem::set_acl`] for the names of lists;
    /// [`Error::NameTooLong`], [`Error::ValueTooLarge`] for a value beyond 64 KiB,
    /// [`Error::InvalidArgument`] for an empty name or one with NUL, [`Error::Stale`],
    /// [`Error::NoSpace`], also where the names of all attributes of the inode would be longer than
    /// a client can list: 64 KiB, with one byte for each beside its own.
    pub fn set_xattr(&self, ino: u64, name: &[u8], value: &[u8], mode: XattrMode) -> Result<Wcc> {
        check_xattr_name(name)?;
        if value.len() > MAX_XATTR_LEN {
            return Err(Error::ValueTooLarge);
        }
        match AclKind::of_xattr_name(name) {
            None => self.changing(|| self.try_set_xattr(ino, name, value, mode)),
            Some(kind) => {
                let list = Acl::from_xattr(value)?;
                self.changing(|| self.try_set_acl(Caller::ANY, ino, kind, list.as_ref(), mode))
            }
        }
    }

    fn try_set_xattr(&self, ino: u64, name: &[u8], value: &[u8], mode: XattrMode) -> Result<Wcc> {
        let inode = self.inodes.get(ino);
        let mut draft = self.draft(&[&inode])?;
        let before = *draft.row(ino)?;
        self.put_xattr(&mut draft, ino, name, value, mode)?;
        let after = *draft.touch(ino)?;
        draft.commit(Class::Normal)?;
        Ok(Wcc::of(ino, &before, &after))
    }

    /// Puts an attribute, and counts it.
    pub(in crate::fs) fn put_xattr(
        &self,
        draft: &mut Draft<'_>,
        ino: u64,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let before = *draft.row(ino)?;
        let (found, free) = self.find_xattr(ino, name)?;
        match (&found, mode) {
            (Some(_), XattrMode::Create) => return Err(Error::Exists),
            (None, XattrMode::Replace) => return Err(Error::NoAttribute),
            _ => {}
        }
        let (cookie, old) = match found {
            Some(found) => (found.cookie, found.chunks),
            None => {
                self.check_list(ino, &before, name)?;
                (free.ok_or(Error::NoSpace)?, 0)
            }
        };
        let mut chunks = XattrRow::encode(name, value);
        for (chunk, bytes) in (0..).zip(&chunks) {
            draft.edits.put(self.tree, &FsKey::Xattr(ino, cookie, chunk).encode(), bytes);
        }
        chunks.iter_mut().for_each(|bytes| wipe(bytes));
        self.delete_chunks(&mut draft.edits, ino, cookie, chunks.len() as u8..old);
        let row = draft.change_row(ino)?;
        let count = row.xattrs.get().checked_add(u32::from(old == 0));
        row.xattrs = count.ok_or(bad_count(ino))?.into();
        Ok(())
    }

    /// Removes an extended attribute. That of an access list leaves the mode as it is, as on Linux:
    /// its mask becomes the right of the owning group.
    ///
    /// # Errors
    /// [`Error::NoAttribute`], [`Error::Stale`], and those of reading rows.
    pub fn remove_xattr(&self, ino: u64, name: &[u8]) -> Result<Wcc> {
        check_xattr_name(name)?;
        self.changing(|| self.try_remove_xattr(ino, name))
    }

    fn try_remove_xattr(&self, ino: u64, name: &[u8]) -> Result<Wcc> {
        let inode = self.inodes.get(ino);
        let mut draft = self.draft(&[&inode])?;
        let before = *draft.row(ino)?;
        if !self.drop_xattr(&mut draft, ino, name)? {
            return Err(Error::NoAttribute);
        }
        let row = draft.touch(ino)?;
        if AclKind::of_xattr_name(name) == Some(AclKind::Access) {
            row.flags = (row.flags.get() & !InodeRow::ACL).into();
        }
        let after = *row;
        draft.commit(Class::Freeing)?;
        Ok(Wcc::of(ino, &before, &after))
    }

    /// Takes an attribute away where it is there, and says whether it was.
    pub(in crate::fs) fn drop_xattr(
        &self,
        draft: &mut Draft<'_>,
        ino: u64,
        name: &[u8],
    ) -> Result<bool> {
        let Some(found) = self.find_xattr(ino, name)?.0 else { return Ok(false) };
        self.delete_chunks(&mut draft.edits, ino, found.cookie, 0..found.chunks);
        let row = draft.change_row(ino)?;
        row.xattrs = row.xattrs.get().checked_sub(1).ok_or(bad_count(ino))?.into();
        Ok(true)
    }

    /// The names of all extended attributes of an inode, in no order that means anything.
    ///
    /// # Errors
    /// [`Error::Stale`], and those of reading rows; [`Error::Corrupt`] where there are more names
    /// than [`FileSystem::set_xattr`] takes.
    pub fn list_xattrs(&self, ino: u64) -> Result<Vec<Vec<u8>>> {
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        let (mut names, mut len) = (Vec::new(), 0);
        if row.xattrs.get() > 0 {
            let (from, to) = all(ino);
            self.visit_xattrs(&from, &to, |_, row| {
                len += listed(row.name);
                names.push(row.name.to_vec());
                len <= MAX_XATTR_LIST_LEN
            })?;
        }
        match len <= MAX_XATTR_LIST_LEN {
            true => Ok(names),
            false => Err(bad_count(ino)),
        }
    }

    /// Fails where another attribute would make the list of names too long.
    fn check_list(&self, ino: u64, row: &InodeRow, name: &[u8]) -> Result<()> {
        let longest = (row.xattrs.get() as usize).saturating_mul(MAX_NAME_LEN + 1);
        if longest.saturating_add(listed(name)) <= MAX_XATTR_LIST_LEN {
            return Ok(());
        }
        let (mut len, (from, to)) = (listed(name), all(ino));
        self.visit_xattrs(&from, &to, |_, row| {
            len += listed(row.name);
            len <= MAX_XATTR_LIST_LEN
        })?;
        if len <= MAX_XATTR_LIST_LEN { Ok(()) } else { Err(Error::NoSpace) }
    }

    /// Keys of the first rows of extended attributes of an inode.
    pub(in crate::fs) fn xattr_rows(&self, ino: u64, most: usize) -> Result<Vec<FsKey>> {
        let (mut keys, mut failure) = (Vec::new(), None);
        let (from, to) = all(ino);
        self.engine.scan(self.tree, &from, &to, |key, _| {
            match FsKey::parse(key) {
                Ok(key) => keys.push(key),
                Err(error) => failure = Some(error),
            }
            failure.is_none() && keys.len() < most
        })?;
        failure.map_or(Ok(keys), Err)
    }

    /// Where an attribute stands, and the lowest free cookie of its bucket. The caller holds the
    /// inode's lock.
    fn find_xattr(&self, ino: u64, name: &[u8]) -> Result<(Option<Found>, Option<u64>)> {
        let bucket = self.bucket_of(name)?;
        let (mut found, mut free) = (None, bucket);
        let (from, to) = range(ino, bucket);
        self.visit_xattrs(&from, &to, |cookie, row| {
            free += u64::from(cookie == free);
            if row.name == name {
                found = Some(Found { cookie, chunks: row.chunks() });
            }
            true
        })?;
        Ok((found, (free < bucket + (1 << COOKIE_COUNTER_BITS)).then_some(free)))
    }

    /// Calls `visit` with the cookie and the first chunk of each attribute of a range, until it
    /// returns `false`.
    fn visit_xattrs(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(u64, &XattrRow<'_>) -> bool,
    ) -> Result<()> {
        let (mut failure, mut wanted) = (None, true);
        self.engine.scan(self.tree, from, to, |key, value| {
            match FsKey::parse(key) {
                Ok(FsKey::Xattr(_, cookie, 0)) => match XattrRow::parse(value) {
                    Ok(row) => wanted = visit(cookie, &row),
                    Err(error) => failure = Some(error),
                },
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            wanted && failure.is_none()
        })?;
        failure.map_or(Ok(()), Err)
    }

    fn delete_chunks(&self, edits: &mut Edits, ino: u64, cookie: u64, chunks: std::ops::Range<u8>) {
        for chunk in chunks {
            edits.del(self.tree, &FsKey::Xattr(ino, cookie, chunk).encode());
        }
    }
}

/// The keys of all rows of an inode's attributes: the first, and the last there may be.
fn all(ino: u64) -> (crate::format::FsKeyBytes, crate::format::FsKeyBytes) {
    (FsKey::Xattr(ino, 0, 0).encode(), FsKey::Xattr(ino, u64::MAX, u8::MAX).encode())
}

/// Bytes of a name in the list of all.
fn listed(name: &[u8]) -> usize {
    name.len() + 1
}

/// The keys of a bucket's rows: the first, and the first behind.
fn range(ino: u64, bucket: u64) -> (crate::format::FsKeyBytes, crate::format::FsKeyBytes) {
    let end = bucket + (1 << COOKIE_COUNTER_BITS);
    (FsKey::Xattr(ino, bucket, 0).encode(), FsKey::Xattr(ino, end, 0).encode())
}

/// Which chunk a row is.
fn chunk(key: &[u8]) -> Result<u8> {
    match FsKey::parse(key)? {
        FsKey::Xattr(_, _, chunk) => Ok(chunk),
        _ => Err(Error::corrupt(Object::Row { class: 3 }, "class of an attribute")),
    }
}

fn bad_count(ino: u64) -> Error {
    Error::corrupt(Object::Inode { ino }, "number of attributes")
}

fn check_xattr_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME_LEN {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) {
        return Err(Error::InvalidArgument("an attribute's name is not empty and has no NUL"));
    }
    Ok(())
}

// A value in chunks, and the chunks of the one that it replaces, fit in one transaction.
const _: () = assert!(2 * (MAX_XATTR_LEN / MAX_VALUE_LEN + 2) < crate::limits::MAX_EDITS);
