//! Directories of which a part cannot be read: all the rest is listed, and the damage is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{COOKIE_DOT_DOT, CreateMode, FileSystem, ROOT_INO};
use efscrypt::txn::FIRST_FS_TREE;
use zerocopy::IntoBytes;

use crate::bed::{FILE, create, mount_options, open_with, put, row};

const NODE: usize = 16 << 10;
/// Where the clear header of a node says its level.
const LEVEL: usize = 69;
/// More names than this no leaf holds.
const NAMES_OF_A_LEAF: usize = 90;

/// The names that a listing sees, the last cookie, and how it ends.
fn list(fs: &FileSystem, from: u64, most: usize) -> (Vec<Vec<u8>>, u64, Result<bool, Kind>) {
    let (mut seen, mut last) = (Vec::new(), from);
    let end = fs.read_dir(ROOT_INO, from, |entry| {
        if seen.len() == most {
            return false;
        }
        seen.push(entry.name.to_vec());
        last = entry.cookie;
        true
    });
    (seen, last, end.map_err(|error| error.kind()))
}

/// A store whose root directory has so many names of one inode that they fill many leaves.
fn store(names: usize) -> MemoryDevice {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    for n in 1..names {
        fs.link(ino, ROOT_INO, format!("{n:0200}").as_bytes()).unwrap();
    }
    fs.maintain().unwrap();
    drop(fs);
    device.snapshot()
}

#[test]
fn a_damaged_leaf_costs_its_own_names() {
    const NAMES: usize = 3_000;
    let device = store(NAMES);
    let bytes = device.to_vec();
    let leaf = |block: &[u8]| block.starts_with(b"EFSNODE\x01") && block[LEVEL] == 0;
    let places = (0..bytes.len() - NODE).step_by(4096).filter(|at| leaf(&bytes[*at..]));
    let mut damaged = 0;
    for at in places {
        let device = Arc::new(device.snapshot());
        device.write_at(at as u64 + 5_000, &[bytes[at + 5_000] ^ 1]).unwrap();
        // The store does not open without its first leaf, where the root directory's inode is.
        let Ok(fs) = open_with(device, 2, mount_options()) else { continue };
        let (seen, _, end) = list(&fs, COOKIE_DOT_DOT, usize::MAX);
        if seen.len() == NAMES {
            // A leaf that nothing refers to any more, or one without names.
            assert_eq!(end, Ok(true));
            continue;
        }
        damaged += 1;
        assert_eq!(end, Err(Kind::Corrupt));
        assert!(seen.len() + NAMES_OF_A_LEAF > NAMES, "{} names at {at}", seen.len());
        // A page at a time: whoever goes on behind what it saw sees the same, and the damage once,
        // or again where nothing stands behind it.
        let (mut pages, mut cookie, mut failures) = (Vec::new(), COOKIE_DOT_DOT, 0);
        loop {
            let (page, last, end) = list(&fs, cookie, 50);
            let empty = page.is_empty();
            (pages, cookie) = ([pages, page].concat(), last);
            failures += usize::from(end.is_err());
            if end == Ok(true) || empty {
                break;
            }
        }
        assert!(
            pages == seen && (1..=2).contains(&failures),
            "{} names, {failures} failures",
            pages.len()
        );
    }
    assert!(damaged > 30, "{damaged} leaves");
}

#[test]
fn a_damaged_entry_costs_itself() {
    let fs = create(MemoryDevice::new(), 1);
    for n in 0..300u32 {
        let name = n.to_string();
        fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap();
    }
    let mut cookies = Vec::new();
    fs.read_dir(ROOT_INO, COOKIE_DOT_DOT, |entry| {
        cookies.push(entry.cookie);
        true
    })
    .unwrap();
    for at in [0, 127, 128, 200, 299] {
        let entry = FsKey::Entry(ROOT_INO, cookies[at]);
        let good =
            fs.engine().get(FIRST_FS_TREE, &entry.encode(), <[u8]>::to_vec).unwrap().unwrap();
        put(&fs, entry, b"nonsense");
        let (seen, _, end) = list(&fs, COOKIE_DOT_DOT, usize::MAX);
        assert_eq!((seen.len(), end), (299, Err(Kind::Corrupt)));
        // A page that ends before the damage knows nothing of it.
        let (seen, _, end) = list(&fs, COOKIE_DOT_DOT, at);
        let want = if at == 299 { Err(Kind::Corrupt) } else { Ok(false) };
        assert_eq!((seen.len(), end), (at, want), "at {at}");
        put(&fs, entry, &good);
    }
}

#[test]
fn a_damaged_inode_costs_its_attributes() {
    let fs = create(MemoryDevice::new(), 1);
    let make =
        |name: &[u8]| fs.create(ROOT_INO, name, &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let inodes: Vec<u64> = (b'a'..b'k').map(|name| make(&[name])).collect();
    let mut bad: InodeRow = row(&fs, inodes[4]);
    bad.flags = u32::MAX.into();
    put(&fs, FsKey::Inode(inodes[4]), bad.as_bytes());
    let (mut seen, mut without) = (BTreeSet::new(), Vec::new());
    let end = fs.read_dir_plus(ROOT_INO, COOKIE_DOT_DOT, |entry, attr| {
        assert!(attr.is_none_or(|attr| attr.ino == entry.ino));
        without.extend(attr.is_none().then_some(entry.ino));
        seen.insert(entry.ino)
    });
    assert!(end.unwrap());
    assert_eq!((seen, without), (inodes.iter().copied().collect(), vec![inodes[4]]));
}
