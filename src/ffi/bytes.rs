//! Byte strings of C: pointers with lengths, and NUL-terminated text.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice;

use crate::error::{Error, Result};

/// Bytes of the caller's; NULL with length 0 is empty.
///
/// # Safety
/// The pointer is NULL or valid for reads of `len` bytes that nobody changes during `'a`.
pub(super) unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> Result<&'a [u8]> {
    match (pointer.is_null(), len) {
        (true, 0) => Ok(&[]),
        (true, _) => Err(Error::InvalidArgument("a buffer is NULL")),
        (false, len) if len > isize::MAX as usize => {
            Err(Error::InvalidArgument("a buffer is longer than memory"))
        }
        // SAFETY: as the caller promises, and the length was checked.
        (false, len) => Ok(unsafe { slice::from_raw_parts(pointer, len) }),
    }
}

/// A buffer of the caller's to be filled; NULL with length 0 is empty.
///
/// # Safety
/// The pointer is NULL or valid for reads and writes of `len` initialized bytes that nobody else
/// uses during `'a`.
pub(super) unsafe fn bytes_mut<'a>(pointer: *mut u8, len: usize) -> Result<&'a mut [u8]> {
    match (pointer.is_null(), len) {
        (true, 0) => Ok(&mut []),
        (true, _) => Err(Error::InvalidArgument("a buffer is NULL")),
        (false, len) if len > isize::MAX as usize => {
            Err(Error::InvalidArgument("a buffer is longer than memory"))
        }
        // SAFETY: as the caller promises, and the length was checked.
        (false, len) => Ok(unsafe { slice::from_raw_parts_mut(pointer, len) }),
    }
}

/// Text of the caller's.
///
/// # Safety
/// The pointer is NULL or points to a NUL-terminated string that nobody changes during `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(Error::InvalidArgument("a string is NULL"));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Error::InvalidArgument("a string is not UTF-8"))
}

/// A path of the caller's: any bytes without NUL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path<'a>(pointer: *const c_char) -> Result<&'a Path> {
    if pointer.is_null() {
        return Err(Error::InvalidArgument("a path is NULL"));
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    Ok(Path::new(OsStr::from_bytes(text.to_bytes())))
}
