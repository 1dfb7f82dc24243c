//! XTS-AES-256 on AES-NI: eight blocks (128 bytes) in flight.
//!
//! Sixteen vector registers hold eight states, the running tweak and what the rounds need; the
//! eight tweaks of a stride wait in memory. For processors without AVX-512: Intel from Westmere,
//! AMD from Bulldozer. Interleaving more blocks gains nothing where two rounds of latency four
//! can start in a cycle.
#![allow(unsafe_code, reason = "calls AES-NI functions with the token's proof")]

use std::arch::x86_64::*;

use cipher::array::{Array, ArraySize};
use cipher::consts::{U16, U128};
use cipher::inout::{InOut, InOutBuf};

use super::TWEAK_BATCH;
use crate::cpu::AesNi;
#[cfg(test)]
use crate::crypto::backend::{Backend, probe};
use crate::crypto::x86::{
    DecryptKeys, EncryptKeys, ROUND_KEYS, encrypt_block, from_u128, load_block, store_block,
    to_u128,
};

/// The expanded keys of this kernel.
pub(super) struct Key {
    encrypt: EncryptKeys,
    decrypt: DecryptKeys,
    tweak: EncryptKeys,
    /// Proof that the processor has the instructions; nothing makes a key without it.
    _token: AesNi,
}

impl Key {
    pub(super) fn new(token: AesNi, k1: &[u8; 32], k2: &[u8; 32]) -> Self {
        let encrypt = EncryptKeys::new(token, k1);
        let decrypt = DecryptKeys::new(token, &encrypt);
        Key { encrypt, decrypt, tweak: EncryptKeys::new(token, k2), _token: token }
    }

    pub(super) fn encrypt_tweaks(&self, first: u128, out: &mut [u128; TWEAK_BATCH], count: usize) {
        // SAFETY: `_token` proves the instructions.
        unsafe { encrypt_tweaks(self.tweak.keys(), first, out, count) }
    }

    pub(super) fn encrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::AesNi));
        // SAFETY: `_token` proves the instructions.
        unsafe { crypt_units::<true>(self.encrypt.keys(), data, unit_len, tweaks) }
    }

    pub(super) fn decrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::AesNi));
        // SAFETY: `_token` proves the instructions.
        unsafe { crypt_units::<false>(self.decrypt.keys(), data, unit_len, tweaks) }
    }
}

/// Encrypts `count` tweaks from `first`; they are independent, so one latency chain covers them.
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn encrypt_tweaks(
    keys: &[__m128i; ROUND_KEYS],
    first: u128,
    out: &mut [u128; TWEAK_BATCH],
    count: usize,
) {
    for (index, tweak) in out[..count].iter_mut().enumerate() {
        let plain = from_u128(first.wrapping_add(index as u128));
        *tweak = to_u128(encrypt_block(keys, plain));
    }
}

#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn crypt_units<const ENCRYPT: bool>(
    keys: &[__m128i; ROUND_KEYS],
    mut data: InOutBuf<'_, '_, u8>,
    unit_len: usize,
    tweaks: &[u128],
) {
    for &tweak in tweaks {
        let len = unit_len.min(data.len());
        let (unit, rest) = data.split_at(len);
        data = rest;
        let mut running = from_u128(tweak);
        let (strides, tail) = unit.into_chunks::<U128>();
        for stride in strides {
            running = crypt_blocks::<ENCRYPT, 8, _>(keys, stride, running);
        }
        for block in tail.into_chunks::<U16>().0 {
            running = crypt_blocks::<ENCRYPT, 1, _>(keys, block, running);
        }
    }
}

/// `N` blocks from the tweak `running`; returns the tweak after them.
#[inline]
#[target_feature(enable = "aes,pclmulqdq,ssse3,sse4.1")]
fn crypt_blocks<const ENCRYPT: bool, const N: usize, Bytes: ArraySize>(
    keys: &[__m128i; ROUND_KEYS],
    mut data: InOut<'_, '_, Array<u8, Bytes>>,
    mut running: __m128i,
) -> __m128i {
    let mut tweaks = [_mm_setzero_si128(); N];
    let mut state = [_mm_setzero_si128(); N];
    let source = data.get_in();
    for i in 0..N {
        tweaks[i] = running;
        let block = load_block(source, 16 * i);
        state[i] = _mm_xor_si128(_mm_xor_si128(block, running), keys[0]);
        running = double(running);
    }
    for &key in &keys[1..ROUND_KEYS - 1] {
        for block in &mut state {
            *block =
                if ENCRYPT { _mm_aesenc_si128(*block, key) } else { _mm_aesdec_si128(*block, key) };
        }
    }
    let target = data.get_out();
    for i in 0..N {
        let key = _mm_xor_si128(keys[ROUND_KEYS - 1], tweaks[i]);
        let block = if ENCRYPT {
            _mm_aesenclast_si128(state[i], key)
        } else {
            _mm_aesdeclast_si128(state[i], key)
        };
        store_block(target, 16 * i, block);
    }
    running
}

/// The tweak times x (IEEE 1619-2018, section 5.2).
#[inline]
#[target_feature(enable = "sse2")]
fn double(tweak: __m128i) -> __m128i {
    // The sign words of the top dword of each half, swapped: all ones where a carry leaves it.
    let signs = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0x13>(tweak));
    let carries = _mm_and_si128(signs, _mm_set_epi32(0, 1, 0, 0x87));
    _mm_xor_si128(_mm_add_epi64(tweak, tweak), carries)
}
