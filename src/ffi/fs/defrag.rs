//! Defragmenting, for C.

use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{Defragmented, FileSystem};

/// What a call of `efscrypt_fs_defragment` did. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_defragmented {
    /// The offset to go on at; `UINT64_MAX` where nothing follows.
    pub next: u64,
    /// How many requests of the device read what was looked at in order, before.
    pub before: u64,
    /// How many do now.
    pub after: u64,
    /// Bytes that were moved.
    pub moved: u64,
}

impl From<Defragmented> for efscrypt_defragmented {
    fn from(done: Defragmented) -> efscrypt_defragmented {
        let Defragmented { next, before, after, moved } = done;
        efscrypt_defragmented { next: next.unwrap_or(u64::MAX), before, after, moved }
    }
}

/// Moves contents of a regular file that stand in many pieces on the device to where they stand
/// together: those of up to 16 MiB from `offset` on. What would not gain by it stays, and so does
/// what no run of free space is long enough for. Contents, size, times and the change attribute
/// stay as they are. Repeat from `next` of `*done` on, which may be NULL; each step is a
/// transaction, so it may end anywhere.
///
/// # Safety
/// `store` is valid; `done` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_defragment(
    store: *const efscrypt_store,
    ino: u64,
    offset: u64,
    done: *mut efscrypt_defragmented,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let answer = fs.defragment(ino, offset)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(done, answer) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
