//! Node header: the clear 80 bytes in front of a sealed page.
//!
//! The parent's pointer is authoritative. The copy here lets salvage find nodes whose parent is
//! lost, and the crc lets a scrub without keys tell a rotten block from a sound one.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::StoreId;

/// Bytes of the clear header.
pub const NODE_HEADER_LEN: usize = 80;

const MAGIC: [u8; 8] = *b"EFSNODE\x01";

/// The clear header of a node block.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct NodeHeader {
    magic: [u8; 8],
    /// Store that the node belongs to.
    pub store_id: StoreId,
    /// As in the pointer.
    pub birth_gen: U64,
    /// As in the pointer.
    pub birth_tree: U32,
    /// As in the pointer.
    pub key_epoch: U32,
    /// As in the pointer.
    pub nonce: [u8; 12],
    /// As in the pointer.
    pub tag: [u8; 16],
    /// As in the pointer.
    pub suite: u8,
    /// As in the pointer.
    pub level: u8,
    reserved: [u8; 6],
    /// crc32 (IEEE) of the header up to here and of the sealed body.
    pub crc: U32,
}

const _: () = assert!(size_of::<NodeHeader>() == NODE_HEADER_LEN);

impl NodeHeader {
    /// A header without its crc, which [`NodeHeader::finish`] computes.
    pub fn new(store_id: StoreId, pointer: &super::NodePointer) -> NodeHeader {
        NodeHeader {
            magic: MAGIC,
            store_id,
            birth_gen: pointer.birth_gen,
            birth_tree: pointer.birth_tree,
            key_epoch: pointer.key_epoch,
            nonce: pointer.nonce,
            tag: pointer.tag,
            suite: pointer.suite,
            level: pointer.level,
            reserved: [0; 6],
            crc: U32::ZERO,
        }
    }

    /// Sets the crc over this header and the sealed body.
    pub fn finish(mut self, sealed: &[u8]) -> NodeHeader {
        self.crc = U32::new(self.checksum(sealed));
        self
    }

    fn checksum(&self, sealed: &[u8]) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&self.as_bytes()[..NODE_HEADER_LEN - 4]);
        hash.update(sealed);
        hash.finalize()
    }
}
