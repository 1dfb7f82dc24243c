//! Inode: the row of class 1 of a file-system tree, and the keys of all its rows.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Error, Object, Result};
use crate::limits::{MAX_FILE_SIZE, MAX_LINKS, UNIT};

/// Key of a row of a file-system tree. The class comes first, so that inodes stand densely;
/// integers are big-endian, so that rows stand in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsKey {
    /// `1 | ino`: an inode.
    Inode(u64),
    /// `2 | dir | cookie`: an entry of a directory; the cookie is what readdir answers.
    Entry(u64, u64),
    /// `3 | ino | cookie | chunk`: a piece of an extended attribute.
    Xattr(u64, u64, u8),
    /// `4 | ino | unit`: contents from a unit of the file on: an extent or inline data.
    Data(u64, u64),
    /// `5 | ino`: an inode without a name, or with contents beyond its size, still to be freed.
    Orphan(u64),
}

/// An encoded key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FsKeyBytes {
    bytes: [u8; 18],
    len: u8,
}

impl std::ops::Deref for FsKeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl FsKey {
    /// The encoded key.
    pub fn encode(&self) -> FsKeyBytes {
        let (class, ino, rest, chunk) = match *self {
            FsKey::Inode(ino) => (1, ino, None, None),
            FsKey::Entry(dir, cookie) => (2, dir, Some(cookie), None),
            FsKey::Xattr(ino, hash, chunk) => (3, ino, Some(hash), Some(chunk)),
            FsKey::Data(ino, unit) => (4, ino, Some(unit), None),
            FsKey::Orphan(ino) => (5, ino, None, None),
        };
        let mut key = FsKeyBytes { bytes: [0; 18], len: 9 };
        key.bytes[0] = class;
        key.bytes[1..9].copy_from_slice(&ino.to_be_bytes());
        if let Some(rest) = rest {
            key.bytes[9..17].copy_from_slice(&rest.to_be_bytes());
            key.len = 17;
        }
        if let Some(chunk) = chunk {
            key.bytes[17] = chunk;
            key.len = 18;
        }
        key
    }

    /// Reads a key.
    pub fn parse(bytes: &[u8]) -> Result<FsKey> {
        let class = bytes.first().copied().unwrap_or(0);
        let bad = || Error::corrupt(Object::Row { class }, "length of a key");
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>());
            bytes.map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(bad)
        };
        let len = match class {
            1 | 5 => 9,
            2 | 4 => 17,
            3 => 18,
            _ => return Err(Error::corrupt(Object::Row { class }, "unknown class")),
        };
        if bytes.len() != len {
            return Err(bad());
        }
        let ino = number(1)?;
        if !(1..=MAX_INO).contains(&ino) {
            return Err(Error::corrupt(Object::Row { class }, "inode number of a key"));
        }
        Ok(match class {
            1 => FsKey::Inode(ino),
            2 => FsKey::Entry(ino, number(9)?),
            3 => FsKey::Xattr(ino, number(9)?, bytes[17]),
            4 => FsKey::Data(ino, number(9)?),
            _ => FsKey::Orphan(ino),
        })
    }
}

/// A time: seconds since 1970 and nanoseconds below one second.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct TimeRow {
    /// Seconds since 1970, negative before.
    pub seconds: I64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: U32,
}

