//! Names for C: looked up, made, moved and taken away.

use super::attr::{efscrypt_attr, efscrypt_created, efscrypt_wcc, no_attr};
use super::set_attr::{efscrypt_set_attr, new_attr};
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::bytes::bytes;
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{CreateMode, Created, FileSystem, FileType, RenameMode};

/// Creating fails with `EFSCRYPT_STATUS_EXISTS` where the name exists.
pub const EFSCRYPT_CREATE_GUARDED: u32 = 0;
/// A regular file that has the name is taken as it is.
pub const EFSCRYPT_CREATE_UNCHECKED: u32 = 1;
/// As `EFSCRYPT_CREATE_GUARDED`, unless the file was created with the same verifier and no
/// attribute was set since: so a client may repeat a request whose answer was lost, also after a
/// crash.
pub const EFSCRYPT_CREATE_EXCLUSIVE: u32 = 2;

/// Renaming replaces what has the new name: a file a file, a directory an empty directory.
pub const EFSCRYPT_RENAME_REPLACE: u32 = 0;
/// Renaming fails with `EFSCRYPT_STATUS_EXISTS` where the new name exists.
pub const EFSCRYPT_RENAME_NO_REPLACE: u32 = 1;
/// Renaming exchanges the two, which must both exist.
pub const EFSCRYPT_RENAME_EXCHANGE: u32 = 2;

/// Bytes of the verifier of an exclusive creation.
const VERIFIER: usize = 8;

/// The attributes of the entry `name` of a directory; "." is the directory and ".." its parent.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; `attr` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_lookup(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let found = fs.lookup(dir, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(attr, found) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// The name and the attributes of what is to be made, and where the answer goes.
struct New {
    name: (*const u8, usize),
    set: *const efscrypt_set_attr,
    /// Permission bits where `set` has none.
    mode: u32,
    created: *mut efscrypt_created,
}

impl New {
    /// Has `make` make it.
    ///
    /// # Safety
    /// The name has its length; `set` is NULL or points to as many bytes as its size says;
    /// `created` is NULL or valid for a write.
    unsafe fn make(
        self,
        make: impl FnOnce(&[u8], &crate::fs::NewAttr) -> Result<Created>,
    ) -> Result<()> {
        // SAFETY: as the caller promises.
        let name = unsafe { bytes(self.name.0, self.name.1)? };
        // SAFETY: as the caller promises.
        let new = unsafe { new_attr(self.set, self.mode)? };
        let made = make(name, &new)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(self.created, made) };
        Ok(())
    }
}

