//! Durability for C: writes that are durable when they return, ranges made durable afterwards.

use std::cell::Cell;

use super::attr::efscrypt_wcc;
use super::file::{behind, with_bytes, write_all};
use crate::error::Error;
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, Stability};

/// A write is durable after a commit: UNSTABLE of NFS.
pub const EFSCRYPT_STABILITY_UNSTABLE: u32 = 0;
/// Contents, and what is needed to read them, are durable when the write returns: DATA_SYNC.
pub const EFSCRYPT_STABILITY_DATA: u32 = 1;
/// All of a write is durable when it returns: FILE_SYNC.
pub const EFSCRYPT_STABILITY_FILE: u32 = 2;

/// As `efscrypt_fs_write`, and as durable as asked for when it returns, with all that came before.
/// `*committed`, which may be NULL, receives how durable it is, at least as was asked;
/// `*verifier`, which may be NULL, what `efscrypt_store_write_verifier` would say. Where making it
/// durable fails the store is poisoned, and the write may or may not be durable.
///
/// # Safety
/// As for `efscrypt_fs_write`; `committed` and `verifier` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_write_stable(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    buf: *const u8,
    len: usize,
    stability: u32,
    file: *mut efscrypt_wcc,
    committed: *mut u32,
    verifier: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem, buf: &[u8], done: &Cell<usize>| {
        let stability = match stability {
            EFSCRYPT_STABILITY_UNSTABLE => Stability::Unstable,
            EFSCRYPT_STABILITY_DATA => Stability::DataSync,
            EFSCRYPT_STABILITY_FILE => Stability::FileSync,
            _ => return Err(Error::InvalidArgument("no such stability")),
        };
        let write = |fs: &FileSystem| {
            write_all(buf, done, |done| fs.write(ino, behind(offset, done)?, &buf[done..]))
        };
        let stable = fs.stable(stability, write)?;
        let how = match stable.committed {
            Stability::Unstable => EFSCRYPT_STABILITY_UNSTABLE,
            Stability::DataSync => EFSCRYPT_STABILITY_DATA,
            Stability::FileSync => EFSCRYPT_STABILITY_FILE,
        };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(committed, how) };
        // SAFETY: as the caller promises.
        unsafe { put_wanted(verifier, u64::from_le_bytes(stable.verifier)) };
        Ok(stable.answer)
    };
    // SAFETY: as the caller promises.
    unsafe { with_bytes(store, (buf, len), file, error, body) }
}

/// Makes what was written to a range of a file durable, with all that came before; a `len` of 0
/// means up to the end. `*verifier`, which may be NULL, receives the write verifier: where it is
/// the one that a write answered with, that write is durable now; where it is another, the store
/// was opened since, and the client has to write again.
///
/// # Safety
/// `store` is valid; `verifier` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_commit(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    len: u64,
    verifier: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let bytes = fs.commit(ino, offset, len)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(verifier, u64::from_le_bytes(bytes)) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
