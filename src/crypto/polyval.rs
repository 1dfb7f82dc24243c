//! POLYVAL (RFC 8452, section 3): the universal hash under the unit MAC and GCM-SIV.
//!
//! A universal hash alone authenticates nothing: its users encrypt the result.

use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::backend::Backend;
#[cfg(test)]
use super::backend::probe;

/// An expanded POLYVAL key. Zeroized on drop.
pub(crate) struct HashKey {
    key: Polyval,
}

impl HashKey {
    pub(crate) fn new(h: &[u8; 16], _backend: Backend) -> Self {
        HashKey { key: Polyval::new(h.into()) }
    }

    /// A hash that has absorbed nothing.
    pub(crate) fn start(&self) -> Hash {
        #[cfg(test)]
        probe::hit(probe::Kernel::Hash(Backend::Batched));
        Hash { state: self.key.clone() }
    }
}

/// A hash in progress. Zeroized on drop.
pub(crate) struct Hash {
    state: Polyval,
}

impl Hash {
    /// Absorbs `data`, padded with zeros to whole blocks.
    pub(crate) fn update_padded(&mut self, data: &[u8]) {
        self.state.update_padded(data);
    }

    /// The hash of all that was absorbed.
    pub(crate) fn finish(self) -> [u8; 16] {
        self.state.finalize().into()
    }
}

/// The last block of a hash: two lengths, given in bytes and stored in bits (RFC 8452, section
/// 4), so that padding is not mistaken for data.
pub(crate) fn length_block(aad_bytes: usize, text_bytes: usize) -> [u8; 16] {
    let bits = |bytes: usize| (bytes as u128) << 3;
    (bits(aad_bytes) | bits(text_bytes) << 64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_block_holds_bits() {
        let block = length_block(32, 4096);
        assert_eq!(block[..8], 256u64.to_le_bytes());
        assert_eq!(block[8..], 32768u64.to_le_bytes());
    }
}
