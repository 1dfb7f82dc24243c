//! States that are gone with their superblocks: an older one serves, and nothing of those that are
//! gone is taken for its own.

use std::sync::Arc;

use efscrypt::check::Damage;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::ROOT_INO;

use crate::bed::{UNIT, assert_sound, create, open, pattern, plan, repair};
use crate::overlaps::{file, write};

const SLOT: usize = 16 << 10;
const PLACE: usize = 256 << 10;

/// A small store of many states, several opens among them.
fn churned() -> MemoryDevice {
    let device = Arc::new(MemoryDevice::limited(16 << 20));
    let fs = create(Arc::clone(&device));
    let inos: Vec<u64> = (0..60).map(|n| file(&fs, &format!("a file of some name {n}"))).collect();
    for &ino in &inos {
        write(&fs, ino, 0, &pattern(ino, 2 * UNIT));
    }
    fs.engine().finish().unwrap();
    drop(fs);
    for round in 0..6 {
        let fs = open(Arc::clone(&device), false).unwrap();
        for (n, &ino) in inos.iter().enumerate().filter(|(n, _)| n % 3 == round % 3) {
            write(&fs, ino, n % 2, &pattern(ino + round as u64, UNIT));
            if n % 10 == 0 {
                fs.engine().checkpoint().unwrap();
            }
        }
        fs.mkdir(ROOT_INO, format!("round {round}").as_bytes(), &crate::bed::DIR).unwrap();
        fs.sync().unwrap();
    }
    device.snapshot()
}

/// Slots of the superblock ring, newest generation first, and their generations.
fn slots(bytes: &[u8]) -> Vec<(usize, u64)> {
    let generation =
        |slot: usize| u64::from_le_bytes(bytes[slot * SLOT + 56..][..8].try_into().unwrap());
    let mut slots: Vec<_> = (0..8).map(|slot| (slot, generation(slot))).collect();
    slots.sort_by_key(|(_, generation)| std::cmp::Reverse(*generation));
    slots
}

fn zero(device: &MemoryDevice, slot: usize, len: usize) {
    for place in [0, PLACE] {
        device.write_at((place + slot * SLOT) as u64, &vec![0; len]).unwrap();
    }
}

#[test]
fn an_older_state_serves_however_many_newer_ones_are_gone() {
    let base = churned();
    let slots = slots(&base.to_vec());
    for count in 1..8 {
        for len in [UNIT, SLOT] {
            let what = format!("{count} states, {len} bytes of each superblock");
            let device = Arc::new(base.snapshot());
            slots[..count].iter().for_each(|(slot, _)| zero(&device, *slot, len));
            let report = repair(Arc::clone(&device)).unwrap_or_else(|e| panic!("{what}: {e}"));
            let serves = slots[count].1;
            let outdated = |damage: &Damage| matches!(damage, Damage::Outdated(n) if *n == serves);
            let newer = |damage: &Damage| match damage {
                Damage::Newer { superblock, .. } => *superblock == serves,
                _ => false,
            };
            let found = report.damage.iter().any(newer);
            assert!(found || report.damage.iter().any(outdated), "{what}: {report:?}");
            assert!(found || report.is_lossy(), "{what}");
            assert_sound(&device, &what);
            // Whatever superblocks are gone: what they named, or the log, is there.
            let fs = open(Arc::clone(&device), true).unwrap();
            assert!(fs.lookup(ROOT_INO, b"round 4").is_ok(), "{what}: {report:?}");
        }
    }
}

#[test]
fn numbers_of_a_state_that_is_gone_do_not_come_again() {
    let base = Arc::new(churned());
    let number = |device: &Arc<MemoryDevice>| {
        let fs = open(Arc::clone(device), false).unwrap();
        let attr = fs.mkdir(ROOT_INO, b"the newest", &crate::bed::DIR).unwrap().attr;
        let generation = fs.engine().generation();
        (attr.ino, attr.change, generation, fs.engine().epoch())
    };
    // What this open makes is lost at once, with its superblock.
    let device = Arc::new(base.snapshot());
    let lost = number(&device);
    let newest = slots(&device.to_vec())[0];
    assert!(newest.1 > 8, "each slot was written");
    zero(&device, newest.0, SLOT);
    let planned = plan(Arc::clone(&device)).unwrap();
    let outdated = |damage: &Damage| matches!(damage, Damage::Outdated(_) | Damage::Newer { .. });
    assert!(planned.report().damage.iter().any(outdated), "{:?}", planned.report());
    planned.commit().unwrap();
    assert_sound(&device, "without the newest superblock");
    let fs = open(Arc::clone(&device), false).unwrap();
    let name = b"made after the repair";
    let attr = fs.mkdir(ROOT_INO, name, &crate::bed::DIR).unwrap().attr;
    assert!(attr.ino > lost.0 && attr.change > lost.1, "{attr:?} {lost:?}");
    assert!(fs.engine().generation() > lost.2, "{} {}", fs.engine().generation(), lost.2);
    assert!(fs.engine().epoch() > lost.3);
}

/// Leaves a slot in one place, with a checksum that fits and a seal that does not.
fn forge(device: &MemoryDevice, slot: usize) {
    let at = slot * SLOT;
    let mut bytes = device.to_vec()[at..at + SLOT].to_vec();
    zero(device, slot, SLOT);
    bytes[12_288] ^= 1;
    bytes[124..128].fill(0);
    let crc = crc32fast::hash(&bytes);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    device.write_at(at as u64, &bytes).unwrap();
}

#[test]
fn an_open_that_goes_back_mixes_no_states() {
    let base = churned();
    let named = |fs: &efscrypt::fs::FileSystem, name: &[u8]| fs.lookup(ROOT_INO, name).is_ok();
    for len in [0, UNIT, SLOT] {
        let device = Arc::new(base.snapshot());
        let fs = open(Arc::clone(&device), false).unwrap();
        let gone = fs.mkdir(ROOT_INO, b"gone", &crate::bed::DIR).unwrap().attr;
        fs.sync().unwrap();
        drop(fs);
        assert!(named(&open(Arc::clone(&device), true).unwrap(), b"gone"));
        let newest = slots(&device.to_vec())[0].0;
        match len {
            0 => forge(&device, newest),
            len => zero(&device, newest, len),
        }
        // It goes back, and nothing is written behind what its log holds.
        let fs = open(Arc::clone(&device), false).unwrap();
        assert!(!named(&fs, b"gone") && named(&fs, b"round 5"));
        drop(fs);
        let fs = open(Arc::clone(&device), false).unwrap();
        assert!(!named(&fs, b"gone"), "a record of the state that is gone was taken");
        let attr = fs.mkdir(ROOT_INO, b"new", &crate::bed::DIR).unwrap().attr;
        assert!(attr.ino > gone.ino && attr.change > gone.change, "{attr:?} {gone:?}");
    }
}
