//! 128-bit loads, stores and AES rounds: one block in a register.
#![allow(unsafe_code, reason = "vector loads and stores go through pointers")]

use std::arch::x86_64::*;

use super::schedule::{EncryptKeys, ROUND_KEYS};
use crate::cpu::AesNi;

/// The 16 bytes at `at` of a slice.
#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn load_block(bytes: &[u8], at: usize) -> __m128i {
    let source = &bytes[at..at + 16];
    // SAFETY: the slice has 16 readable bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(source.as_ptr().cast()) }
}

/// Writes 16 bytes to `at` of a slice.
#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn store_block(bytes: &mut [u8], at: usize, value: __m128i) {
    let target = &mut bytes[at..at + 16];
    // SAFETY: the slice has 16 writable bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(target.as_mut_ptr().cast(), value) }
}

/// The little-endian block of a number.
#[inline]
#[target_feature(enable = "sse2")]
pub(crate) fn from_u128(block: u128) -> __m128i {
    _mm_set_epi64x((block >> 64) as i64, block as i64)
}

/// The number of a little-endian block.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(crate) fn to_u128(block: __m128i) -> u128 {
    let (low, high) = (_mm_cvtsi128_si64(block), _mm_extract_epi64::<1>(block));
    u128::from(high as u64) << 64 | u128::from(low as u64)
}

/// AES-256 encryption of one block.
#[inline]
#[target_feature(enable = "aes,sse2")]
pub(crate) fn encrypt_block(keys: &[__m128i; ROUND_KEYS], block: __m128i) -> __m128i {
    let mut state = _mm_xor_si128(block, keys[0]);
    for &key in &keys[1..ROUND_KEYS - 1] {
        state = _mm_aesenc_si128(state, key);
    }
    _mm_aesenclast_si128(state, keys[ROUND_KEYS - 1])
}

/// AES-256 encryption of blocks in place. The blocks are independent, so the processor overlaps
/// their latencies by itself.
pub(crate) fn encrypt_blocks(_: AesNi, keys: &EncryptKeys, blocks: &mut [[u8; 16]]) {
    #[target_feature(enable = "aes,sse2")]
    fn run(keys: &[__m128i; ROUND_KEYS], blocks: &mut [[u8; 16]]) {
        for block in blocks {
            let state = encrypt_block(keys, load_block(block, 0));
            store_block(block, 0, state);
        }
    }
    // SAFETY: the token proves AES-NI.
    unsafe { run(keys.keys(), blocks) }
}
