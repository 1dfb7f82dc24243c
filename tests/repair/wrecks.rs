//! Stores that do not open, for one reason or another, and what a repair makes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use efscrypt::check::{Damage, RepairReport};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{ROOT_INO, RenameMode, SetAttr};

use crate::bed::{LOG, POOL, UNIT, assert_sound, create, open, plan, populated, repair};
use crate::overlaps::file;
use crate::picture::{Picture, compare, mentioned, picture};

const SLOT: usize = 16 << 10;
const PLACE: usize = 256 << 10;

/// Where the two copies of the newest superblock stand.
pub fn newest_slots(bytes: &[u8]) -> [usize; 2] {
    let generation =
        |slot: usize| u64::from_le_bytes(bytes[slot * SLOT + 56..][..8].try_into().unwrap());
    let newest = (0..8).max_by_key(|slot| generation(*slot)).unwrap();
    [newest * SLOT, PLACE + newest * SLOT]
}

/// Where nodes of a level stand, in use or not.
pub fn blocks_of_level(bytes: &[u8], level: u8) -> Vec<usize> {
    let node = |at: &usize| bytes[*at..].starts_with(b"EFSNODE\x01") && bytes[at + 69] == level;
    (POOL..bytes.len()).step_by(UNIT).filter(node).collect()
}

fn zero(device: &MemoryDevice, at: usize) {
    device.write_at(at as u64, &[0; UNIT]).unwrap();
}

/// Repairs, and fails unless all that is not mentioned is as it was and a second repair is not
/// needed.
fn mend(device: &Arc<MemoryDevice>, before: &Picture, what: &str) -> RepairReport {
    let report = repair(Arc::clone(device)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.needed, "{what}");
    assert_sound(device, what);
    let after = picture(&open(Arc::clone(device), true).unwrap());
    compare(before, &after, &mentioned(&report), what);
    report
}

#[test]
fn a_sound_store_is_left_alone() {
    for logged in [false, true] {
        let device = Arc::new(populated(logged));
        let before = device.to_vec();
        let report = repair(Arc::clone(&device)).unwrap();
        assert!(!report.needed && report.notes.is_empty(), "{report:?}");
        assert!(device.to_vec() == before);
    }
}

#[test]
fn all_nodes_above_the_leaves_are_made_anew() {
    for logged in [false, true] {
        let device = Arc::new(populated(logged));
        let before = picture(&open(device.snapshot(), true).unwrap());
        let bytes = device.to_vec();
        for level in 1..=3 {
            blocks_of_level(&bytes, level).into_iter().for_each(|at| zero(&device, at));
        }
        assert!(open(device.snapshot(), true).is_err());
        let report = mend(&device, &before, "without nodes above the leaves");
        // All of them are there, but nothing proves that they are the newest.
        let found = |damage: &Damage| matches!(damage, Damage::ByHeader { nodes } if *nodes > 2);
        assert!(report.damage.iter().any(found), "{report:?}");
        assert!(report.notes.is_empty(), "{report:?}");
    }
}

