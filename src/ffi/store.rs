//! Stores for C: create, open, commit, maintain, rewrap, close.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{give, guard, out, put, put_wanted, take, with_store};
use super::bytes::{path, text};
use super::error::{efscrypt_error, efscrypt_status};
use super::options::{efscrypt_options, options};
use super::provider::{efscrypt_provider, provider};
use super::sized::{Sized, sized};
use crate::device::FileDevice;
use crate::error::{Error, Result};
use crate::keys::{AuditDurability, AuditLog, AuditSink, KeyProvider};
use crate::store::{DataAccess, HeaderBackup, Providers, Rewrap, Store};

/// An open store.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_store {
    pub(super) store: Store,
    /// Set once a function ended by a panic: nobody knows what it left half done.
    ruined: AtomicBool,
}

impl From<Store> for efscrypt_store {
    fn from(store: Store) -> efscrypt_store {
        efscrypt_store { store, ruined: AtomicBool::new(false) }
    }
}

impl AsRef<Store> for efscrypt_store {
    fn as_ref(&self) -> &Store {
        &self.store
    }
}

impl efscrypt_store {
    /// Fails in a forked child and after a panic.
    pub(super) fn check(&self) -> Result<()> {
        self.store.check_process()?;
        match self.ruined.load(Ordering::Acquire) {
            true => Err(Error::Poisoned("a panic in an earlier call".into())),
            false => Ok(()),
        }
    }

    /// Refuses everything from now on, and lets nobody wait for what will not come.
    pub(super) fn ruin(&self) {
        self.ruined.store(true, Ordering::Release);
        self.store.poison("a panic in a call");
    }
}

/// Makes a store in a new or empty file or on a blank block device, and opens it. `metadata` and
/// `data` may be the same provider, and `metadata_key` and `data_key` the same key. The store is
/// durable when this returns. A new file is only for its owner to read. Each provider is called
/// twice for its domain: to wrap a new key, and to unwrap it again.
///
/// A failure leaves what was there before: no file, an empty file, or a blank device. It never
/// removes or empties what this call did not make.
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
        let providers = unsafe { providers(metadata, data, DataAccess::Required)? };
        let made = Store::create_file(file, providers, metadata_key, data_key, opts)?;
        // SAFETY: `store` is valid for a write.
        unsafe { give(store, made.into()) };
        Ok(())
    })
}

/// Opens a store, with one call of each provider. Fails with `EFSCRYPT_STATUS_IN_USE` while another
/// program, or this one, has it open.
///
/// With `data_optional` among the options, `data` may be NULL, or a provider that refuses or does
/// not know the key: names and attributes work then, and contents answer
/// `EFSCRYPT_STATUS_KEY_UNAVAILABLE`.
///
/// # Safety
/// As for `efscrypt_store_create`; `data` is NULL or valid.
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
        let providers = unsafe { providers(metadata, data, opts.data_access)? };
        let opened = Store::open_file(file, providers, opts)?;
        // SAFETY: `store` is valid for a write.
        unsafe { give(store, opened.into()) };
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
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, Store::sync) }
}

/// Makes all changes durable and the log empty, so that the next open has nothing to replay: what
/// `efscrypt_store_close` does too, at a time of the caller's.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_checkpoint(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, Store::checkpoint) }
}

/// Fails once the store is poisoned, with the first cause: for a server that would rather stop, or
/// open the store again, than answer every change with that status.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_health(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, |store| store.file_system().health()) }
}

/// Does work that was put off, a bounded amount: frees what large removed files still hold, up to
/// about a GiB, makes the next open fast, and gives free space back to the host that is not likely
/// to be written again soon. Sets `*done`, which may be NULL, to whether nothing is left to do. For
/// a timer, after opening, and in idle moments, on a thread of the caller's. Writers that run short
/// of space, and closing, do some of it too.
///
/// # Safety
/// `store` is valid; `done` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_maintain(
    store: *const efscrypt_store,
    done: *mut bool,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let finished = store.file_system().maintain()?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(done, finished) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// Sets `*verifier` to a number that is another one whenever changes that were not committed may be
