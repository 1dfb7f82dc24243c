//! The file system for C: by inode number, names as bytes with a length.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::boundary::{guard, object, out, put};
use super::bytes::{bytes, bytes_mut};
use super::error::{efscrypt_error, efscrypt_status};
use super::store::efscrypt_store;
use crate::error::{Error, Result};
use crate::fs::{Attr, CreateMode, FileSystem, FileType, NewAttr, ROOT_INO, RenameMode, Time};

/// Inode number of the root directory.
pub const EFSCRYPT_ROOT: u64 = 1;

const _: () = assert!(EFSCRYPT_ROOT == ROOT_INO);

/// A time: seconds since 1970 and nanoseconds below one second.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// Attributes of an inode at one moment.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_attr {
    /// Inode number, never 0.
    pub ino: u64,
    /// With the number, unique for ever.
    pub generation: u64,
    /// File type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of contents.
    pub size: u64,
    /// Bytes of the store that the contents take.
    pub space: u64,
    /// Grows with each change of contents or attributes, also through crashes.
    pub change: u64,
    /// Last access.
    pub atime: efscrypt_time,
    /// Last change of contents.
    pub mtime: efscrypt_time,
    /// Last change of contents or attributes.
    pub ctime: efscrypt_time,
}

/// Called for each entry of a directory; `name` has `name_len` bytes and no final NUL, and is valid
/// during the call. `cookie` continues behind this entry. Returns 0 to go on, anything else to
/// stop.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type efscrypt_visit = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        name: *const u8,
        name_len: usize,
        ino: u64,
        cookie: u64,
    ) -> i32,
>;

impl From<Time> for efscrypt_time {
    fn from(time: Time) -> efscrypt_time {
        efscrypt_time { seconds: time.seconds, nanoseconds: time.nanoseconds }
    }
}

impl From<Attr> for efscrypt_attr {
    fn from(attr: Attr) -> efscrypt_attr {
        efscrypt_attr {
            ino: attr.ino,
            generation: attr.generation,
            mode: attr.kind.mode_bits() | attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            space: attr.space,
            change: attr.change,
            atime: attr.atime.into(),
            mtime: attr.mtime.into(),
            ctime: attr.ctime.into(),
        }
    }
}

/// The file system of a store.
///
/// # Safety
/// The pointer is NULL or a valid store.
unsafe fn fs<'a>(store: *const efscrypt_store) -> Result<&'a FileSystem> {
    // SAFETY: as the caller promises.
    let store = unsafe { object(store, "store is NULL")? };
    Ok(store.0.file_system())
}

/// Writes attributes where C asked for them.
///
/// # Safety
/// The pointer is NULL or valid for a write.
unsafe fn put_attr(pointer: *mut efscrypt_attr, attr: Attr) {
    if let Some(pointer) = NonNull::new(pointer) {
        // SAFETY: as the caller promises.
        unsafe { put(pointer, attr.into()) }
    }
}

/// The attributes of the entry `name` of a directory.
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
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        let found = fs.lookup(dir, unsafe { bytes(name, name_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { put_attr(attr, found) };
        Ok(())
    })
}

/// The attributes of an inode.
///
/// # Safety
/// `store` is valid; `attr` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_getattr(
    store: *const efscrypt_store,
    ino: u64,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let found = unsafe { fs(store)? }.getattr(ino)?;
        // SAFETY: as the caller promises.
        unsafe { put_attr(attr, found) };
        Ok(())
    })
}

/// Makes a directory with permission bits `mode`. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_lookup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_mkdir(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    mode: u32,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        let new = NewAttr { mode, ..NewAttr::default() };
        // SAFETY: as the caller promises.
        let made = fs.mkdir(dir, unsafe { bytes(name, name_len)? }, &new)?;
        // SAFETY: as the caller promises.
        unsafe { put_attr(attr, made.attr) };
        Ok(())
    })
}

