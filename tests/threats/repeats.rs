//! No sealed block ever repeats 16 bytes of another, whatever was sealed.

use std::collections::{HashMap, HashSet};

use efscrypt::Rewrap;
use efscrypt::fs::CreateMode;

use crate::bed::{DATA, FILE, META, UNIT, create, open, pattern};
use crate::tap::Tap;
use crate::watch::Watch;

const POOL: u64 = 1 << 20;

/// The sealed parts of a write.
fn sealed(offset: u64, bytes: &[u8]) -> Vec<&[u8]> {
    let len = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    match bytes {
        _ if offset == 128 << 10 => vec![&bytes[64..256]],
        _ if offset < 512 << 10 => vec![&bytes[9216..14_040]],
        _ if offset < POOL => vec![&bytes[64..64 + len(4)]],
        _ if bytes.starts_with(b"EFSSPAC") => vec![&bytes[64..]],
        _ if bytes.starts_with(b"EFSNODE") => {
            bytes.chunks(4 * UNIT).map(|node| &node[80..]).collect()
        }
        _ => bytes.chunks(UNIT).collect(),
    }
}

#[test]
fn nothing_that_is_sealed_repeats_a_lane() {
    let (device, watch) = (Tap::new(), Watch::with(&[META, DATA]));
    let store = create(&device, &watch);
    let fs = store.file_system();
    let file = |name: &[u8]| fs.create(1, name, &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let (large, small, other) = (file(b"large"), file(b"small"), file(b"other"));
    // The same bytes again and again, changed in one place, changed back, in two files.
    let same = pattern(1, 3 * UNIT);
    for n in 0..12u8 {
        let mut bytes = same.clone();
        bytes[5000] ^= n % 3;
        for (ino, bytes) in [(large, &bytes[..]), (other, &bytes), (small, &bytes[..900])] {
            fs.write(ino, 0, bytes).unwrap();
            fs.fsync(ino).unwrap();
        }
        fs.write(large, 3 * UNIT as u64 + 700, &[0; 100]).unwrap();
        store.checkpoint().unwrap();
    }
    store.rewrap(Rewrap::new().metadata(watch.clone(), META)).unwrap();
    store.close().unwrap();
    open(&device, &watch).unwrap().close().unwrap();

    let (mut lanes, mut blocks, mut mirrored) = (HashSet::new(), HashSet::new(), 0);
    for (offset, bytes) in device.writes() {
        for part in sealed(offset, &bytes) {
            // A node above the leaves stands in two places.
            if !blocks.insert(part.to_vec()) {
                assert_eq!(part.len(), 4 * UNIT - 80, "a block was written twice at {offset}");
                mirrored += 1;
                continue;
            }
            for lane in part.chunks_exact(16) {
                let lane: [u8; 16] = lane.try_into().unwrap();
                assert!(lanes.insert(lane), "a lane of the write at {offset} was there before");
            }
        }
    }
    assert!(lanes.len() > 50_000, "{} lanes", lanes.len());
    assert!(mirrored < blocks.len() / 10);
}

/// The same bytes again and again, in small and large writes: a tweak that comes again, whether
/// what it sealed was committed or not, gives a lane that was there before.
#[test]
fn a_tweak_seals_once_also_where_the_write_failed() {
    let (device, watch) = (Tap::new(), Watch::with(&[META, DATA]));
    let store = create(&device, &watch);
    let fs = store.file_system();
    let ino = fs.create(1, b"file", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let block = vec![0x55; 400 * UNIT];
    let (mut at, mut failed) = (0u64, 0);
    for n in 0..150 {
        // A stream's own units, more than it has left, runs, and several batches; in order, and
        // over what is there.
        let units = [1, 1, 1, 1, 3, 1, 1, 70, 1, 1][n % 10] + if n % 50 == 49 { 330 } else { 0 };
        at = if n % 25 == 24 { at / 2 } else { at };
        let bytes = &block[..units * UNIT - if n % 11 == 10 { 100 } else { 0 }];
        device.fail_contents([0, 1, 0, 0, 2, 0, 1][n % 7]);
        let mut done = 0;
        while done < bytes.len() {
            match fs.write(ino, at * UNIT as u64 + done as u64, &bytes[done..]) {
                Ok(written) => done += written.len,
                Err(_) => failed += 1,
            }
        }
        at += units as u64;
    }
    assert!(failed > 40, "{failed} writes failed");
    let mut lanes = HashSet::new();
    for (offset, bytes) in device.writes() {
        if offset < POOL || bytes.starts_with(b"EFS") {
            continue;
        }
        for unit in bytes.chunks(UNIT) {
            let lane: [u8; 16] = unit[..16].try_into().unwrap();
            assert!(lanes.insert(lane), "a tweak sealed again at {offset}");
        }
    }
    assert!(lanes.len() > 1500, "{} units", lanes.len());
}

/// The nonces in a write, each with what it sealed.
fn nonces(offset: u64, bytes: &[u8]) -> Vec<(&'static str, &[u8], &[u8])> {
    match bytes {
        _ if bytes.starts_with(b"EFSOWNR") => {
            let (nonce, sealed) = (&bytes[28..40], &bytes[64..256]);
            vec![("owner", nonce, sealed)]
        }
        _ if offset < 512 << 10 => vec![("superblock", &bytes[96..108], &bytes[9216..14_040])],
        _ if bytes.starts_with(b"EFSL") => vec![("log", &bytes[24..36], &bytes[80..])],
        _ if bytes.starts_with(b"EFSNODE") => {
            bytes.chunks(4 * UNIT).map(|node| ("node", &node[40..52], &node[80..])).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn nonces_are_random_and_seal_once() {
    let mut sealed: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut bits: HashMap<&str, ([u8; 12], [u8; 12], usize)> = HashMap::new();
    // Two stores under the same keys.
    let watch = Watch::with(&[META, DATA]);
    for _ in 0..2 {
        let device = Tap::new();
        let store = create(&device, &watch);
        for n in 0..60 {
            let name = format!("/{n} {}", "x".repeat(200));
            store.file_system().write_file(name.as_bytes(), &FILE, &[7; 100]).unwrap();
            store.sync().unwrap();
            store.checkpoint().unwrap();
        }
        store.close().unwrap();
        for (offset, bytes) in device.writes() {
            for (kind, nonce, part) in nonces(offset, &bytes) {
                // A node above the leaves stands in two places, as it is.
                let before = sealed.insert(nonce.to_vec(), part.to_vec());
                assert!(before.is_none_or(|before| before == part), "{kind} at {offset}");
                let (ones, zeros, count) = bits.entry(kind).or_default();
                for (at, byte) in nonce.iter().enumerate() {
                    ones[at] |= byte;
                    zeros[at] |= !byte;
                }
                *count += 1;
            }
        }
    }
    // Of these there are few.
    assert!(bits.remove("owner").is_some());
    assert_eq!(bits.len(), 3);
    for (kind, (ones, zeros, count)) in bits {
        assert!(count > 60, "{count} of {kind}");
        assert_eq!((ones, zeros), ([255; 12], [255; 12]), "nonces of {kind} are not random");
    }
}
