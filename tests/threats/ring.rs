//! The superblock ring: what an interrupted rewrap leaves in it, and slots that somebody forged.

use std::sync::Arc;

use efscrypt::check::{Repair, RepairOptions};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::{ErrorKind, Providers, Rewrap, Store};

use crate::bed::{DATA, FILE, META, create, open, options};
use crate::tap::Tap;
use crate::watch::Watch;

const SLOT: usize = 16_384;
/// Where the second place of the ring begins.
const PLACE: usize = 256 << 10;
/// Where the owner unit stands.
const OWNER: u64 = 128 << 10;

/// A store whose ring was written all around, closed.
fn store(provider: &Arc<Watch>) -> Arc<Tap> {
    let device = Tap::new();
    let store = create(&device, provider);
    for n in 0..10 {
        store.file_system().write_file(b"/file", &FILE, format!("text {n}").as_bytes()).unwrap();
        store.checkpoint().unwrap();
    }
    store.close().unwrap();
    device
}

fn is_whole(store: &Store) {
    assert_eq!(store.file_system().read_file(b"/file").unwrap(), b"text 9");
}

fn holds(device: &MemoryDevice, part: &[u8]) -> bool {
    memchr::memmem::find(&device.to_vec(), part).is_some()
}

#[test]
fn the_next_open_finishes_an_interrupted_rewrap() {
    let names = [META, DATA, "new meta", "new data"];
    let (old, new) = (Watch::with(&names[..2]), Watch::with(&names[2..]));
    let device = store(&old);
    let opened = open(&device, &old).unwrap();
    assert!(!opened.recovery().finished_rewrap);
    let (before, begun) = (device.image(), device.writes().len());
    opened
        .rewrap(Rewrap::new().data(new.clone(), "new data").metadata(new.clone(), "new meta"))
        .unwrap();
    drop(opened);
    let mut writes = device.writes().split_off(begun);
    writes.retain(|(at, _)| *at != OWNER);
    assert!(writes.len() >= 16, "each slot in both places");

    // Every write is cut off, after some sectors or whole.
    let mut finished = 0;
    for (cut, (at, bytes)) in writes.iter().enumerate() {
        for part in [1024, bytes.len() / 1024 * 512, bytes.len()] {
            let image = MemoryDevice::from_bytes(&before);
            writes[..cut].iter().for_each(|(at, bytes)| image.write_at(*at, bytes).unwrap());
            image.write_at(*at, &bytes[..part]).unwrap();
            let image = Arc::new(image);
            // One of the two has the keys of the newest superblock.
            let (fits, other) = match open(&Arc::new(image.snapshot()), &new) {
                Ok(_) => (&new, &old),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::KeyNotFound);
                    (&old, &new)
                }
            };
            let error = open(&image, other).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::KeyNotFound, "write {cut}");
            let opened = open(&image, fits).unwrap();
            finished += usize::from(opened.recovery().finished_rewrap);
            is_whole(&opened);
            let left = other.blobs().iter().any(|blob| holds(&image, blob));
            assert!(!left, "write {cut}, {part} bytes: a wrap is left");
            drop(opened);
            assert!(!open(&image, fits).unwrap().recovery().finished_rewrap);
        }
    }
    // The first slot is overwritten by every open, and after the last nothing is left to do.
    assert!(finished >= 3 * (writes.len() - 4), "{finished} of {} writes", writes.len());
}

