//! The keyed hash of names in a directory: SipHash-2-4 (Aumasson and Bernstein, 2012) cut to 56
//! bits.
//!
//! The key is random and secret, so nobody who chooses names can choose their hashes. SipHash is
//! a pseudorandom function made for short inputs: no table, no secret-dependent branch, and
//! about 20 ns for a name.

use std::sync::Arc;

use zeroize::Zeroize;

use super::arena::{KeyArena, Slot};
use super::kdf::{Label, derive};
use crate::error::Result;
use crate::secret::Secret;

/// Bits of a name's hash.
pub const NAME_HASH_BITS: u32 = 56;

/// The expanded name-hash key of a store. Zeroized on drop.
pub struct NameHasher {
    key: [u64; 2],
}

impl NameHasher {
    /// Derives the hash's key from the store's random name-hash key, in the arena.
    ///
    /// # Errors
    /// As [`KeyArena::place`].
    pub fn derive(
        arena: &Arc<KeyArena>,
        key: &Secret<32>,
        store_id: &[u8; 16],
    ) -> Result<Slot<NameHasher>> {
        arena.place(|| {
            let mut halves = Secret::<16>::zeroed();
            derive(key, store_id, Label::NameHash, &[], halves.expose_mut());
            Ok(NameHasher::from_halves(halves.expose()))
        })
    }

    fn from_halves(bytes: &[u8; 16]) -> Self {
        let both = u128::from_le_bytes(*bytes);
        NameHasher { key: [both as u64, (both >> 64) as u64] }
    }

    /// The 56-bit hash of a name, below 2^56.
    pub fn hash56(&self, name: &[u8]) -> u64 {
        self.sip_2_4(name) >> (64 - NAME_HASH_BITS)
    }

    fn sip_2_4(&self, data: &[u8]) -> u64 {
        let [k0, k1] = self.key;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let (words, tail) = data.as_chunks::<8>();
        for word in words {
            absorb(&mut v, u64::from_le_bytes(*word));
        }
        let mut last = [0u8; 8];
        last[..tail.len()].copy_from_slice(tail);
        // The last word carries the length modulo 256 in its top byte.
        last[7] = data.len() as u8;
        absorb(&mut v, u64::from_le_bytes(last));
        v[2] ^= 0xff;
        (0..4).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

impl Drop for NameHasher {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[inline]
fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the vectors in the SipHash paper and its reference code.
    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn the_papers_vector() {
        let data: Vec<u8> = (0..15).collect();
        let hasher = NameHasher::from_halves(&KEY);
        assert_eq!(hasher.sip_2_4(&data), 0xa129_ca61_49be_45e5);
        assert_eq!(hasher.hash56(&data), 0x00a1_29ca_6149_be45);
    }

    #[test]
    #[allow(deprecated, reason = "the standard library's SipHash-2-4 is the oracle")]
    fn every_length_equals_the_standard_librarys() {
        use std::hash::{Hasher, SipHasher};
        let data: Vec<u8> = (0..=255).collect();
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let ours = NameHasher::from_halves(&KEY);
        for len in 0..=255 {
            let mut theirs = SipHasher::new_with_keys(k0, k1);
            theirs.write(&data[..len]);
            assert_eq!(ours.sip_2_4(&data[..len]), theirs.finish(), "length {len}");
        }
    }

    #[test]
    fn keys_and_stores_separate_hashes() {
        let arena = KeyArena::new().unwrap();
        let hash = |key, store| {
            let key = Secret::from_slice(&[key; 32]).unwrap();
            let hasher = NameHasher::derive(&arena, &key, &[store; 16]).unwrap();
            hasher.get().unwrap().hash56(b"name")
        };
        let (a, b, c) = (hash(1, 0), hash(2, 0), hash(1, 1));
        assert!(a != b && a != c && b != c);
        assert!(a < 1 << 56);
    }
}
