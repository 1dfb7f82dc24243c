//! Blocks and writes put back as they were, swapped, or taken from another store.

use efscrypt::device::MemoryDevice;

use crate::questions::{Answers, Outcome, examine};
use crate::sample::sample;
use crate::scene::{SLOT, Scene, UNIT, closed};

/// Puts bytes into the image and looks what is left of the store.
fn put(scene: &Scene, base: &MemoryDevice, changes: &[(usize, &[u8])], n: usize) -> Outcome {
    let places: Vec<usize> = changes.iter().map(|(at, _)| *at).collect();
    let what = format!("other bytes at {places:?}");
    examine(scene.with(base, changes), !n.is_multiple_of(8), allowed(scene, &places), &what)
}

/// What may be true after these places were changed: the last state alone. Only where the newest
/// superblock is gone from both its places the store may go back, as a whole: rollback is not
/// noticed without an anchor.
fn allowed<'a>(scene: &'a Scene, places: &[usize]) -> &'a [Answers] {
    let hit = |slot: usize| places.iter().any(|at| (slot..slot + SLOT).contains(at));
    match scene.newest_slots().into_iter().all(hit) {
        true => &scene.states,
        false => scene.truth(),
    }
}

#[test]
fn older_writes_put_back_are_an_error_or_nothing() {
    let scene = closed();
    let base = MemoryDevice::from_bytes(&scene.image);
    let older = scene.older();
    assert!(older.len() > 100, "{} older writes", older.len());
    let mut seen = [0; 2];
    for (n, change) in sample(older.clone(), 200, 1).into_iter().enumerate() {
        match put(&scene, &base, &[change], n) {
            Outcome::State(_) => seen[0] += 1,
            Outcome::Part | Outcome::Refused => seen[1] += 1,
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    let pairs = older.iter().enumerate();
    let pairs = pairs.flat_map(|(n, a)| older[n + 1..].iter().map(move |b| [*a, *b])).collect();
    for (n, pair) in sample(pairs, 200, 2).into_iter().enumerate() {
        put(&scene, &base, &pair, n);
    }
}

#[test]
fn older_versions_of_single_blocks_are_an_error_or_nothing() {
    let scene = closed();
    let base = MemoryDevice::from_bytes(&scene.image);
    let mut blocks = Vec::new();
    for (at, bytes) in scene.older() {
        let parts = (at..).step_by(UNIT).zip(bytes.chunks_exact(UNIT));
        blocks.extend(parts.filter(|(at, part)| scene.image[*at..at + UNIT] != **part));
    }
    for (n, change) in sample(blocks, 250, 3).into_iter().enumerate() {
        put(&scene, &base, &[change], n);
    }
}

#[test]
fn without_the_newest_superblock_a_store_goes_back_as_a_whole_or_not_at_all() {
    let scene = closed();
    let base = MemoryDevice::from_bytes(&scene.image);
    let zeros = vec![0; SLOT];
    let [one, two] = scene.newest_slots();
    // One place is enough.
    for place in [one, two] {
        let outcome = put(&scene, &base, &[(place, &zeros)], 0);
        assert!(matches!(outcome, Outcome::State(0)), "the twin at {place} does not serve");
    }
    // To write, and to read only: the state before, whole. A part of one would be neither.
    let torn = [&scene.image[one..one + SLOT / 2], &[0x5a; SLOT / 2]].concat();
    for wreck in [&zeros, &torn] {
        for n in 0..2 {
            let outcome = put(&scene, &base, &[(one, wreck), (two, wreck)], n);
            assert!(
                matches!(outcome, Outcome::State(_) | Outcome::Refused),
                "only a part is there"
            );
        }
    }
}

#[test]
fn swapped_blocks_are_an_error_or_nothing() {
    let scene = closed();
    let base = MemoryDevice::from_bytes(&scene.image);
    for (size, most) in [(UNIT, 250), (4 * UNIT, 100)] {
        let blocks = scene.blocks(size);
        let pairs = blocks.iter().enumerate();
        let pairs = pairs.flat_map(|(n, a)| blocks[n + 1..].iter().map(move |b| (*a, *b)));
        for (n, (a, b)) in sample(pairs.collect(), most, 4).into_iter().enumerate() {
            let (one, two) = (&scene.image[a..a + size], &scene.image[b..b + size]);
            put(&scene, &base, &[(a, two), (b, one)], n);
        }
    }
}

#[test]
fn blocks_of_another_store_are_an_error_or_nothing() {
    let (scene, other) = (closed(), closed());
    let base = MemoryDevice::from_bytes(&scene.image);
    let mut refused = 0;
    for (size, most) in [(UNIT, 100), (4 * UNIT, 100)] {
        for (n, at) in sample(other.blocks(size), most, 5).into_iter().enumerate() {
            let outcome = put(&scene, &base, &[(at, &other.image[at..at + size])], n);
            refused += usize::from(!matches!(outcome, Outcome::State(_)));
        }
    }
    assert!(refused > 0);
}