#[test]
fn a_repair_with_the_old_keys_does_not_undo_a_rewrap() {
    let (old, new) = (Watch::with(&[META, DATA]), Watch::with(&["new meta", "new data"]));
    let device = store(&old);
    let opened = open(&device, &old).unwrap();
    let (before, begun) = (device.image(), device.writes().len());
    opened
        .rewrap(Rewrap::new().data(new.clone(), "new data").metadata(new.clone(), "new meta"))
        .unwrap();
    drop(opened);
    // The first checkpoint is there in both places, then it was interrupted.
    let image = Arc::new(MemoryDevice::from_bytes(&before));
    let slots = device.writes().split_off(begun);
    let slots: Vec<_> =
        slots.iter().filter(|(at, _)| *at < 2 * PLACE as u64 && *at != OWNER).take(2).collect();
    slots.iter().for_each(|(at, bytes)| image.write_at(*at, bytes).unwrap());
    let providers = Providers::same(old.clone());
    let wanted = RepairOptions { contents: true, ..RepairOptions::default() };
    let repair = Repair::plan(image.clone(), &providers, &options(), wanted);
    assert_eq!(repair.err().unwrap().kind(), ErrorKind::KeyNotFound);
    assert_eq!(open(&image, &old).err().unwrap().kind(), ErrorKind::KeyNotFound);
    is_whole(&open(&image, &new).unwrap());
}

/// Changes a slot and sets its checksum right.
fn forged(slot: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut slot = slot.to_vec();
    change(&mut slot);
    slot[124..128].fill(0);
    let crc = crc32fast::hash(&slot);
    slot[124..128].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// Makes a slot one of another generation.
fn set_generation(slot: &mut [u8], generation: u64) {
    slot[13] = (generation % 8) as u8;
    slot[56..64].copy_from_slice(&generation.to_le_bytes());
}

fn at(generation: u64) -> usize {
    (generation % 8) as usize * SLOT
}

/// The newest generation, and its slot in place 0.
fn newest(image: &[u8]) -> (u64, Vec<u8>) {
    let slots = image[..8 * SLOT].chunks_exact(SLOT);
    let number = |slot: &[u8]| u64::from_le_bytes(slot[56..64].try_into().unwrap());
    let newest = slots.max_by_key(|slot| number(slot)).unwrap();
    (number(newest), newest.to_vec())
}

#[test]
fn a_forged_slot_does_not_close_the_store_and_is_told() {
    let watch = Watch::with(&[META, DATA]);
    let image = store(&watch).image();
    let (generation, slot) = newest(&image);
    let put = |changes: &[(usize, &[u8])]| {
        let device = MemoryDevice::from_bytes(&image);
        changes.iter().for_each(|(at, bytes)| device.write_at(*at as u64, bytes).unwrap());
        Arc::new(device)
    };
    let as_generation = |generation| forged(&slot, |slot| set_generation(slot, generation));
    let wrap = forged(&slot, |slot| slot[200] ^= 1);
    let place = forged(&as_generation(generation + 3), |slot| slot[12] = 1);
    let body = forged(&slot, |slot| slot[10_000] ^= 1);
    for (what, at, bytes) in [
        ("a wrapped key", at(generation), &wrap),
        ("the body", at(generation), &body),
        ("the generation", at(generation), &as_generation(generation + 80)),
        ("a later slot", at(generation + 1), &as_generation(generation + 1)),
        ("the second place", PLACE + at(generation + 3), &place),
    ] {
        watch.take_calls();
        let opened = open(&put(&[(at, bytes)]), &watch).unwrap();
        assert_eq!(opened.recovery().rejected_slots, 1, "{what}");
        assert!(watch.take_calls() <= 4, "{what}");
        is_whole(&opened);
    }
    let sound = open(&put(&[]), &watch).unwrap();
    assert_eq!(sound.recovery().rejected_slots, 0);

    // What stands in both places was durable: nothing older is believed.
    for change in [generation, generation + 8] {
        let mut slot = forged(&as_generation(change), |slot| slot[10_000] ^= 1);
        let device = put(&[(at(generation), &slot)]);
        slot = forged(&slot, |slot| slot[12] = 1);
        device.write_at((PLACE + at(generation)) as u64, &slot).unwrap();
        assert_eq!(open(&device, &watch).err().unwrap().kind(), ErrorKind::Corrupt);
    }
}
