//! Message authentication codes: AES-256 over POLYVAL.
//!
//! `tag = AES-256_K(POLYVAL_H(message | lengths))`: a universal hash, then a pseudorandom
//! permutation. It needs no nonce, so nothing can repeat one; messages of one kind have one form,
//! and the lengths are hashed with them. For units of 4 KiB, 2^44 tags under one key keep the
//! forger's advantage below 2^-32; a data key seals at most 2^28.

use std::sync::Arc;

use aes::{Aes256Enc, Block};
use cipher::{BlockCipherEncrypt, KeyInit};

use super::arena::{KeyArena, Slot};
use super::backend::Backend;
use super::kdf::{Kdf, Label};
use super::polyval::{HashKey, length_block};
use crate::error::Result;
use crate::secret::{Secret, ct_eq};

/// Tags that are encrypted together.
pub(crate) const TAG_BATCH: usize = 16;

/// The MAC of units of ciphertext, under one data key.
pub(crate) struct UnitMac {
    hash: HashKey,
    encrypt: Aes256Enc,
    /// The key id as the first block of every message.
    key_id: [u8; 16],
}

impl UnitMac {
    /// `key` is the AES key, `h` the POLYVAL key.
    pub(crate) fn new(key: &[u8; 32], h: &[u8; 16], key_id: u64, backend: Backend) -> Self {
        UnitMac {
            hash: HashKey::new(h, backend),
            encrypt: Aes256Enc::new(key.into()),
            key_id: u128::from(key_id).to_le_bytes(),
        }
    }

    /// The tags of consecutive units of `unit_len` bytes, of which there are as many as `tags`;
    /// unit `i` has the tweak `first_tweak + i`.
    pub(crate) fn tags(
        &self,
        first_tweak: u128,
        units: &[u8],
        unit_len: usize,
        tags: &mut [[u8; 16]],
    ) {
        let mut blocks = [Block::default(); TAG_BATCH];
        let mut tweak = first_tweak;
        let batches = units.chunks(unit_len * TAG_BATCH).zip(tags.chunks_mut(TAG_BATCH));
        for (batch, tags) in batches {
            for (unit, block) in batch.chunks(unit_len).zip(&mut blocks) {
                block.0 = self.hash_unit(tweak, unit);
                tweak = tweak.wrapping_add(1);
            }
            let blocks = &mut blocks[..tags.len()];
            self.encrypt.encrypt_blocks(blocks);
            tags.iter_mut().zip(blocks).for_each(|(tag, block)| *tag = block.0);
        }
    }

    /// POLYVAL over key id, tweak, ciphertext and lengths.
    fn hash_unit(&self, tweak: u128, unit: &[u8]) -> [u8; 16] {
        let mut hash = self.hash.start();
        hash.update_padded(&self.key_id);
        hash.update_padded(&tweak.to_le_bytes());
        hash.update_padded(unit);
        hash.update_padded(&length_block(32, unit.len()));
        hash.finish()
    }
}

/// The MAC of file handles: 16 bytes over up to 64. Its key is random and sealed in the
/// superblock, so handles outlive every change of keys.
pub struct HandleMac {
    hash: HashKey,
    encrypt: Aes256Enc,
}

impl HandleMac {
    /// Derives the MAC's keys from the store's random handle-MAC key, in the arena.
    ///
    /// # Errors
    /// As [`KeyArena::place`].
    pub fn derive(
        arena: &Arc<KeyArena>,
        key: &Secret<32>,
        store_id: &[u8; 16],
    ) -> Result<Slot<HandleMac>> {
        let mut keys = Secret::<48>::zeroed();
        Kdf::new(key, store_id).expand(Label::HandleMac, &[], keys.expose_mut());
        let (aes, h) = keys.expose().split_first_chunk::<32>().unwrap_or_else(|| unreachable!());
        let h = h.try_into().unwrap_or_else(|_| unreachable!());
        arena.place(|| {
            let hash = HashKey::new(h, Backend::detect());
            Ok(HandleMac { hash, encrypt: Aes256Enc::new(aes.into()) })
        })
    }

    /// The MAC of a handle's other bytes.
    pub fn mac(&self, handle: &[u8]) -> [u8; 16] {
        let mut hash = self.hash.start();
        hash.update_padded(handle);
        hash.update_padded(&length_block(0, handle.len()));
        let mut block = Block::from(hash.finish());
        self.encrypt.encrypt_block(&mut block);
        block.0
    }

    /// Whether `mac` is the handle's; compared in constant time.
    pub fn verify(&self, handle: &[u8], mac: &[u8; 16]) -> bool {
        ct_eq(&self.mac(handle), mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle_mac(key: u8, store: u8) -> Slot<HandleMac> {
        let key = Secret::from_slice(&[key; 32]).unwrap();
        HandleMac::derive(&KeyArena::new().unwrap(), &key, &[store; 16]).unwrap()
    }

    #[test]
    fn handle_mac_sees_every_bit_and_the_length() {
        let mac = handle_mac(1, 1);
        let handle: Vec<u8> = (0..40).collect();
        let tag = mac.mac(&handle);
        assert!(mac.verify(&handle, &tag));
        for bit in 0..40 * 8 {
            let mut other = handle.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!mac.verify(&other, &tag), "bit {bit}");
        }
        for bit in 0..128 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!mac.verify(&handle, &other), "tag bit {bit}");
        }
        assert!(!mac.verify(&[&handle[..], &[0]].concat(), &tag));
        assert!(!mac.verify(&handle[..39], &tag));
        assert_ne!(mac.mac(&[]), mac.mac(&[0; 16]));
    }

    #[test]
    fn handle_mac_depends_on_key_and_store() {
        let tag = handle_mac(1, 1).mac(b"handle");
        assert!(!handle_mac(2, 1).verify(b"handle", &tag));
        assert!(!handle_mac(1, 2).verify(b"handle", &tag));
    }
}
