//! Data keys: each is random and of one file, and none is left in memory when the domain is locked.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use efscrypt::crypto::{Domain, KeyArena, Purpose, WrapContext, WrappedKey};
use efscrypt::device::MemoryDevice;
use efscrypt::fs::data::FsKey;
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE, STORE_TREE};
use efscrypt::{Error, Object};
use zerocopy::{FromBytes, IntoBytes};

use crate::bed::{Bed, pattern, wrap_key};

const UNIT: usize = 4096;

/// The data keys of a store, unwrapped, and the nonces of their wraps.
fn secrets(bed: &Bed) -> Vec<([u8; 32], [u8; 12])> {
    let (arena, store_id) = (KeyArena::new().unwrap(), *bed.engine.store_id());
    let wrap = wrap_key(&arena, &store_id);
    let mut found = Vec::new();
    let visit = |key: &[u8], value: &[u8]| {
        let context = WrapContext {
            store_id,
            key_id: u64::from_be_bytes(key[1..].try_into().unwrap()),
            domain: Domain::Data,
            kek_version: 1,
            suite: 1,
            purpose: Purpose::DataKey,
        };
        let wrapped = WrappedKey::read_from_bytes(&value[24..84]).unwrap();
        let secret = wrap.get().unwrap().unwrap(&context, &wrapped).unwrap();
        found.push((*secret.expose(), wrapped.nonce));
        true
    };
    bed.engine.scan(STORE_TREE, &[2], &[3], visit).unwrap();
    found
}

/// Fails unless all differ, and each bit is 0 in some and 1 in others.
fn assert_random<const N: usize>(all: &[[u8; N]]) {
    assert!(all.len() > 60);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "one comes again");
    for byte in 0..N {
        let (ones, zeros) =
            all.iter().fold((0, 0), |(ones, zeros), one| (ones | one[byte], zeros | !one[byte]));
        assert_eq!((ones, zeros), (255, 255), "byte {byte} is not random");
    }
}

#[test]
fn data_keys_are_random_and_never_the_same() {
    let (mut keys, mut nonces) = (Vec::new(), Vec::new());
    for seed in 1..3 {
        let mut bed = Bed::create(MemoryDevice::new(), seed).unwrap();
        bed.contents = bed.contents.with_key_units(4);
        for ino in 7..37 {
            bed.make(ino, 0).unwrap();
            // Files of one key, inline or not, and of several.
            let len = [100, UNIT, 9 * UNIT][ino as usize % 3];
            bed.write_all(ino, 0, &pattern(1, len)).unwrap();
        }
        for (key, nonce) in secrets(&bed) {
            keys.push(key);
            nonces.push(nonce);
        }
    }
    assert_random(&keys);
    assert_random(&nonces);
}

#[test]
fn the_same_inline_bytes_never_look_the_same() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    let (mut lanes, bytes) = (HashSet::new(), pattern(1, 320));
    bed.make(7, 0).unwrap();
    for _ in 0..30 {
        bed.write_all(7, 0, &bytes).unwrap();
        let key = FsKey::Data(7, 0).encode();
        let row = bed.engine.get(FIRST_FS_TREE, &key, <[u8]>::to_vec).unwrap().unwrap();
        // The tag and the ciphertext stand at the end, or the ciphertext alone.
        for lane in row[row.len() - 320..].chunks(16) {
            assert!(lanes.insert(lane.to_vec()));
        }
    }
}

#[test]
fn a_key_of_another_file_is_refused_wherever_it_is_named() {
    for len in [500, 3 * UNIT] {
        let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
        for ino in [7, 8] {
            bed.make(ino, 0).unwrap();
            bed.write_all(ino, 0, &pattern(ino, len)).unwrap();
        }
        let theirs = bed.data_keys().iter().find(|(_, ino)| *ino == 7).unwrap().0;
        let refused = |error: Error| {
            let key = Object::Key { id: theirs };
            assert!(matches!(error, Error::Corrupt { object, .. } if object == key), "{error}");
        };
        // Whoever holds the META key alone can put a file's rows into another file.
        let mut edits = Edits::new();
        let key = |ino| FsKey::Data(ino, 0).encode();
        let row = bed.engine.get(FIRST_FS_TREE, &key(7), <[u8]>::to_vec).unwrap().unwrap();
        edits.put(FIRST_FS_TREE, &key(8), &row);
        let mut inode = bed.row(8).unwrap().unwrap();
        inode.key_id = theirs.into();
        edits.put(FIRST_FS_TREE, &FsKey::Inode(8).encode(), inode.as_bytes());
        bed.engine.commit(&mut edits, Class::Normal).unwrap();
        // From its row, and with the key in the cache.
        bed.relock();
        bed.unlock();
        for _ in 0..2 {
            refused(bed.read_all(8).unwrap_err());
            refused(bed.read(8, 10, 100).unwrap_err());
            refused(bed.write(8, 0, 0, &pattern(3, len)).unwrap_err());
            assert!(bed.read_all(7).unwrap() == pattern(7, len));
        }
    }
}

#[test]
fn the_key_of_a_file_that_is_gone_is_not_kept() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    for (ino, len) in [(7, 500), (8, 5000), (9, 100)] {
        bed.make(ino, 0).unwrap();
        bed.write_all(ino, 0, &pattern(ino, len)).unwrap();
    }
    assert_eq!(bed.keys.expanded(), 3);
    bed.remove(7, 1).unwrap();
    bed.remove(8, 1).unwrap();
    assert_eq!(bed.keys.expanded(), 1);
}

/// The memory of the arena's mapping that holds an address.
fn memory(address: usize) -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = maps.lines().find_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let range = number(from)?..number(to)?;
        range.contains(&address).then_some(range)
    });
    let range = range.unwrap();
    let mut bytes = vec![0; range.len()];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut bytes, range.start as u64).unwrap();
    bytes
}

/// The arena is where keys are: not a byte of it may be left, of wrapping keys or expanded ones.
#[test]
#[cfg(target_os = "linux")]
fn locking_leaves_no_byte_of_a_key_in_the_arena() {
    let bed = Bed::create(MemoryDevice::new(), 1).unwrap();
    bed.relock();
    let probe = bed.arena.place(|| Ok([0x77u8; 64])).unwrap();
    let address = std::ptr::from_ref(probe.get().unwrap()) as usize;
    let (locked, size) = (memory(address), bed.arena.status().bytes);
    for round in 0..3 {
        bed.unlock();
        let unlocked = memory(address);
        assert!(unlocked != locked, "the memory of keys was not found");
        for ino in 7..17 {
            if round == 0 {
                bed.make(ino, 0).unwrap();
            }
            bed.write_all(ino, 0, &pattern(ino, 5000)).unwrap();
            bed.read_all(ino).unwrap();
        }
        assert!(bed.keys.expanded() >= 10 && memory(address) != unlocked);
        assert_eq!(bed.arena.status().bytes, size, "keys are elsewhere, too");
        bed.relock();
        assert_eq!(bed.keys.expanded(), 0);
        assert!(memory(address) == locked, "something of a key is left");
    }
}
