//! Contents of files for C.

use std::cell::Cell;

use super::attr::efscrypt_wcc;
use crate::error::{Error, Result};
use crate::ffi::boundary::{out, put, put_wanted, with_fs};
use crate::ffi::bytes::{bytes, check_buffer, copy_out, zeroed};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, Wcc, Write};

/// Opens an inode: it stays readable and writable until it is closed, also without a name. Opens
/// are counted, are not part of the store, and end with its closing. Nothing else needs an inode to
/// be open.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_open(
    store: *const efscrypt_store,
    ino: u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, |fs| fs.open(ino)) }
}

/// Closes an inode as often as it was opened. The last close of one without a name frees it.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_close(
    store: *const efscrypt_store,
    ino: u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, |fs| fs.close(ino)) }
}

/// Reads up to `len` bytes from `offset`, sets `*done` to how many, and `*eof`, which may be NULL,
/// to whether the last of them is the last of the file: fewer only there. Every byte was
/// authenticated; on an error the buffer holds no contents. The buffer need not have been written
/// before.
///
/// # Safety
/// `store` is valid; `buf` is valid for writes of `len` bytes; `done` is valid for a write, and
/// `eof` NULL or that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_read(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *mut u8,
    len: usize,
    done: *mut usize,
    eof: *mut bool,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let done = out(done)?;
        check_buffer(buf, len)?;
        // Only what the file has is zeroed, which may be little of a large buffer.
        let left = fs.getattr(ino)?.size.saturating_sub(offset);
        let cut = usize::try_from(left).map_or(len, |left| left.min(len));
        // SAFETY: as the caller promises.
        let mut read = fs.read(ino, offset, unsafe { zeroed(buf, cut)? })?;
        if read.len < len && !read.eof {
            // It grew meanwhile.
            // SAFETY: as the caller promises.
            read = fs.read(ino, offset, unsafe { zeroed(buf, len)? })?;
        }
        // SAFETY: `done` is valid for a write.
        unsafe { put(done, read.len) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(eof, read.eof) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Writes all of `len` bytes at `offset`, growing the file. Takes away its set-user-ID and
/// set-group-ID bits; `efscrypt_fs_write_as` asks who writes. After a failure a first part of them
/// may be written, in whole steps of at most 1 MiB: `error->done` says how many bytes. `file`
/// receives what became of the file. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `buf` has `len` bytes; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        write_all(buf, done, |done| fs.write(ino, behind(offset, done)?, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_write`, for a client that keeps the file's mtime itself and sets it by
/// `efscrypt_fs_setattr`: the write leaves it, and moves ctime and the change attribute. So a
/// client hands over writes that it gathered, as with NFSv4 delegated timestamps (RFC 9754).
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write_delegated(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let write = |done| fs.write_delegated(ino, behind(offset, done)?, &buf[done..]);
        write_all(buf, done, write)
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// Writes all of `len` bytes at the end of a file, wherever that is by then. Other than that as
/// `efscrypt_fs_write`; other writers may come between its steps of at most 1 MiB.
///
/// # Safety
/// As for `efscrypt_fs_write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_append(
    store: *const efscrypt_store,
    ino: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        write_all(buf, done, |done| fs.append(ino, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// Runs a change of a file by bytes of the caller's, which says how many of them it has written.
///
/// # Safety
/// `store` is valid; `buf` has its length; `file` is NULL or valid for a write.
pub(super) unsafe fn with_bytes(
    store: *const efscrypt_store,
    buf: (*const u8, usize),
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
    change: impl FnOnce(&FileSystem, &[u8], &Cell<usize>) -> Result<Wcc>,
) -> efscrypt_status {
    let done = Cell::new(0);
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let wcc = change(fs, unsafe { bytes(buf.0, buf.1)? }, &done)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    let status = unsafe { with_fs(store, error, body) };
    if status != efscrypt_status::Ok {
        // SAFETY: NULL, or room for an error, which was filled in.
        if let Some(error) = unsafe { error.as_mut() } {
            error.done = done.get() as u64;
        }
    }
    status
}

/// The offset of what is left after a first part was written.
pub(super) fn behind(offset: u64, done: usize) -> Result<u64> {
    offset.checked_add(done as u64).ok_or(Error::FileTooLarge)
}

/// Repeats a write with what is left, also of nothing: then it is done once, and checks its file.
/// Counts what is written in `done`.
pub(super) fn write_all(
    buf: &[u8],
    done: &Cell<usize>,
    mut write: impl FnMut(usize) -> Result<Write>,
) -> Result<Wcc> {
    let first = write(0)?;
    done.set(first.len);
    let mut wcc = first.file;
    while done.get() < buf.len() {
        let next = write(done.get())?;
        if next.len == 0 {
            return Err(Error::Internal("a write made no progress"));
        }
        done.set(done.get() + next.len);
        wcc.after = next.file.after;
    }
    Ok(wcc)
}

/// Makes a hole of `len` bytes from `offset` on: they read as zeros, and whole units of 4 KiB are
/// given back. The size stays. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_punch_hole(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    len: u64,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let wcc = fs.punch_hole(ino, offset, len)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Sets `*found` to the first byte at or after `offset` that is not in a hole, or to `UINT64_MAX`
/// where only a hole, or nothing, follows.
///
/// # Safety
/// `store` is valid; `found` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_seek_data(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    found: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let at = fs.seek_data(ino, offset)?.unwrap_or(u64::MAX);
        // SAFETY: as the caller promises.
        unsafe { put(out(found)?, at) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Sets `*found` to the first byte at or after `offset` that is in a hole, as which the end of the
/// file counts, or to `UINT64_MAX` for an offset at or behind the end.
///
/// # Safety
/// As for `efscrypt_fs_seek_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_seek_hole(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    found: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let at = fs.seek_hole(ino, offset)?.unwrap_or(u64::MAX);
        // SAFETY: as the caller promises.
        unsafe { put(out(found)?, at) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Reads the target of a symbolic link into `buf`, without a final NUL, and sets `*len` to its
/// length. Where `room` is 0 only the length is set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is
/// less than that.
///
/// # Safety
/// `store` is valid; `buf` is valid for writes of `room` bytes; `len` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_readlink(
    store: *const efscrypt_store,
    ino: u64,
    buf: *mut u8,
    room: usize,
    len: *mut usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let target = fs.readlink(ino)?;
        // SAFETY: as the caller promises.
        unsafe { copy_out(&target, buf, room, len) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Makes everything that happened to an inode durable; and with it all that came before, as
/// `efscrypt_store_commit` does.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_fsync(
    store: *const efscrypt_store,
    ino: u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, |fs| fs.fsync(ino)) }
}