/// The fixed part of an inode row.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq, Debug,
)]
#[repr(C)]
pub struct InodeRow {
    /// File type and permission bits, as in `st_mode`.
    pub mode: U32,
    /// Number of names; for a directory 2 plus its subdirectories.
    pub nlink: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Bytes of contents, of a link target, or of a directory's names.
    pub size: U64,
    /// `epoch << 40 | n`: with the number, unique for ever.
    pub generation: U64,
    /// `epoch << 40 | n`: grows with each change of contents or attributes.
    pub change: U64,
    /// Last access.
    pub atime: TimeRow,
    /// Last change of contents.
    pub mtime: TimeRow,
    /// Last change of contents or attributes.
    pub ctime: TimeRow,
    /// Creation.
    pub btime: TimeRow,
    /// Device number of a device node.
    pub rdev: U64,
    /// A directory's parent; for others the directory of the first name.
    pub parent: U64,
    /// Number of entries, for a directory.
    pub entries: U64,
    /// Units of the device that the contents take.
    pub units: U64,
    /// Data key that new contents are sealed under; 0 before the first.
    pub key_id: U64,
    /// Units sealed under that key so far.
    pub sealed_units: U64,
    /// Verifier of an exclusive creation, where [`InodeRow::EXCLUSIVE`] says that there is one.
    pub verifier: [u8; 8],
    /// Project, for later quotas.
    pub project: U32,
    /// [`InodeRow::TRIMMING`], [`InodeRow::EXCLUSIVE`], [`InodeRow::ACL`]; other bits are zero.
    pub flags: U32,
    /// Bytes of the tail behind the fixed part.
    pub tail_len: U32,
    /// Number of extended attributes.
    pub xattrs: U32,
    /// Zero.
    pub reserved: [u8; 32],
}

/// Highest number of an inode.
pub const MAX_INO: u64 = i64::MAX as u64;

const _: () = assert!(MAX_FILE_SIZE.div_ceil(UNIT as u64) <= InodeRow::MAX_UNITS);
const _: () = assert!(MAX_LINKS <= InodeRow::MAX_NLINK);

/// Bytes of the fixed part.
pub const INODE_LEN: usize = size_of::<InodeRow>();

const _: () = assert!(INODE_LEN == 192);

impl InodeRow {
    /// Flag: contents beyond the size are still to be freed, and an ORPHAN row says so.
    pub const TRIMMING: u32 = 1;
    /// Flag: created exclusively, and no attribute was set since; `verifier` says by whom.
    pub const EXCLUSIVE: u32 = 2;
    /// Flag: it has an access control list, so the bits of the group in the mode are the mask.
    pub const ACL: u32 = 4;
    const FLAGS: u32 = Self::TRIMMING | Self::EXCLUSIVE | Self::ACL;
    /// Most names of an inode: a directory has one for each subdirectory.
    pub const MAX_NLINK: u32 = 1 << 30;
    /// Most entries of a directory.
    pub const MAX_ENTRIES: u64 = 1 << 48;
    /// Most units that the contents of an inode take: those of the largest file.
    pub const MAX_UNITS: u64 = 1 << 48;

    /// Reads an inode row. The tail is for later fields: a store that has any says so by a
    /// feature bit that keeps this version from writing, so dropping it here loses nothing.
    pub fn parse(bytes: &[u8], ino: u64) -> Result<InodeRow> {
        let bad = |why| Error::corrupt(Object::Inode { ino }, why);
        let (mut row, tail) =
            InodeRow::read_from_prefix(bytes).map_err(|_| bad("inode row length"))?;
        if tail.len() != row.tail_len.get() as usize {
            return Err(bad("inode tail length"));
        }
        let times = [row.atime, row.mtime, row.ctime, row.btime];
        if times.iter().any(|time| time.nanoseconds.get() >= 1_000_000_000) {
            return Err(bad("inode times"));
        }
        if !(1..=MAX_INO).contains(&ino) {
            return Err(bad("inode number"));
        }
        if row.size.get() > MAX_FILE_SIZE || row.nlink.get() > Self::MAX_NLINK {
            return Err(bad("inode size"));
        }
        if row.entries.get() > Self::MAX_ENTRIES || row.units.get() > Self::MAX_UNITS {
            return Err(bad("inode counts"));
        }
        if row.flags.get() & !Self::FLAGS != 0 || row.reserved != [0; 32] {
            return Err(bad("inode flags"));
        }
        row.tail_len = U32::ZERO;
        Ok(row)
    }
}
