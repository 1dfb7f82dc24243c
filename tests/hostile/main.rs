//! Stores whose plaintext is wrong though it authenticates: rows, nodes, logs and superblocks that
//! no engine would write. Everything may be refused; nothing may panic, hang, or take memory
//! without bound.
//!
//! `EFSCRYPT_HOSTILE` sets how many stores are tried of each kind; some hundreds by default. The
//! fuzzers in `fuzz/` drive the same code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod dice;
mod exercise;
mod mending;
mod store;

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::txn::{Edits, FIRST_FS_TREE, Forge, STORE_TREE, logged};

use store::Base;

fn stores() -> u64 {
    std::env::var("EFSCRYPT_HOSTILE").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

#[test]
fn a_sound_store_does_all_that_is_tried() {
    let base = Base::new();
    assert!(exercise::open_and_use(base.image()), "the exercise does not reach its end");
}

#[test]
fn hostile_nodes_are_refused_or_survived() {
    hostile_nodes(used);
}

#[test]
fn hostile_nodes_are_repaired_or_refused() {
    hostile_nodes(mending::mend);
}

#[test]
fn hostile_superblocks_are_refused_or_survived() {
    hostile_superblocks(used);
}

#[test]
fn hostile_superblocks_are_repaired_or_refused() {
    hostile_superblocks(mending::mend);
}

#[test]
fn hostile_logs_are_refused_or_survived() {
    hostile_logs(used);
}

#[test]
fn hostile_logs_are_repaired_or_refused() {
    hostile_logs(mending::mend);
}

/// Does everything with a store, whatever comes of it.
fn used(image: Arc<MemoryDevice>) {
    let _ = exercise::open_and_use(image);
}

fn hostile_nodes(exercise: impl Fn(Arc<MemoryDevice>)) {
    let base = Base::new();
    for seed in 0..stores() {
        let (image, mut rng) = (base.image(), Rng::of(seed, 1));
        let tree = if rng.one_in(5) { STORE_TREE } else { FIRST_FS_TREE };
        let path = [rng.below(256) as u8, rng.below(256) as u8];
        let mut forge = Forge::open(image.clone()).unwrap();
        for _ in 0..1 + rng.below(2) {
            let change = dice::of_page(&mut rng);
            // A page that was changed before may not be read again.
            let _ = forge.node(tree, &path, |page| change.apply(page));
        }
        exercise(image);
    }
}

fn hostile_superblocks(exercise: impl Fn(Arc<MemoryDevice>)) {
    let base = Base::new();
    for seed in 0..stores() {
        let (image, mut rng) = (base.image(), Rng::of(seed, 2));
        let change = dice::of_superblock(&mut rng);
        Forge::open(image.clone()).unwrap().superblock(|body| change.apply(body)).unwrap();
        exercise(image);
    }
}

fn hostile_logs(exercise: impl Fn(Arc<MemoryDevice>)) {
    let base = Base::new();
    for seed in 0..stores() {
        let (image, mut rng) = (base.image(), Rng::of(seed, 3));
        let mut payload = Vec::new();
        for _ in 0..1 + rng.below(3) {
            payload.extend(logged(random_edits(&mut rng)));
        }
        if rng.one_in(2) {
            dice::anywhere(&mut rng, payload.len()).apply(&mut payload);
        }
        Forge::open(image.clone()).unwrap().log(&payload).unwrap();
        exercise(image);
    }
}

/// Edits that look like those of a file system, with numbers that are at home nowhere.
fn random_edits(rng: &mut Rng) -> Edits {
    let mut edits = Edits::new();
    for _ in 0..1 + rng.below(6) {
        let tree = [STORE_TREE, FIRST_FS_TREE, FIRST_FS_TREE, 77][rng.below(4) as usize];
        let mut key = vec![rng.below(7) as u8];
        key.extend(dice::number(rng).to_be_bytes());
        if rng.one_in(2) {
            key.extend(dice::number(rng).to_be_bytes());
        }
        let mut value = vec![0; rng.below(300) as usize];
        rng.fill(&mut value);
        match rng.below(4) {
            0 => edits.put(tree, &key, &value),
            1 => edits.del(tree, &key),
            2 => edits.take(dice::number(rng), dice::number(rng) as u32, 0),
            _ => edits.give(dice::number(rng), dice::number(rng) as u32),
        }
    }
    edits
}
