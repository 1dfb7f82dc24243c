//! The file system as a whole, for C.

use crate::ffi::boundary::{out, put, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{FileSystem, StatFs};

/// Space and limits. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_statfs {
    /// Bytes of the grain in which space is given out.
    pub block_size: u32,
    /// Longest name, bytes.
    pub name_max: u32,
    /// Most links of an inode.
    pub link_max: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes in all; of a store in a file those that it has, and those that its host has free.
    pub total: u64,
    /// Bytes that are not in use. What removed files hold until it is freed counts as used, and is
    /// freed when a writer needs it.
    pub free: u64,
    /// Largest file, bytes.
    pub size_max: u64,
    /// Bytes that a large file can still take: `free` without what is kept so that a full store can
    /// be emptied, and without what the metadata for them takes.
    pub available: u64,
    /// Zero; for later versions.
    pub reserved2: [u64; 3],
}

impl From<StatFs> for efscrypt_statfs {
    fn from(whole: StatFs) -> efscrypt_statfs {
        efscrypt_statfs {
            block_size: whole.block_size,
            name_max: whole.name_max,
            link_max: whole.link_max,
            reserved: 0,
            total: whole.total,
            free: whole.free,
            size_max: whole.size_max,
            available: whole.available,
            reserved2: [0; 3],
        }
    }
}

/// Space and limits.
///
/// # Safety
/// `store` is valid; `statfs` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_statfs(
    store: *const efscrypt_store,
    statfs: *mut efscrypt_statfs,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        unsafe { put(out(statfs)?, fs.statfs().into()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}