/// lost: since the store was opened again. It is what an NFS server answers to WRITE and COMMIT.
///
/// # Safety
/// `store` is valid; `verifier` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_write_verifier(
    store: *const efscrypt_store,
    verifier: *mut u64,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let bytes = store.file_system().write_verifier();
        // SAFETY: as the caller promises.
        unsafe { put(out(verifier)?, u64::from_le_bytes(bytes)) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// What `efscrypt_store_rewrap` puts under which provider key, each domain by its name. Set it to
/// zero but for `size`; a NULL provider leaves its domain as it is. Nothing of it is kept but the
/// providers.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_rewrap {
    /// `sizeof(efscrypt_rewrap)`: later versions only add at the end.
    pub size: usize,
    /// New provider of names, directories and inodes, or NULL.
    pub metadata: *const efscrypt_provider,
    /// Its key: an id, or another name of it.
    pub metadata_key: *const c_char,
    /// New provider of contents, or NULL.
    pub data: *const efscrypt_provider,
    /// Its key.
    pub data_key: *const c_char,
}

// SAFETY: `repr(C)`, begins with its size, and holds pointers.
unsafe impl Sized for efscrypt_rewrap {
    const LEAST: usize = size_of::<efscrypt_rewrap>();
}

/// Wraps the keys of one or both domains under other provider keys, as `to` names them. Each domain
/// takes one call of its old provider and two of the new one, which wraps the key and has to unwrap
/// it again before the old wrap goes. When this returns, the old provider keys open nothing in the
/// store's current bytes; they still open copies that were made before.
///
/// # Safety
/// `store` is valid. `to` points to as many bytes as its size says; each provider in it is NULL or
/// valid, and its key then a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_rewrap(
    store: *const efscrypt_store,
    to: *const efscrypt_rewrap,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        // SAFETY: as the caller promises.
        let given = unsafe { sized(to)? };
        let given = given.ok_or(Error::InvalidArgument("what to rewrap is NULL"))?;
        let mut to = Rewrap::new();
        // SAFETY: as the caller promises.
        if let Some((provider, key)) = unsafe { target(given.metadata, given.metadata_key)? } {
            to = to.metadata(provider, key);
        }
        // SAFETY: as the caller promises.
        if let Some((provider, key)) = unsafe { target(given.data, given.data_key)? } {
            to = to.data(provider, key);
        }
        store.rewrap(to)
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// Writes a backup of the header of the store in `file` to the new file `backup`, only for its
/// owner to read: what the store cannot be read without, sealed and wrapped, and no state. One call
/// of the provider. Any program may have the store open for reading, none for writing.
///
/// # Safety
/// Strings are NUL-terminated; objects are valid; `opts` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_header_backup(
    file: *const c_char,
    opts: *const efscrypt_options,
    metadata: *const efscrypt_provider,
    backup: *const c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let backup = unsafe { path(backup)? };
        // SAFETY: as the caller promises.
        let opts = unsafe { options(opts)? };
        // SAFETY: as the caller promises.
        let metadata = unsafe { provider(metadata, "the metadata provider is NULL")? };
        let device = FileDevice::open(file, true)?;
        let taken = HeaderBackup::take(&device, &Providers::metadata_only(metadata), &opts)?;
        taken.write_file(backup)
    })
}

