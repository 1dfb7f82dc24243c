//! Flipped bytes.

use efscrypt::device::MemoryDevice;

use crate::questions::{Outcome, examine};
use crate::sample::sample;
use crate::scene::{LOG, SLOT, Scene, UNIT, closed};

/// Where bytes are flipped: in all that was written, and denser where headers are.
fn places(scene: &Scene, region: std::ops::Range<usize>, most: usize) -> Vec<usize> {
    let blocks = scene.blocks(UNIT).into_iter().filter(|at| region.contains(at));
    let (mut heads, mut all) = (Vec::new(), Vec::new());
    for block in blocks {
        all.extend(block..block + UNIT);
        heads.extend(block..block + 128);
    }
    let mut places = sample(all, most / 2, region.start as u64);
    places.extend(sample(heads, most / 2, region.start as u64 + 1));
    places
}

/// Flips one byte at each place and looks what is left of the store. Returns how often it was
/// whole, in part, and refused.
fn flip(scene: &Scene, places: &[usize]) -> [usize; 3] {
    let base = MemoryDevice::from_bytes(&scene.image);
    let mut seen = [0; 3];
    for (n, &at) in places.iter().enumerate() {
        let flipped = [scene.image[at] ^ 1 << (at % 8)];
        let device = scene.with(&base, &[(at, &flipped)]);
        let what = format!("byte {at} flipped");
        seen[match examine(device, !n.is_multiple_of(8), scene.truth(), &what) {
            Outcome::State(_) => 0,
            Outcome::Part => 1,
            Outcome::Refused => 2,
        }] += 1;
    }
    seen
}

#[test]
fn a_flipped_byte_in_the_superblock_costs_nothing() {
    let scene = closed();
    // Each superblock stands in two places, so one flipped byte never closes a store.
    let places = places(&scene, 0..LOG, 400);
    let [whole, ..] = flip(&scene, &places);
    assert_eq!(whole, places.len());
}

#[test]
fn a_flipped_byte_anywhere_else_is_an_error_or_nothing() {
    let scene = closed();
    let places = places(&scene, LOG..scene.image.len(), 1000);
    let [whole, part, refused] = flip(&scene, &places);
    assert!(whole > 0 && part > 0 && refused > 0, "{whole} whole, {part} in part, {refused} not");
}

#[test]
fn a_superblock_with_a_fitting_checksum_is_not_believed() {
    let scene = closed();
    let base = MemoryDevice::from_bytes(&scene.image);
    let [_, first] = scene.newest_slots();
    let (clear, body) = (0..8576, 9216..14_040);
    let mut places = sample(clear.collect(), 80, 1);
    places.extend(sample(body.collect(), 40, 2));
    for (n, at) in places.into_iter().enumerate() {
        let mut slot = scene.image[first..first + SLOT].to_vec();
        slot[at] ^= 1 << (n % 8);
        slot[124..128].fill(0);
        let crc = crc32fast::hash(&slot);
        slot[124..128].copy_from_slice(&crc.to_le_bytes());
        let device = scene.with(&base, &[(first, &slot)]);
        let what = format!("byte {at} of the newest superblock forged");
        let outcome = examine(device, !n.is_multiple_of(8), scene.truth(), &what);
        assert!(matches!(outcome, Outcome::State(_)), "{what}: its twin does not serve");
    }
}
