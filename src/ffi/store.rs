//! Stores for C: create, open, sync, close.

use std::ffi::c_char;
use std::sync::Arc;

use super::boundary::{give, guard, object, out, sized, take};
use super::bytes::{path, text};
use super::error::{efscrypt_error, efscrypt_status};
use super::provider::efscrypt_provider;
use crate::device::FileDevice;
use crate::error::Result;
use crate::store::{DataAccess, Providers, Store, StoreOptions};

/// An open store.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_store(pub(super) Store);

/// Options of a store. Set it to zero but for `size`; zero fields mean the default.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_options {
    /// `sizeof(efscrypt_options)`: later versions only add at the end.
    pub size: usize,
    /// Bytes of memory for metadata; 64 MiB by default.
    pub cache_bytes: usize,
    /// Bytes of the log of a new store, 512 KiB to 1 GiB; 32 MiB by default.
    pub log_bytes: u64,
    /// Not 0: open for reading only.
    pub read_only: u8,
    /// Not 0: open without the contents key where it cannot be unlocked.
    pub data_optional: u8,
    /// Not 0: fail where key memory cannot be locked into RAM.
    pub strict_memory: u8,
}

/// The options of the caller's, or the default for NULL.
///
/// # Safety
/// The pointer is NULL or points to `size` bytes.
unsafe fn options(pointer: *const efscrypt_options) -> Result<StoreOptions> {
    let mut options = StoreOptions::default();
    // SAFETY: as the caller promises.
    let given = unsafe { sized(pointer, "options has not the size of this version")? };
    let Some(given) = given else { return Ok(options) };
    if given.cache_bytes != 0 {
        options.engine.cache_bytes = given.cache_bytes;
    }
    if given.log_bytes != 0 {
        options.engine.log_bytes = given.log_bytes;
    }
    options.engine.read_only = given.read_only != 0;
    options.strict_memory = given.strict_memory != 0;
    if given.data_optional != 0 {
        options.data_access = DataAccess::IfAvailable;
    }
    Ok(options)
}

/// Makes a store in a new file and opens it. `metadata` and `data` may be the same provider, and
/// `metadata_key` and `data_key` the same key. The store is durable when this returns. It is only
/// for the owner to read.
///
/// # Safety
/// Strings are NUL-terminated; objects are valid; `opts` is NULL or valid; `store` is valid for
/// a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_create(
    file: *const c_char,
    opts: *const efscrypt_options,
    metadata: *const efscrypt_provider,
    metadata_key: *const c_char,
    data: *const efscrypt_provider,
    data_key: *const c_char,
    store: *mut *mut efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let store = out(store)?;
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let opts = unsafe { options(opts)? };
        // SAFETY: as the caller promises.
        let metadata_key = unsafe { text(metadata_key)? };
        // SAFETY: as the caller promises.
        let data_key = unsafe { text(data_key)? };
        // SAFETY: as the caller promises.
        let providers = unsafe { providers(metadata, data)? };
        let device = Arc::new(FileDevice::create(file)?);
        let made = Store::create(device, providers, metadata_key, data_key, opts);
        if made.is_err() {
            // Nothing was in the file: a failed creation leaves nothing behind.
            let _left_behind = std::fs::remove_file(file);
        }
        // SAFETY: `store` is valid for a write.
        unsafe { give(store, efscrypt_store(made?)) };
        Ok(())
    })
}

/// Opens a store. Fails with `EFSCRYPT_STATUS_IN_USE` while another program has it open.
///
/// # Safety
/// As for `efscrypt_store_create`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_open(
    file: *const c_char,
    opts: *const efscrypt_options,
    metadata: *const efscrypt_provider,
    data: *const efscrypt_provider,
    store: *mut *mut efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let store = out(store)?;
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let opts = unsafe { options(opts)? };
        // SAFETY: as the caller promises.
        let providers = unsafe { providers(metadata, data)? };
        let device = Arc::new(FileDevice::open(file, opts.engine.read_only)?);
        let opened = Store::open(device, providers, opts)?;
        // SAFETY: `store` is valid for a write.
        unsafe { give(store, efscrypt_store(opened)) };
        Ok(())
    })
}

/// Makes all changes so far durable: they survive a crash of the process and a power cut.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_commit(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let store = unsafe { object(store, "store is NULL")? };
        store.0.sync()
    })
}

/// Closes a store with everything durable. The store is gone whatever the answer; an error says
/// that changes since the last commit may be lost. NULL is fine.
///
/// # Safety
/// `store` came from this library, was not closed before, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_close(
    store: *mut efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    let store = unsafe { take(store) };
    guard(error, || match store {
        Some(store) => store.0.close(),
        None => Ok(()),
    })
}

/// Both providers.
///
/// # Safety
/// The pointers are NULL or valid.
unsafe fn providers(
    metadata: *const efscrypt_provider,
    data: *const efscrypt_provider,
) -> Result<Providers> {
    // SAFETY: as the caller promises.
    let metadata = unsafe { object(metadata, "the metadata provider is NULL")? };
    // SAFETY: as the caller promises.
    let data = unsafe { object(data, "the data provider is NULL")? };
    Ok(Providers { metadata: Arc::clone(&metadata.0), data: Arc::clone(&data.0) })
}
