//! Host kind: what is known of a file system of the machine by its type.

use std::io;

use rustix::fs::StatFs;

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

/// The type of the file system of what is at a path.
pub fn of(path: &[u8]) -> io::Result<u64> {
    Ok(number(&rustix::fs::statfs(path)?))
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
