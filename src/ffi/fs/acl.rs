//! Access control lists for C: in the form in which Linux hands them over.

use std::mem::offset_of;
use std::slice;

use super::acting::acting;
use super::attr::efscrypt_wcc;
use crate::error::{Error, Result};
use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::bytes::{bytes, copy_out};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::sized::{Sized, sized};
use crate::ffi::store::efscrypt_store;
use crate::fs::{ACL_EXECUTE, ACL_READ, ACL_WRITE, Acl, AclKind, Credentials, FileSystem, Wcc};

/// The list that says who may do what.
pub const EFSCRYPT_ACL_ACCESS: u32 = 0;
/// The list of a directory that what is made in it starts from.
pub const EFSCRYPT_ACL_DEFAULT: u32 = 1;

/// The right to execute a file or reach what is in a directory.
pub const EFSCRYPT_EXECUTE: u32 = 1;
/// The right to write a file or change the names of a directory.
pub const EFSCRYPT_WRITE: u32 = 2;
/// The right to read a file or list a directory.
pub const EFSCRYPT_READ: u32 = 4;

const _: () = assert!(EFSCRYPT_EXECUTE == ACL_EXECUTE as u32);
const _: () = assert!(EFSCRYPT_WRITE == ACL_WRITE as u32);
const _: () = assert!(EFSCRYPT_READ == ACL_READ as u32);

/// Most groups of a user: more than any system allows.
const MOST_GROUPS: usize = 1 << 20;

/// Who asks. Set it to zero but for `size`, then its fields.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_credentials {
    /// `sizeof(efscrypt_credentials)`: later versions only add at the end.
    pub size: usize,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Other groups; NULL where there are none.
    pub groups: *const u32,
    /// How many; at most 2^20.
    pub groups_len: usize,
}

// SAFETY: `repr(C)`, begins with its size, and holds numbers and a pointer that the caller vouches
// for.
unsafe impl Sized for efscrypt_credentials {
    const LEAST: usize = offset_of!(efscrypt_credentials, groups_len) + size_of::<usize>();
}

fn kind_of(kind: u32) -> Result<AclKind> {
    match kind {
        EFSCRYPT_ACL_ACCESS => Ok(AclKind::Access),
        EFSCRYPT_ACL_DEFAULT => Ok(AclKind::Default),
        _ => Err(Error::InvalidArgument("no such kind of access control list")),
    }
}

/// Reads an access control list into `value`, as the value of Linux's `system.posix_acl_access` or
/// `system.posix_acl_default`, version 2, and sets `*len` to its length, at most 4,092 bytes.
/// `kind` is `EFSCRYPT_ACL_ACCESS` or `EFSCRYPT_ACL_DEFAULT`. Where `room` is 0 only the length is
/// set; `EFSCRYPT_STATUS_BUFFER_TOO_SMALL` where it is less than that.
/// `EFSCRYPT_STATUS_NO_ATTRIBUTE` where there is none: then the mode says who may do what.
///
/// # Safety
/// `store` is valid; `value` is valid for writes of `room` bytes; `len` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_get_acl(
    store: *const efscrypt_store,
    ino: u64,
    kind: u32,
    value: *mut u8,
    room: usize,
    len: *mut usize,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let list = fs.get_acl(ino, kind_of(kind)?)?.ok_or(Error::NoAttribute)?;
        // SAFETY: as the caller promises.
        unsafe { copy_out(&list.to_xattr(), value, room, len) }
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Sets an access control list, in the form in which `efscrypt_fs_get_acl` gives it out, or removes
/// it where `value_len` is 0. An access list sets the permission bits, the group's to its mask, and
/// takes the set-group-ID bit away; one that says no more than a mode is kept as the mode. Removing
/// one leaves the mode: its mask becomes the right of the owning group. Who may set lists is up to
/// the caller. Durable after `efscrypt_store_commit`.
///
/// # Safety
/// `store` is valid; `value` has `value_len` bytes; `file` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_set_acl(
    store: *const efscrypt_store,
    ino: u64,
    kind: u32,
    value: *const u8,
    value_len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let set = |fs: &FileSystem, kind, list: Option<&Acl>| fs.set_acl(ino, kind, list);
    // SAFETY: as the caller promises.
    unsafe { set_with(store, kind, (value, value_len), file, error, set) }
}

/// As `efscrypt_fs_set_acl`, for a caller of a standing, as `efscrypt_fs_write_as` takes it: the
/// set-group-ID bit stays unless that is `EFSCRYPT_STANDING_OTHER`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_set_acl_as(
    store: *const efscrypt_store,
    standing: u32,
    ino: u64,
    kind: u32,
    value: *const u8,
    value_len: usize,
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let set =
        |fs: &FileSystem, kind, list: Option<&Acl>| acting(fs, standing)?.set_acl(ino, kind, list);
    // SAFETY: as the caller promises.
    unsafe { set_with(store, kind, (value, value_len), file, error, set) }
}

/// Has `set` set a list.
///
/// # Safety
/// As for `efscrypt_fs_set_acl`.
unsafe fn set_with(
    store: *const efscrypt_store,
    kind: u32,
    (value, value_len): (*const u8, usize),
    file: *mut efscrypt_wcc,
    error: *mut efscrypt_error,
    set: impl FnOnce(&FileSystem, AclKind, Option<&Acl>) -> Result<Wcc>,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let value = unsafe { bytes(value, value_len)? };
        let list = if value.is_empty() { None } else { Acl::from_xattr(value)? };
        let wcc = set(fs, kind_of(kind)?, list.as_ref())?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(file, wcc) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Says whether a user gets all rights of `want`, a sum of `EFSCRYPT_READ`, `EFSCRYPT_WRITE` and
/// `EFSCRYPT_EXECUTE`, by the owner and the access control list or the mode: `*granted` is 1, or 0.
/// What the superuser may do, and what a read-only store forbids, is up to the caller.
///
/// # Safety
/// `store` is valid; `who` points to as many bytes as its size says, and its groups are as many as
/// it says; `granted` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_access(
    store: *const efscrypt_store,
    ino: u64,
    who: *const efscrypt_credentials,
    want: u32,
    granted: *mut u32,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        // SAFETY: as the caller promises.
        let who = unsafe { sized(who)? }.ok_or(Error::InvalidArgument("who is NULL"))?;
        // SAFETY: as the caller promises.
        let groups = unsafe { groups(&who)? };
        let want = u8::try_from(want).map_err(|_| Error::InvalidArgument("no such rights"))?;
        let may = fs.access(ino, &Credentials { uid: who.uid, gid: who.gid, groups }, want)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(granted, u32::from(may)) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// The groups of who asks.
///
/// # Safety
/// There are as many as it says.
unsafe fn groups(who: &efscrypt_credentials) -> Result<&[u32]> {
    if who.groups_len == 0 {
        return Ok(&[]);
    }
    if who.groups_len > MOST_GROUPS || !who.groups.is_aligned() || who.groups.is_null() {
        return Err(Error::InvalidArgument("the groups are NULL, misaligned or too many"));
    }
    // SAFETY: as the caller promises, and pointer and number were checked.
    Ok(unsafe { slice::from_raw_parts(who.groups, who.groups_len) })
}
