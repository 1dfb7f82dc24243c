//! L2: the on-disk format: bytes only, no I/O and no keys.
//!
//! One file per on-disk noun. Every structure is little-endian, fixed in size, and checked against
//! its container: bytes that come from a device are hostile, also after they authenticated, so
//! decoding never panics, loops or allocates by an unchecked length. What follows is the
//! specification.
//!
#![doc = include_str!("FORMAT.md")]

mod backup;
mod dirent;
mod edit;
mod extent;
mod handle;
mod inode;
mod log;
mod node;
mod owner;
mod page;
mod pointer;
mod rows;
mod space;
mod superblock;
mod xattr;

pub use backup::{BACKUP_LEN, encode_backup, parse_backup};
pub use dirent::{COOKIE_COUNTER_BITS, EntryRow, FIRST_COOKIE};
pub use edit::{Edit, EditReader, Edits, units_check};
pub use extent::{DataRow, Extent, Inline, Lost, MAX_FILE_UNITS, UNIT_TAG_LEN};
pub use handle::{HANDLE_LEN, HandleRow};
pub use inode::{FsKey, FsKeyBytes, InodeRow, MAX_INO, TimeRow};
pub use log::{LOG_ALIGN, LOG_HEADER_LEN, LogHeader, MAX_RECORD};
pub use node::{NODE_HEADER_LEN, NodeHeader};
pub use owner::{OWNER_AT, OWNER_BODY_LEN, OWNER_HEADER_LEN, OwnerBody, OwnerHeader};
pub use page::{Page, PutOutcome};
pub use pointer::{NodePointer, POINTER_LEN};
pub use rows::{RootRow, StoreKey, WrappedKeyRow};
pub use space::{
    ENTRIES_PER_PAGE, SPACE_BODY, SPACE_HEADER_LEN, SPACE_LEVELS, SpaceEntry, SpaceHeader,
    SpacePage,
};
pub use superblock::{
    KEY_SLOTS, KeySlot, RING_SLOTS, SLOT_SIZE, SPACE_ROOTS, Superblock, SuperblockBody,
    UnverifiedSuperblock,
};
pub use xattr::XattrRow;

/// The format's major version: it changes only where an older reader could not even refuse.
pub const FORMAT_VERSION: u32 = 1;

/// 16 random bytes that name a store; bound into every seal and every key derivation.
pub type StoreId = [u8; 16];

/// A tree of the store: 0 is the STORE tree, 1 and up are file systems.
pub type TreeId = u32;

/// The STORE tree: roots of the file systems, wrapped data keys, properties, jobs.
pub const STORE_TREE: TreeId = 0;

/// The first file-system tree.
pub const FIRST_FS_TREE: TreeId = 1;

/// The one cryptographic suite: XTS-AES-256 with POLYVAL-AES unit MACs for contents,
/// AES-256-GCM-SIV for metadata. There is no null suite.
pub const SUITE: u8 = 1;
