//! XTS-AES-256 on AVX-512: VAES for the rounds, VPCLMULQDQ for the tweaks.
//!
//! A stride is 32 blocks (512 bytes): eight registers of data, eight of tweaks, round keys
//! broadcast from the key. Rounds have a latency of four cycles and two can start in a cycle, so
//! eight are in flight; strides of different units do not depend on each other, so a unit of 512
//! bytes costs little more than a stride of a long one. For Intel from Ice Lake and AMD from
//! Zen 4.
//!
//! The tweak is xored into the first and last round keys instead of the data before and after, so
//! it stays off the latency chain. What a unit leaves after its last whole stride goes through a
//! padded copy: units are multiples of 512 bytes in practice.
#![allow(unsafe_code, reason = "calls AVX-512 functions with the token's proof")]

use std::arch::x86_64::*;

use cipher::consts::U512;
use cipher::inout::InOutBuf;

use super::TWEAK_BATCH;
use crate::cpu::Vaes512;
#[cfg(test)]
use crate::crypto::backend::{Backend, probe};
use crate::crypto::x86::{
    DecryptKeys, EncryptKeys, ROUND_KEYS, Scratch, Zmm8, broadcast, encrypt_lanes, from_u128,
    load_stride, store, store_stride,
};

/// The expanded keys of this kernel.
pub(in crate::crypto) struct Key {
    encrypt: EncryptKeys,
    decrypt: DecryptKeys,
    tweak: EncryptKeys,
    /// Proof that the processor has the instructions; nothing makes a key without it.
    _token: Vaes512,
}

impl Key {
    pub(super) fn new(token: Vaes512, k1: &[u8; 32], k2: &[u8; 32]) -> Self {
        let encrypt = EncryptKeys::new(token.aes_ni(), k1);
        let decrypt = DecryptKeys::new(token.aes_ni(), &encrypt);
        let tweak = EncryptKeys::new(token.aes_ni(), k2);
        Key { encrypt, decrypt, tweak, _token: token }
    }

    pub(in crate::crypto) fn encrypt_keys(&self) -> &[__m128i; ROUND_KEYS] {
        self.encrypt.keys()
    }

    pub(in crate::crypto) fn decrypt_keys(&self) -> &[__m128i; ROUND_KEYS] {
        self.decrypt.keys()
    }

    pub(in crate::crypto) fn encrypt_tweaks(
        &self,
        first: u128,
        out: &mut [u128; TWEAK_BATCH],
        count: usize,
    ) {
        // SAFETY: `_token` proves the instructions.
        unsafe { encrypt_tweaks(self.tweak.keys(), first, out, count) }
    }

    pub(super) fn encrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::Vaes512));
        // SAFETY: `_token` proves the instructions.
        unsafe { crypt_units::<true>(self.encrypt.keys(), data, unit_len, tweaks) }
    }

    pub(super) fn decrypt(&self, data: InOutBuf<'_, '_, u8>, unit_len: usize, tweaks: &[u128]) {
        #[cfg(test)]
        probe::hit(probe::Kernel::Xts(Backend::Vaes512));
        // SAFETY: `_token` proves the instructions.
        unsafe { crypt_units::<false>(self.decrypt.keys(), data, unit_len, tweaks) }
    }
}

/// Encrypts `count` tweaks from `first`, four in a register; the registers are independent, so
/// one latency chain covers them all.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn encrypt_tweaks(
    keys: &[__m128i; ROUND_KEYS],
    first: u128,
    out: &mut [u128; TWEAK_BATCH],
    count: usize,
) {
    let (groups, _) = out.as_chunks_mut::<4>();
    for (index, group) in groups.iter_mut().take(count.div_ceil(4)).enumerate() {
        let at = |lane: usize| first.wrapping_add((4 * index + lane) as u128);
        let [a, b, c, d] = [at(0), at(1), at(2), at(3)].map(|t| [t as i64, (t >> 64) as i64]);
        let plain = _mm512_set_epi64(d[1], d[0], c[1], c[0], b[1], b[0], a[1], a[0]);
        let bytes = zerocopy::IntoBytes::as_mut_bytes(group);
        store(bytes, 0, encrypt_lanes(keys, plain));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
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
        let mut lanes = first_lanes(tweak);
        let (strides, tail) = unit.into_chunks::<U512>();
        for mut stride in strides {
            let done = crypt_stride::<ENCRYPT>(keys, &load_stride(&stride.get_in().0), &lanes);
            store_stride(&mut stride.get_out().0, &done);
            lanes = next_lanes(&lanes);
        }
        if !tail.is_empty() {
            crypt_tail::<ENCRYPT>(keys, tail, &lanes);
        }
    }
}

