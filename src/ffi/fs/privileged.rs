//! Changes of contents for C, for callers that keep set-user-ID and set-group-ID bits.

use std::cell::Cell;

use super::attr::efscrypt_wcc;
use super::file::{behind, with_bytes, write_all};
use super::set_attr::{efscrypt_set_attr, set_with};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::FileSystem;

/// As `efscrypt_fs_write`, for a caller that keeps set-user-ID and set-group-ID bits, as one with
/// Linux's `CAP_FSETID` does.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_privileged_write(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = fs.privileged();
        write_all(buf, done, |done| fs.write(ino, behind(offset, done)?, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_write_delegated`, for a caller that keeps set-user-ID and set-group-ID bits.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_privileged_write_delegated(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = fs.privileged();
        let write = |done| fs.write_delegated(ino, behind(offset, done)?, &buf[done..]);
        write_all(buf, done, write)
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_append`, for a caller that keeps set-user-ID and set-group-ID bits.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_privileged_append(
    store: *const efscrypt_store,
    ino: u64,
    buf: *const u8,
    len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let fs = fs.privileged();
        write_all(buf, done, |done| fs.append(ino, &buf[done..]))
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// As `efscrypt_fs_punch_hole`, for a caller that keeps set-user-ID and set-group-ID bits.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_privileged_punch_hole(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    len: u64,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let wcc = fs.privileged().punch_hole(ino, offset, len)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// As `efscrypt_fs_setattr`, for a caller whose new size leaves set-user-ID and set-group-ID bits;
/// a new owner takes them away still.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_privileged_setattr(
    store: *const efscrypt_store,
    ino: u64,
    set: *const efscrypt_set_attr,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { set_with(store, set, file, error, |fs, set| fs.privileged().setattr(ino, set)) }
}
