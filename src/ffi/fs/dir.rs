//! Reading directories for C.

use std::ffi::c_void;

use super::attr::efscrypt_attr;
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{Attr, DirEntry, FileSystem};

/// An entry of a directory, as it is read. Valid during the call that shows it. Later versions only
/// add at the end, so it is not copied by its size.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_dir_entry {
    /// The name, without a final NUL.
    pub name: *const u8,
    /// Its length.
    pub name_len: usize,
    /// What it leads to.
    pub ino: u64,
    /// Where to go on behind this entry: below 2^63, and 3 or more except for "." and "..". Valid
    /// as long as the directory exists, whatever happens to this entry or others, and after
    /// reopening.
    pub cookie: u64,
    /// The type bits of `st_mode`.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// Attributes, from `efscrypt_fs_readdir_plus`; NULL for an entry that was removed meanwhile,
    /// or whose inode cannot be read.
    pub attr: *const efscrypt_attr,
}

/// Called for each entry of a directory. Returns 0 to go on, anything else to stop: that entry
/// counts as not read. It may call the store, and must not throw, unwind or jump out.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type efscrypt_visit =
    Option<unsafe extern "C" fn(userdata: *mut c_void, entry: *const efscrypt_dir_entry) -> i32>;

/// Calls `visit` for the entries of a directory behind `cookie`; 0 starts with the first. The
/// entries "." and ".." come first. Sets `*end`, which may be NULL, to whether the last was read.
/// Entries that are neither added nor removed meanwhile are seen exactly once, also where reading
/// goes on after reopening.
///
/// A directory of which a part cannot be read fails with `EFSCRYPT_STATUS_CORRUPT` or `_IO` after
/// what is behind that part was shown too, until `visit` answered other than 0; `*end` is then not
/// set. Such a failure is not the end: call again with the cookie of the last entry for which
/// `visit` answered 0. A call that fails without any such entry has nothing behind it.
///
/// # Safety
/// `store` is valid; `visit` may be called with `userdata`, from this thread; `end` is NULL or
/// valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_readdir(
    store: *const efscrypt_store,
    dir: u64,
    cookie: u64,
    visit: efscrypt_visit,
    userdata: *mut c_void,
    end: *mut bool,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let mut visitor = unsafe { visitor(visit, userdata)? };
        let finished = fs.read_dir(dir, cookie, |entry| visitor(entry, None))?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(end, finished) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// As `efscrypt_fs_readdir`, with the attributes of each entry.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_readdir_plus(
    store: *const efscrypt_store,
    dir: u64,
    cookie: u64,
    visit: efscrypt_visit,
    userdata: *mut c_void,
    end: *mut bool,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let mut visitor = unsafe { visitor(visit, userdata)? };
        let finished = fs.read_dir_plus(dir, cookie, |entry, attr| visitor(entry, attr))?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(end, finished) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// What shows entries to a callback.
///
/// # Safety
/// `visit` may be called with `userdata` as long as the answer lives.
unsafe fn visitor(
    visit: efscrypt_visit,
    userdata: *mut c_void,
) -> Result<impl FnMut(&DirEntry<'_>, Option<&Attr>) -> bool> {
    let visit = visit.ok_or(Error::InvalidArgument("visit is NULL"))?;
    Ok(move |entry: &DirEntry<'_>, attr: Option<&Attr>| {
        let attr: Option<efscrypt_attr> = attr.map(|attr| (*attr).into());
        let shown = efscrypt_dir_entry {
            name: entry.name.as_ptr(),
            name_len: entry.name.len(),
            ino: entry.ino,
            cookie: entry.cookie,
            kind: entry.kind.mode_bits(),
            reserved: 0,
            attr: attr.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        };
        // SAFETY: as the caller promises; the entry, its name and attributes live during the call.
        let answer = unsafe { visit(userdata, &raw const shown) };
        answer == 0
    })
}
