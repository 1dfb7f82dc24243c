//! The boundary: every function of the C ABI runs inside one of these.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::error::{efscrypt_error, efscrypt_status as Status};
use super::store::efscrypt_store;
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::store::Store;

#[cfg(all(panic = "abort", not(test)))]
compile_error!("the C ABI turns panics into a status, which needs panic = \"unwind\"");

/// Runs the body of a function. A panic ends here: the message stays on standard error, and says
/// nothing of the store's contents.
pub(super) fn guard(error: *mut efscrypt_error, body: impl FnOnce() -> Result<()>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Dropping what was thrown could throw again.
        std::mem::forget(payload);
        Err(Error::Internal("a panic reached the C boundary"))
    });
    match result {
        Ok(()) => Status::Ok,
        Err(failure) => {
            if let Some(error) = NonNull::new(error) {
                // SAFETY: the caller passes NULL or room for an `efscrypt_error`, as the header
                // demands.
                unsafe { put(error, efscrypt_error::of(&failure)) };
            }
            Status::from(&failure)
        }
    }
}

/// Runs the body of a function on a store: not in a forked child, and not after a panic, which
/// poisons the store.
///
/// # Safety
/// `store` is NULL or valid; `error` is NULL or valid for a write.
pub(super) unsafe fn with_store(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
    body: impl FnOnce(&Store) -> Result<()>,
) -> Status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let store = unsafe { object(store, "store is NULL")? };
        store.check()?;
        let unfinished = Unfinished(store);
        let result = body(&store.store);
        std::mem::forget(unfinished);
        result
    })
}

/// As [`with_store`], for a function on its file system.
///
/// # Safety
/// As for [`with_store`].
pub(super) unsafe fn with_fs(
    store: *const efscrypt_store,
    error: *mut efscrypt_error,
    body: impl FnOnce(&FileSystem) -> Result<()>,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, |store| body(store.file_system())) }
}

/// A function under way; dropped, it ended by a panic.
struct Unfinished<'a>(&'a efscrypt_store);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.ruin();
    }
}

/// The object behind a pointer.
///
/// # Safety
/// The pointer is NULL or points to a valid `T` that outlives `'a`.
pub(super) unsafe fn object<'a, T>(pointer: *const T, what: &'static str) -> Result<&'a T> {
    // SAFETY: as the caller promises.
    unsafe { pointer.as_ref() }.ok_or(Error::InvalidArgument(what))
}

/// Where a result goes.
pub(super) fn out<T>(pointer: *mut T) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or(Error::InvalidArgument("an output pointer is NULL"))
}

/// Writes a result.
///
/// # Safety
/// The pointer is valid for a write of `T`.
pub(super) unsafe fn put<T>(pointer: NonNull<T>, value: T) {
    // SAFETY: as the caller promises; the old bytes may be uninitialized, so nothing is dropped.
    unsafe { pointer.write(value) }
}

/// Writes a result that the caller need not want.
///
/// # Safety
/// The pointer is NULL or valid for a write of `T`.
pub(super) unsafe fn put_wanted<T>(pointer: *mut T, value: impl Into<T>) {
    if let Some(pointer) = NonNull::new(pointer) {
        // SAFETY: as the caller promises.
        unsafe { put(pointer, value.into()) }
    }
}

/// Gives an object to C.
///
/// # Safety
/// As for [`put`].
pub(super) unsafe fn give<T>(pointer: NonNull<*mut T>, value: T) {
    let raw = Box::into_raw(Box::new(value));
    // SAFETY: as the caller promises.
    unsafe { put(pointer, raw) }
}

/// Takes an object back from C; `None` for NULL.
///
/// # Safety
/// The pointer is NULL or came from [`give`] and was not taken before.
pub(super) unsafe fn take<T>(pointer: *mut T) -> Option<Box<T>> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    Some(unsafe { Box::from_raw(pointer) })
}
