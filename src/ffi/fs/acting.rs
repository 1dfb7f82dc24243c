//! Changes of contents and owner for C, for callers who are known to the server.

use std::cell::Cell;

use super::attr::efscrypt_wcc;
use super::file::{behind, with_bytes, write_all};
use super::set_attr::{efscrypt_set_attr, set_with};
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{Acting, FileSystem, Standing};

/// A caller of whom nothing is known: set-user-ID and set-group-ID bits go with a change of
/// contents or owner, as by the functions that ask for no standing.
pub const EFSCRYPT_STANDING_OTHER: u32 = 0;
/// A caller in the file's group: set-user-ID goes, and set-group-ID where the group may execute
/// the file.
pub const EFSCRYPT_STANDING_MEMBER: u32 = 1;
/// A caller with Linux's `CAP_FSETID`: a change of contents leaves both bits, and one of the owner
/// does what it does for a member.
pub const EFSCRYPT_STANDING_PRIVILEGED: u32 = 2;

/// The operations for a caller of a standing.
pub(super) fn acting(fs: &FileSystem, standing: u32) -> Result<Acting<'_>> {
    Ok(fs.acting(match standing {
        EFSCRYPT_STANDING_OTHER => Standing::Other,
        EFSCRYPT_STANDING_MEMBER => Standing::Member,
        EFSCRYPT_STANDING_PRIVILEGED => Standing::Privileged,
        _ => return Err(Error::InvalidArgument("no such standing")),
    }))
}

/// As `efscrypt_fs_write`, for a caller who is one of `EFSCRYPT_STANDING_OTHER`,
/// `EFSCRYPT_STANDING_MEMBER`, `EFSCRYPT_STANDING_PRIVILEGED` to the file.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = acting(fs, standing)?;
        write_all(buf, done, |done| fs.write(ino, behind(offset, done)?, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_write_delegated`, for a caller of a standing, as `efscrypt_fs_write_as` takes
/// it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write_delegated_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = acting(fs, standing)?;
        let write = |done| fs.write_delegated(ino, behind(offset, done)?, &buf[done..]);
        write_all(buf, done, write)
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_append`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_append_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = acting(fs, standing)?;
        write_all(buf, done, |done| fs.append(ino, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_punch_hole`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_punch_hole_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    offset: u64,
    len: u64,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let wcc = acting(fs, standing)?.punch_hole(ino, offset, len)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// As `efscrypt_fs_setattr`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_setattr_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    set: *const efscrypt_set_attr,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { set_with(store, set, file, error, |fs, set| acting(fs, standing)?.setattr(ino, set)) }
}
