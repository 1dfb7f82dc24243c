//! Message authentication codes: AES-256 over POLYVAL.
//!
//! `tag = AES-256_K(POLYVAL_H(message | lengths))`: a universal hash, then a pseudorandom
//! permutation. It needs no nonce, so nothing can repeat one; messages of one kind have one form,
//! and the lengths are hashed with them. For units of 4 KiB, 2^44 tags under one key keep the
//! forger's advantage below 2^-32; a data key seals at most 2^28.

use std::sync::Arc;

use super::aes256::BlockKey;
use super::arena::{KeyArena, Slot};
use super::backend::Backend;
use super::kdf::{Kdf, Label};
use super::polyval::{HashKey, length_block};
use crate::error::{Error, Result};
use crate::secret::{Secret, ct_eq};

/// The MAC of units of ciphertext, under one data key.
pub(crate) struct UnitMac {
    hash: HashKey,
    encrypt: BlockKey,
    /// The key id as the first block of every message.
    key_id: u128,
}

impl UnitMac {
    /// `key` is the AES key, `h` the POLYVAL key.
    pub(crate) fn new(key: &[u8; 32], h: &[u8; 16], key_id: u64, backend: Backend) -> Result<Self> {
        let hash = HashKey::new(h, backend)?;
        Ok(UnitMac { hash, encrypt: BlockKey::new(key, backend)?, key_id: key_id.into() })
    }

    /// The hash of a unit's message: key id, tweak, ciphertext and lengths.
    pub(crate) fn hash_unit(&self, tweak: u128, unit: &[u8]) -> [u8; 16] {
        let (key_id, tweak) = (self.key_id.to_le_bytes(), tweak.to_le_bytes());
        self.hash.hash(&[&key_id, &tweak, unit, &UnitMac::lengths(unit.len())])
    }

    /// Turns hashes into tags.
    pub(crate) fn finish(&self, hashes: &mut [[u8; 16]]) {
        self.encrypt.encrypt(hashes);
    }

    /// The last block of the message of a unit.
    pub(crate) fn lengths(unit_len: usize) -> [u8; 16] {
        length_block(32, unit_len)
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn key_id(&self) -> u128 {
        self.key_id
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn hash_key(&self) -> &HashKey {
        &self.hash
    }
}

/// The MAC of file handles: 16 bytes over up to 64. Its key is random and sealed in the
/// superblock, so handles outlive every change of keys.
pub struct HandleMac {
    hash: HashKey,
    encrypt: BlockKey,
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
        arena.place(|| {
            let mut keys = Secret::<48>::zeroed();
            Kdf::new(key, store_id).expand(Label::HandleMac, &[], keys.expose_mut());
            let (Some(aes), Some(h)) = (keys.expose().first_chunk(), keys.expose().last_chunk())
            else {
                return Err(Error::Internal("48 bytes hold a key of 32 and one of 16"));
            };
            let backend = Backend::detect();
            let hash = HashKey::new(h, backend)?;
            Ok(HandleMac { hash, encrypt: BlockKey::new(aes, backend)? })
        })
    }

    /// The MAC of a handle's other bytes.
    pub fn mac(&self, handle: &[u8]) -> [u8; 16] {
        let mut tag = [self.hash.hash(&[handle, &length_block(0, handle.len())])];
        self.encrypt.encrypt(&mut tag);
        tag[0]
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
        let slot = handle_mac(1, 1);
        let mac = slot.get().unwrap();
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
        let tag = handle_mac(1, 1).get().unwrap().mac(b"handle");
        for other in [handle_mac(2, 1), handle_mac(1, 2)] {
            assert!(!other.get().unwrap().verify(b"handle", &tag));
        }
    }
}
