//! Trim, for C: free space goes back to the host.

use super::boundary::{put_wanted, with_store};
use super::error::{efscrypt_error, efscrypt_status};
use super::store::efscrypt_store;
use crate::fs::Trimmed;
use crate::store::Store;

/// What a trim gave back. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_trimmed {
    /// Bytes that were free, and that the device was told so, also where it knew it before.
    pub discarded: u64,
    /// Bytes by which the device became shorter.
    pub cut: u64,
    /// Bytes that the device takes up less at its host; `UINT64_MAX` where it does not say.
    pub returned: u64,
    /// 1 where the device can give space back at all, else 0.
    pub supported: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero; for later versions.
    pub reserved2: [u64; 4],
}

impl From<Trimmed> for efscrypt_trimmed {
    fn from(trimmed: Trimmed) -> efscrypt_trimmed {
        efscrypt_trimmed {
            discarded: trimmed.discarded,
            cut: trimmed.cut,
            returned: trimmed.returned.unwrap_or(u64::MAX),
            supported: trimmed.supported.into(),
            reserved: 0,
            reserved2: [0; 4],
        }
    }
}

/// Gives all free space of a store back to the host: holes in the store's file, which also gets
/// shorter where its end is free, or blocks that its device may forget. Others go on meanwhile. All
/// changes so far are durable afterwards. A device that fails to take space back answers
/// `EFSCRYPT_STATUS_IO`, and nothing is harmed. `*trimmed` may be NULL.
///
/// # Safety
/// `store` is valid; `trimmed` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_trim(
    store: *const efscrypt_store,
    trimmed: *mut efscrypt_trimmed,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let done = store.file_system().trim()?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(trimmed, done) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}
