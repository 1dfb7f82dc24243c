//! 512-bit loads, stores and AES rounds: four blocks in a register, eight registers in flight.
#![allow(unsafe_code, reason = "vector loads and stores go through pointers")]

use std::arch::x86_64::*;

use zerocopy::transmute_mut;
use zeroize::Zeroize;

use super::schedule::ROUND_KEYS;

/// Eight registers, 32 blocks: enough independent rounds to cover the latency of one.
pub(crate) type Zmm8 = [__m512i; 8];

/// The 64 bytes at `at` of a slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(bytes: &[u8], at: usize) -> __m512i {
    let source = &bytes[at..at + 64];
    // SAFETY: the slice has 64 readable bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(source.as_ptr().cast()) }
}

/// Up to 64 bytes, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn load_partial(bytes: &[u8]) -> __m512i {
    let bytes = &bytes[..bytes.len().min(64)];
    let mask = if bytes.len() == 64 { u64::MAX } else { (1 << bytes.len()) - 1 };
    // SAFETY: the mask selects the bytes of the slice, and a masked load touches no others.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
}

/// Writes 64 bytes to `at` of a slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store(bytes: &mut [u8], at: usize, value: __m512i) {
    let target = &mut bytes[at..at + 64];
    // SAFETY: the slice has 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), value) }
}

/// A whole stride of 32 blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_stride(bytes: &[u8; 512]) -> Zmm8 {
    [
        load(bytes, 0),
        load(bytes, 64),
        load(bytes, 128),
        load(bytes, 192),
        load(bytes, 256),
        load(bytes, 320),
        load(bytes, 384),
        load(bytes, 448),
    ]
}

/// Writes a whole stride of 32 blocks.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_stride(bytes: &mut [u8; 512], stride: &Zmm8) {
    for (index, &vector) in stride.iter().enumerate() {
        store(bytes, 64 * index, vector);
    }
}

/// A stride on the stack, for data that fills none. Zeroized on drop, in words: byte by byte would
/// take longer than the cipher.
pub(crate) struct Scratch([u128; 32]);

impl Scratch {
    /// `data`, up to 512 bytes, and zeros after it.
    pub(crate) fn new(data: &[u8]) -> Self {
        let mut scratch = Scratch([0; 32]);
        scratch.bytes()[..data.len()].copy_from_slice(data);
        scratch
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8; 512] {
        transmute_mut!(&mut self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Two strides xored.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn xor_stride(a: &Zmm8, b: &Zmm8) -> Zmm8 {
    let mut out = *a;
    for (a, b) in out.iter_mut().zip(b) {
        *a = _mm512_xor_si512(*a, *b);
    }
    out
}

/// One block in all four lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn broadcast(block: __m128i) -> __m512i {
    _mm512_broadcast_i32x4(block)
}

/// AES-256 encryption of four blocks.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(crate) fn encrypt_lanes(keys: &[__m128i; ROUND_KEYS], blocks: __m512i) -> __m512i {
    let mut state = _mm512_xor_si512(blocks, broadcast(keys[0]));
    for &key in &keys[1..ROUND_KEYS - 1] {
        state = _mm512_aesenc_epi128(state, broadcast(key));
    }
    _mm512_aesenclast_epi128(state, broadcast(keys[ROUND_KEYS - 1]))
}

/// AES-256 encryption of 32 blocks.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(crate) fn encrypt_stride(keys: &[__m128i; ROUND_KEYS], blocks: &Zmm8) -> Zmm8 {
    let mut state = xor_stride(blocks, &[broadcast(keys[0]); 8]);
    for &key in &keys[1..ROUND_KEYS - 1] {
        let key = broadcast(key);
        for block in &mut state {
            *block = _mm512_aesenc_epi128(*block, key);
        }
    }
    let last = broadcast(keys[ROUND_KEYS - 1]);
    for block in &mut state {
        *block = _mm512_aesenclast_epi128(*block, last);
    }
    state
}
