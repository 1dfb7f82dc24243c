//! Rows of the STORE tree: roots of file systems, wrapped data keys, properties.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{NodePointer, TreeId};
use crate::error::{Error, Object, Result};

/// Key of a row of the STORE tree; the first byte is the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKey<'a> {
    /// `1 | tree`: where a file-system tree starts.
    Root(TreeId),
    /// `2 | key id`: a wrapped data key.
    DataKey(u64),
    /// `3 | name`: a property of the store, such as its name or a tag.
    Property(&'a [u8]),
}

/// Begins the names of properties that say of a file that it has lost stretches.
const LOST: &[u8] = b"l:";

impl StoreKey<'_> {
    /// The encoded key: integers big-endian, so that rows stand in order.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            StoreKey::Root(tree) => [&[1][..], &tree.to_be_bytes()].concat(),
            StoreKey::DataKey(id) => [&[2][..], &id.to_be_bytes()].concat(),
            StoreKey::Property(name) => [&[3][..], name].concat(),
        }
    }

    /// The key of the property that says that a file has, or had, lost stretches.
    pub fn lost(ino: u64) -> Vec<u8> {
        StoreKey::Property(&[LOST, &ino.to_be_bytes()].concat()).encode()
    }

    /// The file that such a property is about; `None` of another one.
    pub fn file_of_lost(&self) -> Option<u64> {
        let StoreKey::Property(name) = self else { return None };
        name.strip_prefix(LOST)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Reads a key.
    pub fn parse(bytes: &[u8]) -> Result<StoreKey<'_>> {
        let (&class, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let bad = |why| Error::corrupt(Object::Row { class }, why);
        match class {
            1 => rest.try_into().map(|tree| StoreKey::Root(TreeId::from_be_bytes(tree))),
            2 => rest.try_into().map(|id| StoreKey::DataKey(u64::from_be_bytes(id))),
            3 => Ok(StoreKey::Property(rest)),
            _ => return Err(bad("unknown class")),
        }
        .map_err(|_| bad("length of a key"))
    }
}

/// Value of a ROOT row. The checkpoint fills it in while it seals, after the tree's own nodes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct RootRow {
    /// Root node; empty where the tree has no rows.
    pub pointer: NodePointer,
    /// Zero; later features.
    pub reserved: [u8; 64],
}

impl RootRow {
    /// The row of a tree that was never written.
    pub const EMPTY: RootRow = RootRow { pointer: NodePointer::EMPTY, reserved: [0; 64] };

    /// Reads the row.
    pub fn parse(bytes: &[u8]) -> Result<RootRow> {
        RootRow::read_from_bytes(bytes)
            .map_err(|_| Error::corrupt(Object::Row { class: 1 }, "length of a root row"))
    }
}

/// Value of a KEY row: a file's data key, wrapped under the DATA KEK.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct WrappedKeyRow {
    /// DATA KEK version that wraps the key.
    pub kek_version: U32,
    /// Zero.
    pub reserved: [u8; 4],
    /// Inode that the key was made for.
    pub ino: U64,
    /// The inode's data key before this one; 0 for its first. So all keys of a file are found
    /// from its inode, also those that none of its extents names any more.
    pub previous: U64,
    /// Nonce, wrapped key and tag.
    pub wrapped: [u8; 60],
    /// Zero.
    pub reserved2: [u8; 4],
}

impl WrappedKeyRow {
    /// Reads the row of data key `id`.
    pub fn parse(bytes: &[u8], id: u64) -> Result<WrappedKeyRow> {
        WrappedKeyRow::read_from_bytes(bytes)
            .ok()
            .filter(|row| row.reserved == [0; 4] && row.reserved2 == [0; 4])
            .ok_or_else(|| Error::corrupt(Object::Key { id }, "wrapped key row"))
    }
}
