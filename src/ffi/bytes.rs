//! Byte strings of C: pointers with lengths, and NUL-terminated text.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice;

use super::boundary::{out, put};
use crate::error::{Error, Result};

/// Fails for a buffer that cannot be: NULL with a length, or longer than memory.
pub(super) fn check_buffer(pointer: *const u8, len: usize) -> Result<()> {
    match (pointer.is_null(), len) {
        (true, 1..) => Err(Error::InvalidArgument("a buffer is NULL")),
        (false, len) if len > isize::MAX as usize => {
            Err(Error::InvalidArgument("a buffer is longer than memory"))
        }
        _ => Ok(()),
    }
}

/// Bytes of the caller's; NULL with length 0 is empty.
///
/// # Safety
/// The pointer is NULL or valid for reads of `len` bytes that nobody changes during `'a`.
pub(super) unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> Result<&'a [u8]> {
    check_buffer(pointer, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: as the caller promises, and pointer and length were checked.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// A buffer of the caller's to be filled; NULL with length 0 is empty. It is zeroed first, because
/// what C hands over may never have been written, and no slice may stand for such bytes.
///
/// # Safety
/// The pointer is NULL or valid for writes of `len` bytes that nobody else uses during `'a`.
pub(super) unsafe fn zeroed<'a>(pointer: *mut u8, len: usize) -> Result<&'a mut [u8]> {
    check_buffer(pointer, len)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as the caller promises, and pointer and length were checked.
    unsafe { pointer.write_bytes(0, len) };
    // SAFETY: as above, and the bytes are initialized now.
    Ok(unsafe { slice::from_raw_parts_mut(pointer, len) })
}

/// Copies a value to a buffer of the caller's and sets its length; where `room` is 0 only the
/// length.
///
/// # Safety
/// `pointer` is NULL or valid for writes of `room` bytes; `len` is NULL or valid for a write.
pub(super) unsafe fn copy_out(
    value: &[u8],
    pointer: *mut u8,
    room: usize,
    len: *mut usize,
) -> Result<()> {
    let len = out(len)?;
    if room > 0 {
        check_buffer(pointer, room)?;
        if value.len() > room {
            return Err(Error::BufferTooSmall);
        }
        // SAFETY: the caller promises room, and a value of the library's own does not overlap it.
        unsafe { pointer.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
    }
    // SAFETY: as the caller promises.
    unsafe { put(len, value.len()) };
    Ok(())
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