#[test]
fn an_older_leaf_in_the_place_of_the_newest_is_never_called_no_loss() {
    let device = Arc::new(MemoryDevice::limited(32 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..200).map(|n| file(&fs, &format!("a file of a name {n}"))).collect();
    fs.engine().finish().unwrap();
    let old = device.to_vec();
    for &ino in &inos {
        let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        fs.setattr(ino, &mode).unwrap();
    }
    fs.unlink(ROOT_INO, b"a file of a name 7").unwrap();
    fs.rename(ROOT_INO, b"a file of a name 8", ROOT_INO, b"another", RenameMode::Replace).unwrap();
    fs.engine().finish().unwrap();
    drop(fs);
    let new = device.to_vec();
    // Leaves that were there before the last checkpoint, and those that replaced them, which begin
    // with the same key: nobody needs a key to see which they may be.
    let mut tried = 0;
    for from in blocks_of_level(&old, 0) {
        for to in blocks_of_level(&new, 0).into_iter().filter(|to| !old[*to..].starts_with(b"EFSN"))
        {
            let device = Arc::new(MemoryDevice::from_bytes(&new));
            device.write_at(to as u64, &old[from..from + 4 * UNIT]).unwrap();
            for level in 1..=3 {
                blocks_of_level(&new, level).into_iter().for_each(|at| zero(&device, at));
            }
            let report = repair(Arc::clone(&device)).unwrap();
            assert!(report.is_lossy(), "leaf {from} at {to}: {report:?}");
            assert_sound(&device, &format!("leaf {from} at {to}"));
            tried += 1;
        }
    }
    assert!(tried > 0);
}

#[test]
fn a_space_map_that_is_gone_is_counted_anew() {
    let device = Arc::new(populated(true));
    let before = picture(&open(device.snapshot(), true).unwrap());
    let bytes = device.to_vec();
    let pages = (POOL..bytes.len()).step_by(UNIT);
    let pages: Vec<_> = pages.filter(|at| bytes[*at..].starts_with(b"EFSSPAC\x01")).collect();
    assert!(pages.len() >= 4);
    pages.iter().for_each(|at| zero(&device, *at));
    let report = mend(&device, &before, "without a space map");
    assert!(!report.is_lossy(), "{report:?}");
    let space = |damage: &Damage| matches!(damage, Damage::Space(recount) if recount.unread > 0);
    assert!(report.damage.iter().any(space), "{report:?}");
}

#[test]
fn without_a_space_map_the_newest_nodes_are_taken_and_it_says_so() {
    let device = Arc::new(populated(false));
    let before = picture(&open(device.snapshot(), true).unwrap());
    let bytes = device.to_vec();
    for at in (POOL..bytes.len()).step_by(UNIT) {
        if bytes[at..].starts_with(b"EFSSPAC\x01") {
            zero(&device, at);
        }
    }
    blocks_of_level(&bytes, 1).into_iter().for_each(|at| zero(&device, at));
    let report = repair(Arc::clone(&device)).unwrap();
    assert!(report.damage.iter().any(|damage| matches!(damage, Damage::Uncertain)), "{report:?}");
    assert_sound(&device, "the newest nodes");
    let after = picture(&open(Arc::clone(&device), true).unwrap());
    let said = mentioned(&report);
    let same = before.iter().filter(|(ino, seen)| after.get(ino) == Some(seen)).count();
    assert!(same + said.len() >= before.len() && same * 10 > before.len() * 9, "{same} {report:?}");
}

#[test]
fn a_superblock_that_is_gone_in_one_place_is_written_again() {
    for place in 0..2 {
        for part in 0..4 {
            let device = Arc::new(populated(true));
            let before = picture(&open(device.snapshot(), true).unwrap());
            zero(&device, newest_slots(&device.to_vec())[place] + part * UNIT);
            let report = repair(Arc::clone(&device)).unwrap();
            assert!(!report.is_lossy(), "{report:?}");
            assert_sound(&device, "one place");
            let after = picture(&open(Arc::clone(&device), true).unwrap());
            compare(&before, &after, &BTreeSet::new(), "one place");
        }
    }
}

#[test]
fn an_older_superblock_serves_where_the_newest_is_gone() {
    let device = Arc::new(populated(false));
    let before = picture(&open(device.snapshot(), true).unwrap());
    let slots = newest_slots(&device.to_vec());
    slots.into_iter().for_each(|at| zero(&device, at));
    let report = repair(Arc::clone(&device)).unwrap();
    let outdated = |damage: &Damage| matches!(damage, Damage::Outdated(_));
    assert!(report.damage.iter().any(outdated) && report.is_lossy(), "{report:?}");
    assert_sound(&device, "an older superblock");
    let after = picture(&open(Arc::clone(&device), true).unwrap());
    let same = before.iter().filter(|(ino, seen)| after.get(ino) == Some(seen)).count();
    assert!(same * 10 > before.len() * 9, "{same} of {}", before.len());
    // Numbers that the lost state may have given out do not come again.
    let fs = open(Arc::clone(&device), false).unwrap();
    let made = fs.mkdir(1, b"new", &crate::bed::DIR).unwrap().attr.ino;
    assert!(made > *before.keys().max().unwrap() + 65_536, "{made}");
}

#[test]
fn a_forged_superblock_does_not_stop_a_repair() {
    // In one place it is passed over, in both it closes the store.
    for (place, slots, closes) in [(0..1, 3, false), (0..2, 6, true)] {
        let device = Arc::new(populated(true));
        let before = picture(&open(device.snapshot(), true).unwrap());
        let bytes = device.to_vec();
        let source = newest_slots(&bytes)[0];
        for place in place {
            forge(&device, &bytes[source..source + SLOT], place, slots);
        }
        assert_eq!(open(device.snapshot(), true).is_err(), closes);
        let report = mend(&device, &before, "a forged superblock");
        let refused = |damage: &Damage| matches!(damage, Damage::Superblock(_));
        assert!(report.damage.iter().any(refused), "{report:?}");
        assert!(report.notes.is_empty(), "{report:?}");
    }
}

/// Writes a superblock of a generation far ahead, with a crc that fits.
fn forge(device: &MemoryDevice, sound: &[u8], place: u8, slot: u8) {
    let mut bytes = sound.to_vec();
    (bytes[12], bytes[13]) = (place, slot);
    let generation = (1u64 << 40) + u64::from(slot);
    bytes[56..64].copy_from_slice(&generation.to_le_bytes());
    bytes[124..128].fill(0);
    let crc = crc32fast::hash(&bytes);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    let at = usize::from(place) * PLACE + usize::from(slot) * SLOT;
    device.write_at(at as u64, &bytes).unwrap();
}

#[test]
fn a_log_that_is_broken_in_the_middle_costs_one_record() {
    let base = populated(true);
    let before = picture(&open(base.snapshot(), true).unwrap());
    let bytes = base.to_vec();
    let starts = (LOG..POOL).step_by(UNIT).filter(|at| bytes[*at..].starts_with(b"EFSL"));
    let mut records: Vec<usize> = starts.collect();
    records.sort_by_key(|at| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap()));
    // Those behind the last checkpoint: one for each of the twenty steps.
    let live = &records[records.len() - 20..];
    for (n, at) in live[..19].iter().enumerate() {
        let device = Arc::new(base.snapshot());
        zero(&device, *at);
        assert!(open(device.snapshot(), true).is_err(), "record {n}");
        let report = repair(Arc::clone(&device)).unwrap();
        let gone = |damage: &Damage| matches!(damage, Damage::Log { records: 1 });
        assert!(report.damage.iter().any(gone), "record {n}: {report:?}");
        assert_sound(&device, "a broken log");
        let after = picture(&open(Arc::clone(&device), true).unwrap());
        let changed = before.iter().filter(|(ino, seen)| after.get(ino) != Some(seen)).count();
        // The directory and the file made, the one written, the one removed, and what they are in.
        assert!(changed <= 6, "record {n}: {changed}");
    }
}

#[test]
fn a_store_that_was_cut_is_refused() {
    let bytes = populated(true).to_vec();
    let device = MemoryDevice::from_bytes(&bytes[..bytes.len() - (8 << 20)]);
    let error = plan(device).err().unwrap();
    assert_eq!(error.kind(), efscrypt::ErrorKind::Truncated);
}

#[test]
fn a_store_without_a_superblock_is_refused() {
    let device = Arc::new(populated(false));
    device.write_at(0, &vec![0; LOG]).unwrap();
    let error = plan(Arc::clone(&device)).err().unwrap();
    assert_eq!(error.kind(), efscrypt::ErrorKind::NotAStore);
}
