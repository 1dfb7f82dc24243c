//! Attributes of inodes for C, as the library gives them out.

use crate::ffi::boundary::{put_wanted, with_fs};
use crate::ffi::error::{efscrypt_error, efscrypt_status};
use crate::ffi::store::efscrypt_store;
use crate::fs::{Attr, Before, Created, FileSystem, FileType, ROOT_INO, Time, Wcc};

/// Inode number of the root directory.
pub const EFSCRYPT_ROOT: u64 = 1;

const _: () = assert!(EFSCRYPT_ROOT == ROOT_INO);

/// A time: seconds since 1970 and nanoseconds below one second.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
    /// Zero.
    pub reserved: u32,
}

/// Attributes of an inode at one moment. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_attr {
    /// Inode number, never 0, and never given to another inode, also after this one is gone.
    pub ino: u64,
    /// Another number that is the inode's own, in the order in which inodes were made.
    pub generation: u64,
    /// File type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Number of names; for a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of contents or of a link target; for a directory the bytes of its names.
    pub size: u64,
    /// Bytes of the store that the contents take.
    pub space: u64,
    /// Grows with each change of contents or attributes, also through crashes.
    pub change: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Number of entries of a directory, without "." and "..".
    pub entries: u64,
    /// Last access.
    pub atime: efscrypt_time,
    /// Last change of contents.
    pub mtime: efscrypt_time,
    /// Last change of contents or attributes.
    pub ctime: efscrypt_time,
    /// Creation.
    pub btime: efscrypt_time,
    /// Zero; for later versions.
    pub reserved: [u64; 7],
}

/// What tells whether anybody else changed an object. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_before {
    /// Size.
    pub size: u64,
    /// Change attribute.
    pub change: u64,
    /// Last change of contents.
    pub mtime: efscrypt_time,
    /// Last change of contents or attributes.
    pub ctime: efscrypt_time,
}

/// An object right before and right after an operation: nothing happened to it in between. It never
/// grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_wcc {
    /// Before.
    pub before: efscrypt_before,
    /// After.
    pub after: efscrypt_attr,
}

/// Answer to a creation. It never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_created {
    /// The inode, new or found.
    pub attr: efscrypt_attr,
    /// The directory before and after.
    pub dir: efscrypt_wcc,
    /// 1 where the inode is new, else 0.
    pub created: u32,
    /// Zero.
    pub reserved: u32,
}

impl From<Time> for efscrypt_time {
    fn from(time: Time) -> efscrypt_time {
        efscrypt_time { seconds: time.seconds, nanoseconds: time.nanoseconds, reserved: 0 }
    }
}

/// No inode: all zero.
pub(super) fn no_attr() -> efscrypt_attr {
    let time = efscrypt_time { seconds: 0, nanoseconds: 0, reserved: 0 };
    efscrypt_attr {
        ino: 0,
        generation: 0,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        space: 0,
        change: 0,
        rdev: 0,
        entries: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        reserved: [0; 7],
    }
}

impl From<Attr> for efscrypt_attr {
    fn from(attr: Attr) -> efscrypt_attr {
        efscrypt_attr {
            ino: attr.ino,
            generation: attr.generation,
            mode: attr.kind.mode_bits() | attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            space: attr.space,
            change: attr.change,
            rdev: attr.rdev,
            entries: attr.entries,
            atime: attr.atime.into(),
            mtime: attr.mtime.into(),
            ctime: attr.ctime.into(),
            btime: attr.btime.into(),
            reserved: [0; 7],
        }
    }
}

impl From<Before> for efscrypt_before {
    fn from(before: Before) -> efscrypt_before {
        let Before { size, mtime, ctime, change } = before;
        efscrypt_before { size, change, mtime: mtime.into(), ctime: ctime.into() }
    }
}

impl From<Wcc> for efscrypt_wcc {
    fn from(wcc: Wcc) -> efscrypt_wcc {
        efscrypt_wcc { before: wcc.before.into(), after: wcc.after.into() }
    }
}

impl From<Created> for efscrypt_created {
    fn from(made: Created) -> efscrypt_created {
        let Created { attr, created, dir } = made;
        let (attr, dir) = (attr.into(), dir.into());
        efscrypt_created { attr, dir, created: created.into(), reserved: 0 }
    }
}

/// The attributes of an inode.
///
/// # Safety
/// `store` is valid; `attr` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_fs_getattr(
    store: *const efscrypt_store,
    ino: u64,
    attr: *mut efscrypt_attr,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |fs: &FileSystem| {
        let found = fs.getattr(ino)?;
        // SAFETY: as the caller promises.
        unsafe { put_wanted(attr, found) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_fs(store, error, body) }
}

/// Whether a mode is a directory's.
#[unsafe(no_mangle)]
pub extern "C" fn efscrypt_mode_is_dir(mode: u32) -> bool {
    FileType::of_mode(mode) == Some(FileType::Directory)
}
