//! Node pointer: where a child is, and the nonce and tag that authenticate it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::SUITE;
use crate::error::{Error, Object, Result};
use crate::limits::MAX_LEVEL;

/// Bytes of an encoded pointer.
pub const POINTER_LEN: usize = 64;

/// The authoritative reference to a node: the parent's copy of the child's identity.
///
/// A pointer with `addr[0] == 0` is empty: unit 0 holds a superblock, never a node.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct NodePointer {
    /// First unit of each copy; 8 bits of device, 56 of unit. The second is 0 for a leaf.
    pub addr: [U64; 2],
    /// Generation of the checkpoint that wrote the node.
    pub birth_gen: U64,
    /// Tree that the node was written for.
    pub birth_tree: U32,
    /// META KEK version that the node is sealed under.
    pub key_epoch: U32,
    /// GCM-SIV nonce, random.
    pub nonce: [u8; 12],
    /// GCM-SIV tag.
    pub tag: [u8; 16],
    /// Cryptographic suite.
    pub suite: u8,
    /// Height above the leaves; 0 is a leaf.
    pub level: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

const _: () = assert!(size_of::<NodePointer>() == POINTER_LEN);

impl NodePointer {
    /// The pointer of a tree that has no node yet.
    pub const EMPTY: NodePointer = NodePointer {
        addr: [U64::ZERO, U64::ZERO],
        birth_gen: U64::ZERO,
        birth_tree: U32::ZERO,
        key_epoch: U32::ZERO,
        nonce: [0; 12],
        tag: [0; 16],
        suite: 0,
        level: 0,
        reserved: [0; 2],
    };

    /// Whether this stands for no node.
    pub fn is_empty(&self) -> bool {
        self.addr[0] == U64::ZERO
    }

    /// First unit of the first copy.
    pub fn unit(&self) -> u64 {
        self.addr[0].get()
    }

    /// A few bytes of the tag: tells nodes apart that had the same address at different times.
    pub fn stamp(&self) -> u64 {
        u64::from_le_bytes(*self.tag.first_chunk().unwrap_or(&[0; 8]))
    }

    /// The units of all copies that exist.
    pub fn copies(&self) -> impl Iterator<Item = u64> + use<> {
        self.addr.map(U64::get).into_iter().filter(|&unit| unit != 0)
    }

    /// Decodes and checks a pointer whose node must stand at `level`.
    pub fn parse(bytes: &[u8], level: u8) -> Result<NodePointer> {
        let bad = |why| Error::corrupt(Object::Row { class: 0 }, why);
        let pointer = NodePointer::read_from_bytes(bytes).map_err(|_| bad("pointer length"))?;
        if pointer.is_empty() {
            return Err(bad("empty pointer"));
        }
        if pointer.suite != SUITE || pointer.reserved != [0; 2] {
            return Err(bad("pointer suite"));
        }
        if pointer.level != level || level > MAX_LEVEL {
            return Err(bad("pointer level"));
        }
        if pointer.copies().any(|unit| unit >> 56 != 0) {
            return Err(bad("pointer device"));
        }
        Ok(pointer)
    }
}
