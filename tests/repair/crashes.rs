//! What a power cut leaves is what an open would make of it: a repair finds nothing to repair, or
//! makes the same of it.

use std::sync::Arc;

use efscrypt::check::Damage;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{FaultPlan, Recording, Rng, SimDevice};
use efscrypt::fs::{FileSystem, ROOT_INO, RenameMode, SetAttr};

use crate::bed::{DIR, UNIT, create, open, pattern, plan};
use crate::overlaps::file;
use crate::picture::picture;

/// Some changes of every kind, made durable now and then.
fn changes(fs: &FileSystem, seed: u64) {
    let mut dice = Rng::of(seed, 1);
    let mut inos = Vec::new();
    for n in 0..40u64 {
        let name = format!("file {n}");
        let ino = file(fs, &name);
        inos.push((ino, name.clone()));
        let (ino, known) = inos[dice.below(inos.len() as u64) as usize].clone();
        let _ = match dice.below(6) {
            0 => fs.write(ino, 0, &pattern(n, 300)).map(drop),
            1 => fs.write(ino, dice.below(8) * UNIT as u64, &pattern(n, 3 * UNIT)).map(drop),
            2 => fs.punch_hole(ino, 0, 2 * UNIT as u64).map(drop),
            3 => {
                let size = Some(dice.below(40_000));
                fs.setattr(ino, &SetAttr { size, ..SetAttr::default() }).map(drop)
            }
            4 => fs.unlink(ROOT_INO, known.as_bytes()).map(drop),
            _ => fs
                .mkdir(ROOT_INO, format!("dir {n}").as_bytes(), &DIR)
                .and_then(|made| {
                    let to = made.attr.ino;
                    fs.rename(ROOT_INO, name.as_bytes(), to, b"moved", RenameMode::Replace)
                })
                .map(drop),
        };
        match dice.below(8) {
            0 => fs.engine().checkpoint().unwrap(),
            1..=3 => fs.sync().unwrap(),
            _ => {}
        }
    }
}

fn story(seed: u64) -> (Recording, u64) {
    let memory = MemoryDevice::limited(24 << 20);
    let device = Arc::new(SimDevice::recording(memory, FaultPlan::new(seed)));
    let fs = create(Arc::clone(&device));
    let made = device.steps();
    changes(&fs, seed);
    drop(fs);
    let fs = open(Arc::clone(&device), false).unwrap();
    changes_again(&fs);
    drop(fs);
    (device.take_recording(), made)
}

fn changes_again(fs: &FileSystem) {
    for n in 0..6 {
        fs.mkdir(ROOT_INO, format!("again {n}").as_bytes(), &DIR).unwrap();
        fs.sync().unwrap();
    }
    fs.engine().finish().unwrap();
}

#[test]
fn what_a_power_cut_leaves_is_left_alone() {
    let (mut alone, mut torn) = (0, 0);
    for seed in 1..5 {
        let (recording, made) = story(seed);
        for step in made..=recording.steps() {
            let what = recording.describe(step, seed);
            let image = recording.crash_image(step, seed);
            let expected = picture(&open(image.snapshot(), true).unwrap());
            let before = image.to_vec();
            let device = Arc::new(image);
            let repair = plan(Arc::clone(&device)).unwrap_or_else(|e| panic!("{what}: {e}"));
            // A superblock that was being written looks like one that was lost.
            let is_torn =
                |damage: &Damage| matches!(damage, Damage::OneSuperblock | Damage::Outdated(_));
            let report = repair.report();
            assert!(report.damage.iter().all(is_torn), "{what}: {report:?}");
            assert!(report.notes.is_empty(), "{what}: {report:?}");
            match repair.commit().unwrap().needed {
                false => {
                    alone += 1;
                    assert!(device.to_vec() == before, "{what}: it writes");
                }
                true => {
                    torn += 1;
                    let after = picture(&open(Arc::clone(&device), true).unwrap());
                    assert!(after == expected, "{what}: a repair makes something else of it");
                }
            }
        }
    }
    println!("{alone} left alone, {torn} torn");
    assert!(alone > 100 && torn > 0, "{alone} left alone, {torn} torn");
}
