//! POLYVAL on AVX-512 with VPCLMULQDQ: 32 blocks (512 bytes) between reductions.
//!
//! A stride is the sum of eight vector products with 32 descending powers of the key; Karatsuba's
//! method makes three carry-less multiplications of four, and those are what bounds the kernel.
//! Reduction is Montgomery's: POLYVAL's product carries a factor x^-128, so the low half is folded
//! upwards twice. Everything works on four lanes at once, single products too: one set of
//! functions. For Intel from Ice Lake and AMD from Zen 4.
#![allow(unsafe_code, reason = "calls AVX-512 functions with the token's proof")]

use std::arch::x86_64::*;

use zerocopy::IntoBytes;
use zeroize::Zeroize;

use crate::cpu::Vaes512;
use crate::crypto::x86::{Zmm8, from_u128, load, load_partial, load_stride, store, to_u128};

/// Bytes of one stride.
const STRIDE: usize = 512;
/// Powers in the table, and blocks in a stride.
const POWERS: usize = 32;
/// Zeros after the last power, so that a partial vector multiplies nothing by them.
const PADDED: usize = POWERS + 4;

/// The powers of a POLYVAL key. Zeroized on drop.
pub(in crate::crypto) struct Powers {
    /// H^32 down to H, then zeros.
    h: [u128; PADDED],
    /// Of each power, the sum of its halves, in the low half.
    halves: [u128; PADDED],
    /// Proof that the processor has the instructions; nothing makes a key without it.
    _token: Vaes512,
}

impl Powers {
    pub(in crate::crypto) fn new(token: Vaes512, h: &[u8; 16]) -> Self {
        let mut powers = Powers { h: [0; PADDED], halves: [0; PADDED], _token: token };
        // SAFETY: the token proves the instructions.
        unsafe { powers.fill(u128::from_le_bytes(*h)) };
        powers
    }

    /// The hash of `data`, padded with zeros to whole blocks, after what `sum` holds.
    pub(in crate::crypto) fn update_padded(&self, sum: u128, data: &[u8]) -> u128 {
        // SAFETY: `_token` proves the instructions.
        unsafe { self.update(sum, data) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn fill(&mut self, h: u128) {
        let one = lane(h);
        let two = mul(one, one);
        // Lanes in memory order: the highest power first.
        let low = _mm512_inserti64x2::<3>(_mm512_setzero_si512(), _mm512_castsi512_si128(one));
        let low = _mm512_inserti64x2::<2>(low, _mm512_castsi512_si128(two));
        let pair = _mm512_shuffle_i64x2::<0b11_10_11_10>(low, low);
        let twice = _mm512_maskz_shuffle_i64x2::<0>(0x0f, two, two);
        let first = _mm512_or_si512(low, mul(twice, pair));
        // By squaring, so that five products follow one another, not ten.
        let fourth = _mm512_shuffle_i64x2::<0>(first, first);
        let (second, eighth) = (mul(first, fourth), mul(fourth, fourth));
        let (third, fourth) = (mul(first, eighth), mul(second, eighth));
        let sixteenth = mul(eighth, eighth);
        let near = [first, second, third, fourth];
        for (index, &vector) in near.iter().enumerate() {
            self.keep(POWERS - 4 * (index + 1), vector);
            self.keep(POWERS - 4 * (index + 5), mul(vector, sixteenth));
        }
    }

    /// Keeps four powers, the first of them at `at`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn keep(&mut self, at: usize, powers: __m512i) {
        store(self.h.as_mut_bytes(), 16 * at, powers);
        let sums = _mm512_xor_si512(powers, swap(powers));
        store(self.halves.as_mut_bytes(), 16 * at, _mm512_maskz_mov_epi64(0x55, sums));
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn update(&self, sum: u128, data: &[u8]) -> u128 {
        let mut sum = lane(sum);
        let (strides, tail) = data.as_chunks::<STRIDE>();
        for stride in strides {
            sum = self.absorb_stride(sum, &load_stride(stride));
        }
        lane_0(self.absorb_tail(sum, tail))
    }

    /// Absorbs 32 blocks; `sum` is in lane 0, and lanes 1 to 3 are zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    pub(in crate::crypto) fn absorb_stride(&self, sum: __m512i, data: &Zmm8) -> __m512i {
        // What came before is in the first vector, which is added last: its latency then runs
        // beside the other products.
        let mut total = self.product_at(data[1], 4);
        total = total.plus(self.product_at(data[2], 8));
        total = total.plus(self.product_at(data[3], 12));
        total = total.plus(self.product_at(data[4], 16));
        total = total.plus(self.product_at(data[5], 20));
        total = total.plus(self.product_at(data[6], 24));
        total = total.plus(self.product_at(data[7], 28));
        total = total.plus(self.product_at(_mm512_xor_si512(data[0], sum), 0));
        sum_lanes(total.reduce())
    }

    /// Absorbs less than a stride, padded with zeros to whole blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn absorb_tail(&self, sum: __m512i, tail: &[u8]) -> __m512i {
        if tail.is_empty() {
            return sum;
        }
        let first = POWERS - tail.len().div_ceil(16);
        let mut carry = sum;
        let mut total = Product::zero();
        for (index, group) in tail.chunks(64).enumerate() {
            let data = _mm512_xor_si512(load_partial(group), carry);
            total = total.plus(self.product_at(data, first + 4 * index));
            carry = _mm512_setzero_si512();
        }
        sum_lanes(total.reduce())
    }

