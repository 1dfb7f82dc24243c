//! Node header: the clear 80 bytes in front of a sealed page.
//!
//! The parent's pointer is authoritative. The copy here lets salvage find nodes whose parent is
//! lost, and the crc lets a scrub without keys tell a rotten block from a sound one.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::StoreId;
use crate::limits::NODE_SIZE;

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

    /// The header of a block that says it is a node, whoever wrote it.
    pub fn find(block: &[u8]) -> Option<NodeHeader> {
        let (header, _) = NodeHeader::read_from_prefix(block).ok()?;
        (header.magic == MAGIC).then_some(header)
    }

    /// Whether the crc fits the header and the block behind it. Anyone can make it fit.
    pub fn is_sound(&self, block: &[u8]) -> bool {
        let body = block.get(NODE_HEADER_LEN..NODE_SIZE);
        body.is_some_and(|body| self.checksum(body) == self.crc.get())
    }

    /// The pointer that a parent would hold to the node, were it at `unit` alone.
    pub fn pointer(&self, unit: u64) -> super::NodePointer {
        super::NodePointer {
            addr: [U64::new(unit), U64::ZERO],
            birth_gen: self.birth_gen,
            birth_tree: self.birth_tree,
            key_epoch: self.key_epoch,
            nonce: self.nonce,
            tag: self.tag,
            suite: self.suite,
            level: self.level,
            reserved: [0; 2],
        }
    }

    fn checksum(&self, sealed: &[u8]) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&self.as_bytes()[..NODE_HEADER_LEN - 4]);
        hash.update(sealed);
        hash.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{NodePointer, SUITE};

    #[test]
    fn a_node_is_found_and_told_from_a_damaged_one() {
        let mut block = vec![7u8; NODE_SIZE];
        let pointer = NodePointer { suite: SUITE, level: 2, tag: [3; 16], ..NodePointer::EMPTY };
        assert!(NodeHeader::find(&block).is_none());
        let header = NodeHeader::new([1; 16], &pointer).finish(&block[NODE_HEADER_LEN..]);
        block[..NODE_HEADER_LEN].copy_from_slice(header.as_bytes());
        let found = NodeHeader::find(&block).unwrap();
        assert!(found.is_sound(&block));
        assert!(found.pointer(9) == NodePointer { addr: [9.into(), 0.into()], ..pointer });
        assert!(!found.is_sound(&block[..NODE_SIZE - 1]));
        for at in [8, 30, 69, NODE_HEADER_LEN, NODE_SIZE - 1] {
            block[at] ^= 1;
            assert!(!NodeHeader::find(&block).unwrap().is_sound(&block), "byte {at}");
            block[at] ^= 1;
        }
        assert!(NodeHeader::find(&block[..NODE_HEADER_LEN - 1]).is_none());
    }
}
