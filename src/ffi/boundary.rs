//! The boundary: every function of the C ABI runs inside one of these.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::error::{efscrypt_error, efscrypt_status as Status};
use crate::error::{Error, Result};

#[cfg(all(panic = "abort", not(test)))]
compile_error!("the C ABI turns panics into a status, which needs panic = \"unwind\"");

/// Runs the body of a function. A panic ends here: the message stays on standard error, and says
/// nothing of the store's contents.
pub(super) fn guard(error: *mut efscrypt_error, body: impl FnOnce() -> Result<()>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or(Err(Error::Internal("a panic reached the C boundary")));
    match result {
        Ok(()) => Status::Ok,
        Err(failure) => {
            // SAFETY: the caller passes NULL or a valid `efscrypt_error`, as the header demands.
            if let Some(out) = unsafe { error.as_mut() } {
                out.fill(&failure);
            }
            Status::from(&failure)
        }
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

/// A structure of the caller's that begins with its own size; `None` for NULL.
///
/// # Safety
/// The pointer is NULL, or points to a size and to as many bytes as that says, which outlive `'a`.
pub(super) unsafe fn sized<'a, T>(pointer: *const T, what: &'static str) -> Result<Option<&'a T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // Before the size is known there may be less than a `T`.
    // SAFETY: as the caller promises, the size can be read; `T` begins with it.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < size_of::<T>() {
        return Err(Error::InvalidArgument(what));
    }
    // SAFETY: as the caller promises, all bytes of a `T` are there.
    Ok(unsafe { pointer.as_ref() })
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
