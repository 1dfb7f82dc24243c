//! Changes by chance.

use efscrypt::device::sim::Rng;

use crate::change::Change;

/// A number or a byte somewhere in a page: in its head and slots, or in its cells.
pub fn of_page(rng: &mut Rng) -> Change {
    let at = if rng.one_in(3) { 64 + rng.below(400) } else { rng.below(16_384) };
    Change::new(at, &bytes(rng))
}

/// A number in a field of the superblock, or anything.
pub fn of_superblock(rng: &mut Rng) -> Change {
    match rng.one_in(2) {
        true => Change::new(rng.below(40) * 8, &number(rng).to_le_bytes()),
        false => anywhere(rng, 4608),
    }
}

/// A number or a byte somewhere.
pub fn anywhere(rng: &mut Rng, len: usize) -> Change {
    Change::new(rng.below(len as u64), &bytes(rng))
}

/// A number in either order, or a byte.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => number(rng).to_le_bytes().to_vec(),
        1 => number(rng).to_be_bytes().to_vec(),
        2 => (number(rng) as u32).to_le_bytes().to_vec(),
        _ => vec![rng.below(256) as u8],
    }
}

/// A number near an end of some range.
pub fn number(rng: &mut Rng) -> u64 {
    let bit = 1u64 << rng.below(64);
    match rng.below(5) {
        0 => rng.below(20),
        1 => u64::MAX - rng.below(3),
        2 => bit,
        3 => bit.wrapping_sub(1),
        _ => rng.below(5000),
    }
}
