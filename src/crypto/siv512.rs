//! AES-256-GCM-SIV (RFC 8452) on AVX-512: counter mode with VAES over the POLYVAL kernel.
//!
//! Every message has keys of its own, derived from its nonce; deriving them and the powers of its
//! hash key is most of the cost of a short message, and none of a long one's. Opening decrypts and
//! hashes in one pass, since the hash is of the plaintext; the caller wipes the buffer when the
//! tag is wrong.
#![allow(unsafe_code, reason = "calls AVX-512 functions with the token's proof")]

use std::arch::x86_64::*;

use zeroize::Zeroize;

#[cfg(test)]
use super::backend::{Backend, probe};
use super::polyval::clmul512::{Powers, lane, lane_0};
use super::polyval::length_block;
use super::x86::{
    EncryptKeys, ROUND_KEYS, Scratch, Zmm8, broadcast, encrypt_blocks, encrypt_stride, from_u128,
    load_stride, store_stride, xor_stride,
};
use crate::cpu::Vaes512;
use crate::secret::ct_eq;

/// Bytes of a stride.
const STRIDE: usize = 512;

/// The key-generating key. Zeroized on drop.
pub(super) struct Key {
    keys: EncryptKeys,
    token: Vaes512,
}

impl Key {
    pub(super) fn new(token: Vaes512, key: &[u8; 32]) -> Self {
        Key { keys: EncryptKeys::new(token.aes_ni(), key), token }
    }

    /// Encrypts `buf` in place and returns the tag.
    pub(super) fn seal(&self, nonce: &[u8; 12], aad: &[u8], buf: &mut [u8]) -> [u8; 16] {
        #[cfg(test)]
        probe::hit(probe::Kernel::Seal(Backend::Vaes512));
        let message = self.message(nonce);
        let mut sum = message.hash.update_padded(0, aad);
        sum = message.hash.update_padded(sum, buf);
        let tag = message.tag(sum, nonce, aad.len(), buf.len());
        // SAFETY: `token` proves the instructions.
        unsafe { apply_keystream(message.encrypt.keys(), &tag, buf) };
        tag
    }

    /// Decrypts `buf` in place and says whether `tag` is right; if not, `buf` holds what must not
    /// be shown to anyone.
    #[must_use]
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buf: &mut [u8],
        tag: &[u8; 16],
    ) -> bool {
        #[cfg(test)]
        probe::hit(probe::Kernel::Seal(Backend::Vaes512));
        let message = self.message(nonce);
        let sum = message.hash.update_padded(0, aad);
        // SAFETY: `token` proves the instructions.
        let sum = unsafe { message.decrypt_and_hash(sum, tag, buf) };
        ct_eq(&message.tag(sum, nonce, aad.len(), buf.len()), tag)
    }

    /// The keys of the message with this nonce (RFC 8452, section 4).
    fn message(&self, nonce: &[u8; 12]) -> Message {
        let mut blocks = [[0u8; 16]; 6];
        for (counter, block) in (0u32..).zip(&mut blocks) {
            block[..4].copy_from_slice(&counter.to_le_bytes());
            block[4..].copy_from_slice(nonce);
        }
        encrypt_blocks(self.token.aes_ni(), &self.keys, &mut blocks);
        let (mut h, mut key) = ([0u8; 16], [0u8; 32]);
        let halves = h.chunks_exact_mut(8).chain(key.chunks_exact_mut(8));
        halves.zip(&blocks).for_each(|(half, block)| half.copy_from_slice(&block[..8]));
        let message = Message {
            hash: Powers::new(self.token, &h),
            encrypt: EncryptKeys::new(self.token.aes_ni(), &key),
            token: self.token,
        };
        blocks.zeroize();
        h.zeroize();
        key.zeroize();
        message
    }
}

/// The keys of one message. Zeroized on drop.
struct Message {
    hash: Powers,
    encrypt: EncryptKeys,
    token: Vaes512,
}

impl Message {
    /// The tag, from the hash of associated data and plaintext.
    fn tag(&self, sum: u128, nonce: &[u8; 12], aad_len: usize, text_len: usize) -> [u8; 16] {
        let sum = self.hash.update_padded(sum, &length_block(aad_len, text_len));
        let mut tag = [sum.to_le_bytes()];
        tag[0].iter_mut().zip(nonce).for_each(|(byte, nonce)| *byte ^= nonce);
        tag[0][15] &= 0x7f;
        encrypt_blocks(self.token.aes_ni(), &self.encrypt, &mut tag);
        tag[0]
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
    fn decrypt_and_hash(&self, sum: u128, tag: &[u8; 16], buf: &mut [u8]) -> u128 {
        let mut sum = lane(sum);
        let mut counters = first_counters(tag);
        let (strides, tail) = buf.as_chunks_mut::<STRIDE>();
        for stride in strides {
            let keystream = encrypt_stride(self.encrypt.keys(), &counters);
            let plain = xor_stride(&load_stride(stride), &keystream);
            store_stride(stride, &plain);
            sum = self.hash.absorb_stride(sum, &plain);
            counters = next_counters(&counters);
        }
        xor_tail(self.encrypt.keys(), &counters, tail);
        self.hash.update_padded(lane_0(sum), tail)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn apply_keystream(keys: &[__m128i; ROUND_KEYS], tag: &[u8; 16], buf: &mut [u8]) {
    let mut counters = first_counters(tag);
    let (strides, tail) = buf.as_chunks_mut::<STRIDE>();
    for stride in strides {
        let keystream = encrypt_stride(keys, &counters);
        store_stride(stride, &xor_stride(&load_stride(stride), &keystream));
        counters = next_counters(&counters);
    }
    xor_tail(keys, &counters, tail);
}

/// What is left after the whole strides.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn xor_tail(keys: &[__m128i; ROUND_KEYS], counters: &Zmm8, tail: &mut [u8]) {
    if tail.is_empty() {
        return;
    }
    let mut keystream = Scratch::new(&[]);
    store_stride(keystream.bytes(), &encrypt_stride(keys, counters));
    tail.iter_mut().zip(keystream.bytes()).for_each(|(byte, key)| *byte ^= *key);
}

/// The first 32 counter blocks: the tag with its top bit set, plus 0 to 31 in the first four
/// bytes, which wrap by themselves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn first_counters(tag: &[u8; 16]) -> Zmm8 {
    let start = u128::from_le_bytes(*tag) | 1 << 127;
    let ascending = _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0);
    let a = _mm512_add_epi32(broadcast(from_u128(start)), ascending);
    [a, plus(a, 4), plus(a, 8), plus(a, 12), plus(a, 16), plus(a, 20), plus(a, 24), plus(a, 28)]
}

/// The next 32 counter blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn next_counters(counters: &Zmm8) -> Zmm8 {
    let [a, b, c, d, e, f, g, h] = *counters;
    [
        plus(a, 32),
        plus(b, 32),
        plus(c, 32),
        plus(d, 32),
        plus(e, 32),
        plus(f, 32),
        plus(g, 32),
        plus(h, 32),
    ]
}

/// Each lane's counter plus `count`, modulo 2^32.
#[inline]
#[target_feature(enable = "avx512f")]
fn plus(counters: __m512i, count: i32) -> __m512i {
    _mm512_add_epi32(counters, broadcast(_mm_set_epi32(0, 0, 0, count)))
}