    /// The product of four blocks with the four powers at `at`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    fn product_at(&self, data: __m512i, at: usize) -> Product {
        let h = load(self.h.as_bytes(), 16 * at);
        let halves = load(self.halves.as_bytes(), 16 * at);
        Product {
            low: _mm512_clmulepi64_epi128::<0x00>(data, h),
            high: _mm512_clmulepi64_epi128::<0x11>(data, h),
            middle: _mm512_clmulepi64_epi128::<0x00>(_mm512_xor_si512(data, swap(data)), halves),
        }
    }

    /// `sum` plus `block`, times H: absorbs one block that is in lane 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vpclmulqdq")]
    pub(in crate::crypto) fn absorb_block(&self, sum: __m512i, block: __m512i) -> __m512i {
        self.product_at(_mm512_xor_si512(sum, block), POWERS - 1).reduce()
    }
}

impl Drop for Powers {
    fn drop(&mut self) {
        self.h.zeroize();
        self.halves.zeroize();
    }
}

/// An unreduced product in each lane, as Karatsuba's three parts.
#[derive(Clone, Copy)]
struct Product {
    low: __m512i,
    high: __m512i,
    /// The product of the sums of halves: the middle part once `low` and `high` are taken off.
    middle: __m512i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Product { low: zero, high: zero, middle: zero }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn plus(self, other: Product) -> Product {
        Product {
            low: _mm512_xor_si512(self.low, other.low),
            high: _mm512_xor_si512(self.high, other.high),
            middle: _mm512_xor_si512(self.middle, other.middle),
        }
    }

    /// The 256-bit product times x^-128, modulo x^128 + x^127 + x^126 + x^121 + 1.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    fn reduce(self) -> __m512i {
        // 0x96 is the three-way xor.
        let middle = _mm512_ternarylogic_epi64::<0x96>(self.middle, self.low, self.high);
        let low = _mm512_xor_si512(self.low, _mm512_bslli_epi128::<8>(middle));
        let once = _mm512_xor_si512(swap(low), fold(low));
        let twice = _mm512_xor_si512(swap(once), fold(once));
        let high = _mm512_xor_si512(self.high, _mm512_bsrli_epi128::<8>(middle));
        _mm512_xor_si512(high, twice)
    }
}

/// Lane by lane, the POLYVAL product `a` times `b` times x^-128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
fn mul(a: __m512i, b: __m512i) -> __m512i {
    let (sums_a, sums_b) = (_mm512_xor_si512(a, swap(a)), _mm512_xor_si512(b, swap(b)));
    let product = Product {
        low: _mm512_clmulepi64_epi128::<0x00>(a, b),
        high: _mm512_clmulepi64_epi128::<0x11>(a, b),
        middle: _mm512_clmulepi64_epi128::<0x00>(sums_a, sums_b),
    };
    product.reduce()
}

/// The low half of each lane times x^63 + x^62 + x^57, which stands for its fold upwards.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold(lanes: __m512i) -> __m512i {
    let polynomial = _mm512_set1_epi64(0xc200_0000_0000_0000_u64.cast_signed());
    _mm512_clmulepi64_epi128::<0x00>(lanes, polynomial)
}

/// Each lane with its halves swapped.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap(lanes: __m512i) -> __m512i {
    _mm512_shuffle_epi32::<0x4e>(lanes)
}

/// The sum of the lanes in lane 0, the others zero.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn sum_lanes(lanes: __m512i) -> __m512i {
    let pairs = _mm512_xor_si512(lanes, _mm512_shuffle_i64x2::<0b01_00_11_10>(lanes, lanes));
    let swapped = _mm512_shuffle_i64x2::<0b10_11_00_01>(pairs, pairs);
    _mm512_maskz_xor_epi64(0x03, pairs, swapped)
}

/// A block in lane 0, the others zero.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::crypto) fn lane(block: u128) -> __m512i {
    _mm512_zextsi128_si512(from_u128(block))
}

/// Lane 0.
#[inline]
#[target_feature(enable = "avx512f,sse4.1")]
pub(in crate::crypto) fn lane_0(lanes: __m512i) -> u128 {
    to_u128(_mm512_castsi512_si128(lanes))
}
