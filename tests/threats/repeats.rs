//! No sealed block ever repeats 16 bytes of another, whatever was sealed.

use std::collections::HashSet;

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