/// The blocks after the last whole stride, through a padded copy that is wiped.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn crypt_tail<const ENCRYPT: bool>(
    keys: &[__m128i; ROUND_KEYS],
    mut tail: InOutBuf<'_, '_, u8>,
    lanes: &Zmm8,
) {
    let mut padded = Scratch::new(tail.get_in());
    let done = crypt_stride::<ENCRYPT>(keys, &load_stride(padded.bytes()), lanes);
    store_stride(padded.bytes(), &done);
    let len = tail.len();
    tail.get_out().copy_from_slice(&padded.bytes()[..len]);
}

/// A stride of data with the tweaks of its 32 blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
pub(in crate::crypto) fn crypt_stride<const ENCRYPT: bool>(
    keys: &[__m128i; ROUND_KEYS],
    data: &Zmm8,
    lanes: &Zmm8,
) -> Zmm8 {
    let first = broadcast(keys[0]);
    let last = broadcast(keys[ROUND_KEYS - 1]);
    let mut state = *data;
    for (block, &lane) in state.iter_mut().zip(lanes) {
        // 0x96 is the three-way xor.
        *block = _mm512_ternarylogic_epi64::<0x96>(*block, lane, first);
    }
    for &key in &keys[1..ROUND_KEYS - 1] {
        let key = broadcast(key);
        for block in &mut state {
            *block = if ENCRYPT {
                _mm512_aesenc_epi128(*block, key)
            } else {
                _mm512_aesdec_epi128(*block, key)
            };
        }
    }
    for (block, &lane) in state.iter_mut().zip(lanes) {
        let key = _mm512_xor_si512(last, lane);
        *block = if ENCRYPT {
            _mm512_aesenclast_epi128(*block, key)
        } else {
            _mm512_aesdeclast_epi128(*block, key)
        };
    }
    state
}

/// The tweaks of the first 32 blocks of a unit: its encrypted tweak times x^0 to x^31.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
pub(in crate::crypto) fn first_lanes(tweak: u128) -> Zmm8 {
    let all = broadcast(from_u128(tweak));
    let a = mul_bits(all, _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0));
    let b = mul_bits(all, _mm512_set_epi64(7, 7, 6, 6, 5, 5, 4, 4));
    [
        a,
        b,
        mul_bytes::<1, 15>(a),
        mul_bytes::<1, 15>(b),
        mul_bytes::<2, 14>(a),
        mul_bytes::<2, 14>(b),
        mul_bytes::<3, 13>(a),
        mul_bytes::<3, 13>(b),
    ]
}

/// All tweaks times x^32: the next stride's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
pub(in crate::crypto) fn next_lanes(lanes: &Zmm8) -> Zmm8 {
    // Written out: as a loop it would be kept in memory.
    let [a, b, c, d, e, f, g, h] = *lanes;
    [
        mul_bytes::<4, 12>(a),
        mul_bytes::<4, 12>(b),
        mul_bytes::<4, 12>(c),
        mul_bytes::<4, 12>(d),
        mul_bytes::<4, 12>(e),
        mul_bytes::<4, 12>(f),
        mul_bytes::<4, 12>(g),
        mul_bytes::<4, 12>(h),
    ]
}

/// Each lane times x^bits, where both halves of a lane hold the same count from 0 to 7.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn mul_bits(lanes: __m512i, bits: __m512i) -> __m512i {
    let carries = _mm512_srlv_epi64(lanes, _mm512_sub_epi64(_mm512_set1_epi64(64), bits));
    // The low half's carry enters the high half; the high half's leaves the lane and is folded.
    let up = _mm512_bslli_epi128::<8>(carries);
    let fold = _mm512_clmulepi64_epi128::<0x01>(carries, polynomial());
    _mm512_ternarylogic_epi64::<0x96>(_mm512_sllv_epi64(lanes, bits), up, fold)
}

/// Each lane times x^(8 `UP`), where `UP + DOWN` is 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq")]
fn mul_bytes<const UP: i32, const DOWN: i32>(lanes: __m512i) -> __m512i {
    let fold = _mm512_clmulepi64_epi128::<0x00>(_mm512_bsrli_epi128::<DOWN>(lanes), polynomial());
    _mm512_xor_si512(_mm512_bslli_epi128::<UP>(lanes), fold)
}

/// x^7 + x^2 + x + 1, which x^128 is congruent to (IEEE 1619-2018, section 5.2), in each lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn polynomial() -> __m512i {
    _mm512_broadcast_i32x4(_mm_set_epi64x(0, 0x87))
}
