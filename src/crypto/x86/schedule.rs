//! AES-256 round keys (FIPS 197, section 5.2), expanded with AES-NI.
#![allow(unsafe_code, reason = "calls the expansion, which needs AES-NI, with the token's proof")]

use std::arch::x86_64::*;

use zeroize::Zeroize;

use crate::cpu::AesNi;

/// Round keys of AES-256, the initial one included.
pub(crate) const ROUND_KEYS: usize = 15;

/// Round keys for encryption. Zeroized on drop.
pub(crate) struct EncryptKeys([__m128i; ROUND_KEYS]);

/// Round keys for decryption by the equivalent inverse cipher, in the order of use. Zeroized on
/// drop.
pub(crate) struct DecryptKeys([__m128i; ROUND_KEYS]);

impl EncryptKeys {
    pub(crate) fn new(_: AesNi, key: &[u8; 32]) -> Self {
        // SAFETY: the token proves AES-NI.
        EncryptKeys(unsafe { expand(key) })
    }

    pub(crate) fn keys(&self) -> &[__m128i; ROUND_KEYS] {
        &self.0
    }
}

impl DecryptKeys {
    pub(crate) fn new(_: AesNi, keys: &EncryptKeys) -> Self {
        // SAFETY: the token proves AES-NI.
        DecryptKeys(unsafe { invert(&keys.0) })
    }

    pub(crate) fn keys(&self) -> &[__m128i; ROUND_KEYS] {
        &self.0
    }
}

impl Drop for EncryptKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for DecryptKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8; 32]) -> [__m128i; ROUND_KEYS] {
    let mut keys = [_mm_setzero_si128(); ROUND_KEYS];
    let (low, high) = key.split_at(16);
    keys[0] = word_block(low);
    keys[1] = word_block(high);
    even_key::<0x01>(&mut keys, 2);
    odd_key(&mut keys, 3);
    even_key::<0x02>(&mut keys, 4);
    odd_key(&mut keys, 5);
    even_key::<0x04>(&mut keys, 6);
    odd_key(&mut keys, 7);
    even_key::<0x08>(&mut keys, 8);
    odd_key(&mut keys, 9);
    even_key::<0x10>(&mut keys, 10);
    odd_key(&mut keys, 11);
    even_key::<0x20>(&mut keys, 12);
    odd_key(&mut keys, 13);
    even_key::<0x40>(&mut keys, 14);
    keys
}

#[target_feature(enable = "sse2")]
fn word_block(bytes: &[u8]) -> __m128i {
    let word = |at: usize| bytes[at..].iter().take(8).rev().fold(0i64, |w, &b| w << 8 | b as i64);
    _mm_set_epi64x(word(8), word(0))
}

/// Round key `at`, of even number: RotWord, SubWord and the round constant.
#[target_feature(enable = "aes,sse2")]
fn even_key<const RCON: i32>(keys: &mut [__m128i; ROUND_KEYS], at: usize) {
    let assist = _mm_aeskeygenassist_si128::<RCON>(keys[at - 1]);
    keys[at] = _mm_xor_si128(prefix_xor(keys[at - 2]), _mm_shuffle_epi32::<0xff>(assist));
}

/// Round key `at`, of odd number: SubWord alone.
#[target_feature(enable = "aes,sse2")]
fn odd_key(keys: &mut [__m128i; ROUND_KEYS], at: usize) {
    let assist = _mm_aeskeygenassist_si128::<0>(keys[at - 1]);
    keys[at] = _mm_xor_si128(prefix_xor(keys[at - 2]), _mm_shuffle_epi32::<0xaa>(assist));
}

/// Each 32-bit word xored with all words below it.
#[target_feature(enable = "sse2")]
fn prefix_xor(words: __m128i) -> __m128i {
    let pairs = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs))
}

#[target_feature(enable = "aes,sse2")]
fn invert(keys: &[__m128i; ROUND_KEYS]) -> [__m128i; ROUND_KEYS] {
    let mut inverse = *keys;
    inverse.reverse();
    for key in &mut inverse[1..ROUND_KEYS - 1] {
        *key = _mm_aesimc_si128(*key);
    }
    inverse
}
