//! Units in one pass on AVX-512: XTS and the hash of the MAC beside each other.
//!
//! AES rounds and carry-less multiplications run on different parts of the processor, so a pass
//! that does both costs little more than the slower one. Sealing hashes each stride of ciphertext
//! while it is in registers. Opening must not decrypt what is not verified, so it decrypts a group
//! of units that was verified while it hashes the next group. The last step of a MAC is one block
//! of AES, which takes long and can do others meanwhile: hence groups.
#![allow(unsafe_code, reason = "calls AVX-512 functions with the keys' tokens as proof")]

use std::arch::x86_64::*;

#[cfg(test)]
use super::backend::{Backend, probe};
use super::polyval::clmul512::{Powers, lane, lane_0};
use super::x86::{Zmm8, load_stride, store_stride};
use super::xts::TWEAK_BATCH;
use super::xts::vaes512::{Key, crypt_stride, first_lanes, next_lanes};
use crate::limits::UNIT;

/// Bytes of a stride.
const STRIDE: usize = 512;
/// Units that are verified together: two groups fit in the smallest cache.
const GROUP: usize = 4;

const _: () = assert!(TWEAK_BATCH.is_multiple_of(GROUP));

/// What both directions need: the two keys, and the blocks around the ciphertext in every hash.
pub(super) struct UnitPass<'a> {
    pub(super) xts: &'a Key,
    pub(super) powers: &'a Powers,
    pub(super) key_id: u128,
    pub(super) lengths: u128,
}

impl UnitPass<'_> {
    /// Encrypts whole units, at most [`TWEAK_BATCH`], and writes the hash of each.
    pub(super) fn seal(&self, first: u128, plain: &[u8], cipher: &mut [u8], out: &mut [[u8; 16]]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Unit(Backend::Vaes512));
        // SAFETY: a key of either kind is made only with the token of these instructions.
        unsafe { self.seal_all(first, plain, cipher, out) }
    }

    /// Decrypts whole units, each after `verify` accepted its hash; otherwise its error.
    /// It is given some hashes, and the index of the first.
    pub(super) fn open(
        &self,
        first: u128,
        buf: &mut [u8],
        verify: impl FnMut(usize, &mut [[u8; 16]]) -> Result<(), usize>,
    ) -> Result<(), usize> {
        #[cfg(test)]
        probe::hit(probe::Kernel::Unit(Backend::Vaes512));
        // SAFETY: a key of either kind is made only with the token of these instructions.
        unsafe { self.open_all(first, buf, verify) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn seal_all(&self, first: u128, plain: &[u8], cipher: &mut [u8], out: &mut [[u8; 16]]) {
        let (plain, _) = plain.as_chunks::<UNIT>();
        let (cipher, _) = cipher.as_chunks_mut::<UNIT>();
        let mut tweaks = [0u128; TWEAK_BATCH];
        self.xts.encrypt_tweaks(first, &mut tweaks, plain.len());
        let units = plain.iter().zip(cipher).zip(out);
        for (index, ((plain, cipher), hash)) in units.enumerate() {
            let mut lanes = first_lanes(tweaks[index]);
            let mut sum = self.start(first, index);
            let strides = plain.as_chunks::<STRIDE>().0.iter();
            for (plain, cipher) in strides.zip(cipher.as_chunks_mut::<STRIDE>().0) {
                let keys = self.xts.encrypt_keys();
                let sealed = crypt_stride::<true>(keys, &load_stride(plain), &lanes);
                store_stride(cipher, &sealed);
                sum = self.powers.absorb_stride(sum, &sealed);
                lanes = next_lanes(&lanes);
            }
            *hash = self.finish(sum);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn open_all(
        &self,
        first: u128,
        buf: &mut [u8],
        mut verify: impl FnMut(usize, &mut [[u8; 16]]) -> Result<(), usize>,
    ) -> Result<(), usize> {
        let (units, _) = buf.as_chunks_mut::<UNIT>();
        let mut tweaks = [0u128; TWEAK_BATCH];
        let mut hashes = [[0u8; 16]; GROUP];
        for (index, (unit, hash)) in units.iter().zip(&mut hashes).enumerate() {
            *hash = self.hash_unit(self.start(first, index), unit);
        }
        for group in (0..units.len()).step_by(GROUP) {
            let verified = group..units.len().min(group + GROUP);
            verify(group, &mut hashes[..verified.len()])?;
            if group.is_multiple_of(TWEAK_BATCH) {
                let count = TWEAK_BATCH.min(units.len() - group);
                self.xts.encrypt_tweaks(first.wrapping_add(group as u128), &mut tweaks, count);
            }
            for (index, hash) in verified.zip(&mut hashes) {
                let (lanes, next) = (first_lanes(tweaks[index % TWEAK_BATCH]), index + GROUP);
                match units.get_disjoint_mut([index, next]) {
                    Ok([unit, next_unit]) => {
                        let start = self.start(first, next);
                        *hash = self.decrypt_and_hash(unit, lanes, next_unit, start);
                    }
                    Err(_) => self.decrypt_unit(&mut units[index], lanes),
                }
            }
        }
        Ok(())
    }

    /// Decrypts a verified unit and hashes one of the next group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn decrypt_and_hash(
        &self,
        verified: &mut [u8; UNIT],
        mut lanes: Zmm8,
        next: &[u8; UNIT],
        mut sum: __m512i,
    ) -> [u8; 16] {
        let strides = verified.as_chunks_mut::<STRIDE>().0.iter_mut();
        for (stride, next) in strides.zip(next.as_chunks::<STRIDE>().0) {
            sum = self.powers.absorb_stride(sum, &load_stride(next));
            let keys = self.xts.decrypt_keys();
            let opened = crypt_stride::<false>(keys, &load_stride(stride), &lanes);
            store_stride(stride, &opened);
            lanes = next_lanes(&lanes);
        }
        self.finish(sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn decrypt_unit(&self, unit: &mut [u8; UNIT], mut lanes: Zmm8) {
        for stride in unit.as_chunks_mut::<STRIDE>().0 {
            let keys = self.xts.decrypt_keys();
            let opened = crypt_stride::<false>(keys, &load_stride(stride), &lanes);
            store_stride(stride, &opened);
            lanes = next_lanes(&lanes);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn hash_unit(&self, mut sum: __m512i, unit: &[u8; UNIT]) -> [u8; 16] {
        for stride in unit.as_chunks::<STRIDE>().0 {
            sum = self.powers.absorb_stride(sum, &load_stride(stride));
        }
        self.finish(sum)
    }

    /// The hash of what precedes the ciphertext of unit `index`: key id and tweak.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn start(&self, first: u128, index: usize) -> __m512i {
        let sum = self.powers.absorb_block(_mm512_setzero_si512(), lane(self.key_id));
        self.powers.absorb_block(sum, lane(first.wrapping_add(index as u128)))
    }

    /// The hash, with what follows the ciphertext: the lengths.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn finish(&self, sum: __m512i) -> [u8; 16] {
        lane_0(self.powers.absorb_block(sum, lane(self.lengths))).to_le_bytes()
    }
}
