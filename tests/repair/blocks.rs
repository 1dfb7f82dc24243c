//! Each block damaged in turn.

use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::device::{Device, MemoryDevice};

use crate::bed::{LOG, POOL, UNIT, assert_sound, open, pattern, plan, populated};
use crate::picture::{Picture, compare, mentioned, picture};

/// More inodes than this one leaf has no rows of: the smallest row takes 60 bytes.
const ROWS: usize = 270;

/// What a block of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Superblock,
    Log,
    /// Of a node above the leaves.
    Interior,
    Leaf,
    SpacePage,
    Other,
}

fn kind(bytes: &[u8], block: usize) -> Kind {
    let at = block * UNIT;
    if at < POOL {
        return if at < LOG { Kind::Superblock } else { Kind::Log };
    }
    for before in 0..4 {
        let Some(header) = bytes.get(at - before * UNIT..) else { continue };
        if header.starts_with(b"EFSNODE\x01") {
            return if header[69] == 0 { Kind::Leaf } else { Kind::Interior };
        }
    }
    match bytes[at..].starts_with(b"EFSSPAC\x01") {
        true => Kind::SpacePage,
        false => Kind::Other,
    }
}

/// What was found of one kind of damage.
#[derive(Debug, Default)]
struct Tally {
    blocks: usize,
    repaired: usize,
    lossy: usize,
    mentioned: usize,
}

fn damage_each(logged: bool, garble: bool) {
    let base = populated(logged);
    let bytes = base.to_vec();
    let before = picture(&open(base.snapshot(), true).unwrap());
    let all = std::env::var("EFSCRYPT_DAMAGE").is_ok_and(|value| value == "all");
    let mut tallies = std::collections::BTreeMap::<String, Tally>::new();
    for block in 0..bytes.len() / UNIT {
        let kind = kind(&bytes, block);
        let content = &bytes[block * UNIT..][..UNIT];
        let empty = content.iter().all(|byte| *byte == 0);
        let step = match kind {
            _ if empty => 97,
            Kind::Leaf => 5,
            Kind::Interior | Kind::SpacePage => 2,
            Kind::Superblock | Kind::Log => 3,
            Kind::Other => 11,
        };
        // Another part of each kind for each of the tests.
        if !all && (block + usize::from(garble) + 2 * usize::from(logged)) % step != 0 {
            continue;
        }
        let device = base.snapshot();
        let wrong = if garble { pattern(block as u64, UNIT) } else { vec![0; UNIT] };
        device.write_at((block * UNIT) as u64, &wrong).unwrap();
        let what = format!("block {block}, {kind:?}, garbled {garble}, logged {logged}");
        let tally = tallies.entry(format!("{kind:?}")).or_default();
        tally.blocks += 1;
        let mends = mend(&device, &before, kind, &what);
        tally.repaired += usize::from(mends.0);
        tally.lossy += usize::from(mends.1 > 0);
        tally.mentioned += mends.1;
    }
    println!("logged {logged}, garbled {garble}: {tallies:#?}");
}

/// Repairs a store, compares it with what it was, and says whether it needed it and of how many
/// inodes something is said.
fn mend(device: &MemoryDevice, before: &Picture, kind: Kind, what: &str) -> (bool, usize) {
    let device = Arc::new(device.snapshot());
    let damaged = device.to_vec();
    let repair = plan(Arc::clone(&device)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(device.to_vec() == damaged, "{what}: the plan writes");
    let report = repair.commit().unwrap_or_else(|error| panic!("{what}: {error}"));
    if !report.needed {
        assert!(device.to_vec() == damaged, "{what}: nothing is needed, and it writes");
    }
    let mut said = mentioned(&report);
    let lost_log = matches!(kind, Kind::Log);
    match kind {
        Kind::Superblock | Kind::Interior | Kind::SpacePage => {
            assert!(!report.is_lossy() && said.is_empty(), "{what}: {report:?}");
        }
        Kind::Log | Kind::Leaf => assert!(said.len() <= ROWS, "{what}: {report:?}"),
        Kind::Other => assert!(said.len() <= 1, "{what}: {report:?}"),
    }
    assert_sound(&device, what);
    let after = picture(&open(Arc::clone(&device), true).unwrap());
    if lost_log {
        // A record does not say what is in it: those that it changed are not known.
        let changed = |ino: &&u64| after.get(ino) != before.get(ino);
        let changed: Vec<u64> =
            before.keys().chain(after.keys()).filter(changed).copied().collect();
        assert!(changed.is_empty() || changed.len() <= 24, "{what}: {changed:?}");
        said.extend(changed);
        return (report.needed, said.len());
    }
    compare(before, &after, &said, what);
    // It can be written to.
    let fs = open(Arc::clone(&device), false).unwrap();
    fs.mkdir(1, b"afterwards", &crate::bed::DIR).unwrap();
    fs.sync().unwrap();
    assert!(check(&fs).unwrap().is_clean(), "{what}: after a change");
    (report.needed, said.len())
}

#[test]
fn a_zeroed_block_costs_its_own_records() {
    damage_each(false, false);
}

#[test]
fn a_garbled_block_costs_its_own_records() {
    damage_each(false, true);
}

#[test]
fn a_zeroed_block_of_a_store_with_a_log_costs_its_own_records() {
    damage_each(true, false);
}

#[test]
fn a_garbled_block_of_a_store_with_a_log_costs_its_own_records() {
    damage_each(true, true);
}