/// Makes an empty file with permission bits `mode`; fails with `EFSCRYPT_STATUS_EXISTS` where the
/// name is taken. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// As for `efscrypt_fs_lookup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_create(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    mode: u32,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        let new = NewAttr { mode, ..NewAttr::default() };
        // SAFETY: as the caller promises.
        let name = unsafe { bytes(name, name_len)? };
        let made = fs.create(dir, name, &new, CreateMode::Guarded)?;
        // SAFETY: as the caller promises.
        unsafe { put_attr(attr, made.attr) };
        Ok(())
    })
}

/// Reads up to `len` bytes from `offset` and sets `*done` to how many: fewer only at the end of the
/// file. Every byte was authenticated; on an error the buffer holds no contents.
///
/// # Safety
/// `store` is valid; `buf` is valid for writes of `len` bytes; `done` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_read(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *mut u8,
    len: usize,
    done: *mut usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let done = out(done)?;
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        let read = fs.read(ino, offset, unsafe { bytes_mut(buf, len)? })?;
        // SAFETY: `done` is valid for a write.
        unsafe { put(done, read.len) };
        Ok(())
    })
}

/// Writes all of `len` bytes at `offset`, growing the file. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `buf` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        let buf = unsafe { bytes(buf, len)? };
        let mut at = 0;
        while at < buf.len() {
            let write = fs.write(ino, offset + at as u64, &buf[at..])?;
            if write.len == 0 {
                return Err(Error::Internal("a write made no progress"));
            }
            at += write.len;
        }
        Ok(())
    })
}

/// Calls `visit` for the entries of a directory behind `cookie`; 0 starts with the first. The
/// entries "." and ".." come first. Cookies stay valid while entries come and go, and after
/// reopening.
///
/// # Safety
/// `store` is valid; `visit` may be called with `userdata`, from this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_readdir(
    store: *const efscrypt_store,
    dir: u64,
    cookie: u64,
    visit: efscrypt_visit,
    userdata: *mut c_void,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let visit = visit.ok_or(Error::InvalidArgument("visit is NULL"))?;
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        let call = |entry: &crate::fs::DirEntry<'_>| {
            let (name, len) = (entry.name.as_ptr(), entry.name.len());
            // SAFETY: the name is valid for its length during the call.
            let answer = unsafe { visit(userdata, name, len, entry.ino, entry.cookie) };
            answer == 0
        };
        fs.read_dir(dir, cookie, call).map(drop)
    })
}

/// Removes a name that is not a directory's. The last name of an inode frees its contents.
///
/// # Safety
/// `store` is valid; `name` has `name_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_unlink(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        fs.unlink(dir, unsafe { bytes(name, name_len)? }).map(drop)
    })
}

/// Removes an empty directory.
///
/// # Safety
/// As for `efscrypt_fs_unlink`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_rmdir(
    store: *const efscrypt_store,
    dir: u64,
    name: *const u8,
    name_len: usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        fs.rmdir(dir, unsafe { bytes(name, name_len)? }).map(drop)
    })
}

/// Gives an entry another name, in the same or another directory, replacing what has that name.
///
/// # Safety
/// `store` is valid; the names have their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_rename(
    store: *const efscrypt_store,
    from_dir: u64,
    from: *const u8,
    from_len: usize,
    to_dir: u64,
    to: *const u8,
    to_len: usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let fs = unsafe { fs(store)? };
        // SAFETY: as the caller promises.
        let from = unsafe { bytes(from, from_len)? };
        // SAFETY: as the caller promises.
        let to = unsafe { bytes(to, to_len)? };
        fs.rename(from_dir, from, to_dir, to, RenameMode::Replace).map(drop)
    })
}

/// Whether attributes are of a directory.
#[unsafe(no_mangle)]
pub extern "C" fn efscrypt_mode_is_dir(mode: u32) -> bool {
    FileType::of_mode(mode) == Some(FileType::Directory)
}