/// Makes an empty file, with permission bits 0600 unless `set` says others. `how` is one of
/// `EFSCRYPT_CREATE_GUARDED`, `EFSCRYPT_CREATE_UNCHECKED`, `EFSCRYPT_CREATE_EXCLUSIVE`; only the
/// last has a verifier, of 8 bytes. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; `set` is NULL or points to as many bytes as its
/// size says; `verifier` is NULL or has 8 bytes; `created` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_create(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    set: *const efscrypt_set_attr,
    how: u32,
    verifier: *const u8,
    created: *mut efscrypt_created,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let new = New { name: (name, name_len), set, mode: 0o600, created };
    let body = |fs: &FileSystem| {
        let mode = match (how, verifier.is_null()) {
            (EFSCRYPT_CREATE_GUARDED, true) => CreateMode::Guarded,
            (EFSCRYPT_CREATE_UNCHECKED, true) => CreateMode::Unchecked,
            (EFSCRYPT_CREATE_EXCLUSIVE, false) => {
                let mut bytes = [0; VERIFIER];
                // SAFETY: as the caller promises.
                unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(verifier, VERIFIER) };
                CreateMode::Exclusive(bytes)
            }
            _ => return Err(Error::InvalidArgument("no such mode of creation, or its verifier")),
        };
        // SAFETY: as the caller promises.
        unsafe { new.make(|name, new| fs.create(dir, name, new, mode)) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Makes a directory, with permission bits 0700 unless `set` says others. Durable after
/// `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_mkdir(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    set: *const efscrypt_set_attr,
    created: *mut efscrypt_created,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let new = New { name: (name, name_len), set, mode: 0o700, created };
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        unsafe { new.make(|name, new| fs.mkdir(dir, name, new)) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Makes a symbolic link to a target of 1 to 4,095 bytes without NUL, with permission bits 0777
/// unless `set` says others. The target is contents: the contents key has to be there. Durable
/// after `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_create`, and `target` has `target_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_symlink(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    target: *const u8,
    target_len: usize,
    set: *const efscrypt_set_attr,
    created: *mut efscrypt_created,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let new = New { name: (name, name_len), set, mode: 0o777, created };
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let target = unsafe { bytes(target, target_len)? };
        // SAFETY: as the caller promises.
        unsafe { new.make(|name, new| fs.symlink(dir, name, target, new)) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Makes a named pipe, a socket or a device node: `kind` has the type bits of `st_mode`, other bits
/// are ignored. `rdev` is a device's number. Permission bits are 0600 unless `set` says others.
/// Durable after `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_mknod(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    kind: u32,
    rdev: u64,
    set: *const efscrypt_set_attr,
    created: *mut efscrypt_created,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let new = New { name: (name, name_len), set, mode: 0o600, created };
    let body = |fs: &FileSystem| {
        let kind = FileType::of_mode(kind).ok_or(Error::InvalidArgument("no such type"))?;
        // SAFETY: as the caller promises.
        unsafe { new.make(|name, new| fs.mknod(dir, name, kind, rdev, new)) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Gives an inode, of anything but a directory, one more name. `inode` and `parent` receive what
/// became of the inode and of the directory. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; outputs are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_link(
    store: *const efscrypt_store,
    ino: u64,
    dir: u64,
    name: *const u8,
    name_len: usize,
    inode: *mut efscrypt_wcc,
    parent: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let linked = fs.link(ino, dir, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(inode, linked.inode) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(parent, linked.dir) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Removes a name that is not a directory's. The last name of an inode frees its contents, once
/// nobody has it open; most of what a large file holds is freed by `efscrypt_store_maintain`.
/// Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes; `parent` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_unlink(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    parent: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let wcc = fs.unlink(dir, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(parent, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Removes an empty directory. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_unlink`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_rmdir(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    parent: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let wcc = fs.rmdir(dir, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(parent, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Gives an entry another name, in the same or another directory, in one step also for readers and
/// through a crash. `how` is one of `EFSCRYPT_RENAME_REPLACE`, `EFSCRYPT_RENAME_NO_REPLACE`,
/// `EFSCRYPT_RENAME_EXCHANGE`. `from_parent` and `to_parent` receive what became of the
/// directories, the same where they are one. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; the names have their lengths; outputs are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_rename(
    store: *const efscrypt_store,
    from_dir: u64,
    from: *const u8,
    from_len: usize,
    to_dir: u64,
    to: *const u8,
    to_len: usize,
    how: u32,
    from_parent: *mut efscrypt_wcc,
    to_parent: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let mode = rename_mode(how)?;
        // SAFETY: as the caller promises.
        let from = unsafe { bytes(from, from_len)? };
        // SAFETY: as the caller promises.
        let to = unsafe { bytes(to, to_len)? };
        let renamed = fs.rename(from_dir, from, to_dir, to, mode)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(from_parent, renamed.from) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(to_parent, renamed.to) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// As `efscrypt_fs_rename`, and leaves a whiteout at the old name in the same step: a character
/// device with number 0, by which an overlay of file systems knows that the name is not there.
/// `set` says what it gets; its mode is 0 unless given. `how` is not `EFSCRYPT_RENAME_EXCHANGE`.
/// `whiteout` receives what was made; its `ino` is 0 where both names were of one inode, and
/// nothing happened.
///
/// # Safety
/// As for `efscrypt_fs_rename`; `set` is NULL or points to as many bytes as its size says;
/// `whiteout` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_rename_whiteout(
    store: *const efscrypt_store,
    from_dir: u64,
    from: *const u8,
    from_len: usize,
    to_dir: u64,
    to: *const u8,
    to_len: usize,
    how: u32,
    set: *const efscrypt_set_attr,
    whiteout: *mut efscrypt_attr,
    from_parent: *mut efscrypt_wcc,
    to_parent: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let from = unsafe { bytes(from, from_len)? };
        // SAFETY: as the caller promises.
        let to = unsafe { bytes(to, to_len)? };
        // SAFETY: as the caller promises.
        let new = unsafe { new_attr(set, 0)? };
        let renamed = fs.rename_whiteout(from_dir, from, to_dir, to, rename_mode(how)?, &new)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(whiteout, renamed.whiteout.map_or_else(no_attr, Into::into)) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(from_parent, renamed.from) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(to_parent, renamed.to) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// What a number of C stands for.
fn rename_mode(how: u32) -> Result<RenameMode> {
    match how {
        EFSCRYPT_RENAME_REPLACE => Ok(RenameMode::Replace),
        EFSCRYPT_RENAME_NO_REPLACE => Ok(RenameMode::NoReplace),
        EFSCRYPT_RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(Error::InvalidArgument("no such mode of renaming")),
    }
}
