//! Host kind: what is known of a file system of the machine by its type.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{IFlags, StatFs};

const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const F2FS: u64 = 0xf2f5_2010;
const ZFS: u64 = 0x2fc1_2fc1;
const BCACHEFS: u64 = 0xca45_1a4e;
const NFS: u64 = 0x6969;
const OVERLAY: u64 = 0x794c_7630;
const CEPH: u64 = 0x00c3_6400;
const NTFS3: u64 = 0x7366_746e;

/// Directories whose names are folded have it.
const FOLDED: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// The type of the file system of what is at a path.
pub fn of(path: &[u8]) -> io::Result<u64> {
    Ok(number(&rustix::fs::statfs(path)?))
}

/// The type of the file system of what is open.
pub fn of_open(file: impl AsFd) -> io::Result<u64> {
    Ok(number(&rustix::fs::fstatfs(file)?))
}

// The type has other widths and signs on other machines; all numbers fit in 32 bits.
#[allow(clippy::unnecessary_cast, reason = "not unnecessary everywhere")]
fn number(about: &StatFs) -> u64 {
    about.f_type as u64 & 0xffff_ffff
}

/// Whether each change of a file moves its `ctime`, which nobody can set, also through unmounting.
/// Of what is served by programs, of images and of what comes from other systems nobody knows.
pub fn keeps_ctime(kind: u64) -> bool {
    [EXT, XFS, BTRFS, TMPFS, RAMFS, F2FS, ZFS, BCACHEFS, NFS, OVERLAY, CEPH, NTFS3].contains(&kind)
}

/// Whether names are bytes in this directory, so that different ones never lead to one file. XFS
/// may have been made otherwise, without a word.
pub fn has_exact_names(dir: impl AsFd) -> bool {
    let exact = [EXT, XFS, BTRFS, TMPFS, RAMFS, F2FS, BCACHEFS, OVERLAY, CEPH];
    let Ok(kind) = of_open(&dir) else { return false };
    exact.contains(&kind)
        && !rustix::fs::ioctl_getflags(dir).is_ok_and(|flags| flags.contains(FOLDED))
}

/// Whether only a look at what becomes of a name shows if names are folded.
pub fn may_fold(kind: u64) -> bool {
    kind == XFS
}
