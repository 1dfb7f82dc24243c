//! The field of XTS tweaks, GF(2^128) modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619-2018, section
//! 5.2), on little-endian 128-bit integers. No branch and no address depends on the value.

/// `tweak` times x.
#[inline]
pub(super) fn double(tweak: u128) -> u128 {
    let carry = (tweak >> 127) as u64;
    (tweak << 1) ^ (carry.wrapping_neg() & 0x87) as u128
}

/// `tweak` times x^`blocks`: the tweak of the block that many later.
pub(super) fn advance(mut tweak: u128, mut blocks: usize) -> u128 {
    // A step of up to 64 shifts at most 64 bits out, and folding them back gives 71 bits, so one
    // fold reduces fully.
    while blocks > 0 {
        let step = blocks.min(64) as u32;
        let out = tweak >> (128 - step);
        tweak = (tweak << step) ^ out ^ (out << 1) ^ (out << 2) ^ (out << 7);
        blocks -= step as usize;
    }
    tweak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_is_repeated_doubling() {
        for start in [1u128, u128::MAX, 1 << 127, 0x0123_4567_89ab_cdef << 61] {
            let mut expected = start;
            for blocks in 0..300 {
                assert_eq!(advance(start, blocks), expected, "{blocks}");
                expected = double(expected);
            }
        }
    }

    #[test]
    fn doubling_folds_the_carry() {
        assert_eq!(double(1 << 127), 0x87);
        assert_eq!(double(u128::MAX), (u128::MAX << 1) ^ 0x87);
        assert_eq!(double(1 << 63), 1 << 64);
    }
}
