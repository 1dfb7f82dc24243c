//! Structs that C fills in. Each begins with its own size, which says what version of the header
//! the caller was compiled with, and may grow at its end in later versions.
//!
//! A caller of an earlier version gives fewer bytes: fields that it does not know are zero, which
//! means their default. A caller of a later version gives more: as long as they are zero it asks
//! for nothing that this library does not know, else it is refused, not misunderstood.

use std::mem::MaybeUninit;

use crate::error::{Error, Result};

/// More bytes than any version of any struct has: a larger size was never set.
const MOST: usize = 4096;

/// A struct of C that begins with its size.
///
/// # Safety
/// The struct is `repr(C)`, its first field is `size: usize`, and any bytes are a value of it,
/// except that pointers must be good to use.
pub(super) unsafe trait Sized: Copy {
    /// Bytes of the struct in version 1 of the interface.
    const LEAST: usize;
}

/// What is behind a pointer to a struct of whatever version; `None` for NULL.
///
/// # Safety
/// The pointer is NULL, or valid for reads of a `usize`, and of as many bytes as that says.
pub(super) unsafe fn sized<T: Sized>(pointer: *const T) -> Result<Option<T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises; the struct begins with its size.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    if !(T::LEAST..=MOST).contains(&size) {
        return Err(Error::InvalidArgument("a struct's size is not the size of any version"));
    }
    let known = size.min(size_of::<T>());
    let bytes = pointer.cast::<u8>();
    for at in known..size {
        // SAFETY: below `size`, up to which the caller promises bytes.
        let byte = unsafe { bytes.add(at) };
        // SAFETY: as above.
        if unsafe { byte.read() } != 0 {
            return Err(Error::InvalidArgument("a struct asks for what a later version knows"));
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let to = value.as_mut_ptr().cast::<u8>();
    // SAFETY: `known` bytes can be read, fit into a `T`, and the two do not overlap.
    unsafe { bytes.copy_to_nonoverlapping(to, known) };
    // SAFETY: any bytes are a value, as the trait says, and all are set.
    Ok(Some(unsafe { value.assume_init() }))
}

/// Fails unless a field that is kept for later versions is zero.
pub(super) fn check_reserved(bytes: &[u8]) -> Result<()> {
    match bytes.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(Error::InvalidArgument("a reserved field is not zero")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Now {
        size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: as the trait demands.
    unsafe impl Sized for Now {
        const LEAST: usize = 16;
    }

    fn read(words: &[u64]) -> Result<Option<Now>> {
        // SAFETY: the tests give as many bytes as the first word says, or a size that is refused.
        unsafe { sized(words.as_ptr().cast::<Now>()) }
    }

    #[test]
    fn earlier_and_later_versions_are_understood() {
        let earlier = read(&[16, 7, 99]).unwrap().unwrap();
        assert_eq!((earlier.size, earlier.first, earlier.second), (16, 7, 0));
        let now = read(&[24, 7, 8]).unwrap().unwrap();
        assert_eq!((now.first, now.second), (7, 8));
        let later = read(&[40, 7, 8, 0, 0]).unwrap().unwrap();
        assert_eq!((later.first, later.second), (7, 8));
        // SAFETY: NULL is allowed.
        assert!(unsafe { sized::<Now>(std::ptr::null()) }.unwrap().is_none());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [&[40, 7, 8, 0, 1][..], &[0, 7, 8], &[8, 7, 8], &[15, 7, 8], &[u64::MAX, 7]] {
            assert!(matches!(read(words), Err(Error::InvalidArgument(_))), "{words:?}");
        }
        assert!(check_reserved(&[0, 0]).is_ok());
        assert!(check_reserved(&[0, 1]).is_err());
    }
}