/// Puts the header of the store in `file` back from the file `backup`. Where a superblock is alive
/// the store gets the wrapped keys alone; else it does not open before `efscrypt check --repair`
/// found its state. Refused with `EFSCRYPT_STATUS_INVALID_ARGUMENT` where the store has newer
/// wrapped keys, where there is another store, and where nothing of the store is there; unless
/// `audit` names a log of key uses, which is told of it before. One call of the provider.
///
/// # Safety
/// Strings are NUL-terminated; objects are valid; `opts` and `audit` are NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_header_restore(
    file: *const c_char,
    opts: *const efscrypt_options,
    metadata: *const efscrypt_provider,
    backup: *const c_char,
    audit: *const c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let backup = unsafe { path(backup)? };
        // SAFETY: as the caller promises.
        let opts = unsafe { options(opts)? };
        // SAFETY: as the caller promises.
        let metadata = unsafe { provider(metadata, "the metadata provider is NULL")? };
        let log = match audit.is_null() {
            true => None,
            // SAFETY: as the caller promises.
            false => Some(AuditLog::open(unsafe { path(audit)? }, AuditDurability::EachRecord)?),
        };
        let backup = HeaderBackup::read_file(backup)?;
        let device = Arc::new(FileDevice::open(file, false)?);
        let force = log.as_ref().map(|log| log as &dyn AuditSink);
        backup.restore(device, &Providers::metadata_only(metadata), &opts, force)?;
        Ok(())
    })
}

/// Locks the contents: when this returns their keys are wiped from memory, and reading and writing
/// contents answers `EFSCRYPT_STATUS_KEY_UNAVAILABLE`. Names, attributes, renaming, deleting and
/// committing go on as before. `efscrypt_store_unlock_data` undoes it.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_lock_data(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, Store::lock_data) }
}

/// Has the data provider unlock the contents, with one call: after `efscrypt_store_lock_data`, or
/// where they could not be unlocked when the store was opened with `data_optional`. A failure
/// leaves them as they were.
///
/// # Safety
/// `store` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_unlock_data(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, Store::unlock_data) }
}

/// Sets `*available` to whether contents can be read and written: their key is unlocked.
///
/// # Safety
/// `store` is valid; `available` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_has_data_key(
    store: *const efscrypt_store,
    available: *mut bool,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        // SAFETY: as the caller promises.
        unsafe { put(out(available)?, store.has_data_key()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// Closes a store with everything durable. The store is gone whatever the answer; an error says
/// that changes since the last commit may be lost. Frees first what removed files still hold, up to
/// 100 GiB. NULL is fine. In a forked child it answers `EFSCRYPT_STATUS_FORKED`, and the parent's
/// store stays open.
///
/// # Safety
/// `store` came from this library, was not closed before, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_close(
    store: *mut efscrypt_store,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let Some(store) = (unsafe { take(store) }) else { return Ok(()) };
        if let Err(forked) = store.store.check_process() {
            // Dropping it takes locks that another thread may have held at the fork.
            std::mem::forget(store);
            return Err(forked);
        }
        store.check()?;
        store.store.close()
    })
}

/// Both providers, or that of metadata alone where that is enough.
///
/// # Safety
/// The pointers are NULL or valid.
unsafe fn providers(
    metadata: *const efscrypt_provider,
    data: *const efscrypt_provider,
    access: DataAccess,
) -> Result<Providers> {
    // SAFETY: as the caller promises.
    let metadata = unsafe { provider(metadata, "the metadata provider is NULL")? };
    if data.is_null() && access == DataAccess::IfAvailable {
        return Ok(Providers::metadata_only(metadata));
    }
    // SAFETY: as the caller promises.
    Ok(Providers::new(metadata, unsafe { provider(data, "the data provider is NULL")? }))
}

/// A provider key that a domain goes to; `None` for NULL.
///
/// # Safety
/// The provider is NULL or valid, and the key then a NUL-terminated string.
unsafe fn target<'a>(
    to: *const efscrypt_provider,
    key: *const c_char,
) -> Result<Option<(Arc<dyn KeyProvider>, &'a str)>> {
    if to.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    let to = unsafe { provider(to, "the provider is NULL")? };
    // SAFETY: as the caller promises.
    Ok(Some((to, unsafe { text(key)? })))
}
