//! Space for ranges of files, and references given back together, for C.

use super::acting::acting;
use super::attr::efscrypt_wcc;
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{Beyond, FileSystem, Wcc};

/// A file whose range ends behind it grows to the end of the range.
pub const EFSCRYPT_BEYOND_GROW: u32 = 0;
/// A file whose range ends behind it keeps its size.
pub const EFSCRYPT_BEYOND_KEEP: u32 = 1;

/// Asks for the space of `len` bytes from `offset` on, which keep their contents. Fails at once
/// with `EFSCRYPT_STATUS_NO_SPACE` where the store cannot hold them, and sets the size as `beyond`
/// says: `EFSCRYPT_BEYOND_GROW` or `EFSCRYPT_BEYOND_KEEP`. Space is not set aside: a store that
/// others fill meanwhile may refuse a later write all the same.
///
/// # Safety
/// `store` is valid; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_allocate(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    len: u64,
    beyond: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let work = |fs: &FileSystem, beyond| fs.allocate(ino, offset, len, beyond);
    // SAFETY: as the caller promises.
    unsafe { on_range(store, beyond, file, error, work) }
}

/// Makes zeros of `len` bytes from `offset` on, as `efscrypt_fs_punch_hole` does, and sets the size
/// as `beyond` says: `EFSCRYPT_BEYOND_GROW` or `EFSCRYPT_BEYOND_KEEP`.
///
/// # Safety
/// As for `efscrypt_fs_allocate`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_zero_range(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    len: u64,
    beyond: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let work = |fs: &FileSystem, beyond| fs.zero_range(ino, offset, len, beyond);
    // SAFETY: as the caller promises.
    unsafe { on_range(store, beyond, file, error, work) }
}

/// As `efscrypt_fs_allocate`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_allocate_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    offset: u64,
    len: u64,
    beyond: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let work = |fs: &FileSystem, beyond| acting(fs, standing)?.allocate(ino, offset, len, beyond);
    // SAFETY: as the caller promises.
    unsafe { on_range(store, beyond, file, error, work) }
}

/// As `efscrypt_fs_zero_range`, for a caller of a standing, as `efscrypt_fs_write_as` takes it.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_zero_range_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    offset: u64,
    len: u64,
    beyond: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let work = |fs: &FileSystem, beyond| acting(fs, standing)?.zero_range(ino, offset, len, beyond);
    // SAFETY: as the caller promises.
    unsafe { on_range(store, beyond, file, error, work) }
}

/// Closes an inode as `efscrypt_fs_close` does, `times` times at once: for servers whose clients
/// give back many references together, such as FUSE. `EFSCRYPT_STATUS_INVALID_ARGUMENT` for an
/// inode that is not open so many times: it stays as it is.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_close_times(
    store: *const efscrypt_store,
    ino: u64,
    times: u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, |fs| fs.close_times(ino, times)) }
}

/// Closes everything that is open: for a server whose clients are gone.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_close_all(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, FileSystem::close_all) }
}

/// Works on a range, and tells the caller what became of the file.
///
/// # Safety
/// As for `efscrypt_fs_allocate`.
unsafe fn on_range(
    store: *const efscrypt_store,
    beyond: u32,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
    work: impl Fn(&FileSystem, Beyond) -> Result<Wcc>,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let beyond = match beyond {
            EFSCRYPT_BEYOND_GROW => Beyond::Grow,
            EFSCRYPT_BEYOND_KEEP => Beyond::Keep,
            _ => return Err(Error::InvalidArgument("no such word on the size")),
        };
        let wcc = work(fs, beyond)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
