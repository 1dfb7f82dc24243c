//! Names and reading directories.

use std::collections::BTreeSet;
use std::sync::Arc;

use efscrypt::ErrorKind as Kind;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::fs::{COOKIE_DOT_DOT, CreateMode, FileSystem, ROOT_INO};

use crate::bed::{DIR, FILE, assert_clean, create, names, open};

fn name(n: u64) -> Vec<u8> {
    format!("file {n}").into_bytes()
}

/// Reads up to `most` entries, and returns them with the cookie to go on from.
fn part(fs: &FileSystem, dir: u64, cookie: u64, most: usize) -> (Vec<Vec<u8>>, u64, bool) {
    let (mut found, mut last) = (Vec::new(), cookie);
    let end = fs.read_dir(dir, cookie, |entry| {
        if found.len() == most {
            return false;
        }
        assert!(entry.cookie > last && entry.cookie < 1 << 63);
        found.push(entry.name.to_vec());
        last = entry.cookie;
        true
    });
    (found, last, end.unwrap())
}

#[test]
fn any_bytes_are_a_name() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let mut all = BTreeSet::new();
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        for name in [vec![byte; 255], vec![b'x', byte], vec![byte; 3]] {
            if all.insert(name.clone()) {
                fs.create(ROOT_INO, &name, &FILE, CreateMode::Guarded).unwrap();
            }
        }
    }
    for bad in [&b""[..], b"a/b", b"/", b"a\0b", b"\0"] {
        let answer = fs.create(ROOT_INO, bad, &FILE, CreateMode::Guarded);
        assert_eq!(answer.unwrap_err().kind(), Kind::InvalidArgument, "{bad:?}");
        assert_eq!(fs.lookup(ROOT_INO, bad).unwrap_err().kind(), Kind::InvalidArgument);
    }
    let long = fs.create(ROOT_INO, &[b'a'; 256], &FILE, CreateMode::Guarded);
    assert_eq!(long.unwrap_err().kind(), Kind::NameTooLong);
    for dot in [&b"."[..], b".."] {
        assert_eq!(fs.mkdir(ROOT_INO, dot, &DIR).unwrap_err().kind(), Kind::Exists);
        assert_eq!(fs.lookup(ROOT_INO, dot).unwrap().ino, ROOT_INO);
    }
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    assert_eq!(names(&fs, ROOT_INO).into_keys().collect::<BTreeSet<_>>(), all);
    for name in &all {
        assert_eq!(fs.lookup(ROOT_INO, name).unwrap().size, 0);
    }
    assert_clean(&fs, "names");
}

#[test]
fn the_dots_come_first_and_can_be_left_out() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap();
    let mut seen = Vec::new();
    let end = fs.read_dir_plus(dir, 0, |entry, attr| {
        let attr = attr.unwrap();
        assert_eq!((entry.ino, entry.kind), (attr.ino, attr.kind));
        seen.push((entry.name.to_vec(), entry.ino));
        true
    });
    assert!(end.unwrap());
    let want = [(b".".to_vec(), dir), (b"..".to_vec(), ROOT_INO)];
    assert_eq!(seen[..2], want);
    assert_eq!(part(&fs, dir, 0, 1), (vec![b".".to_vec()], 1, false));
    assert_eq!(part(&fs, dir, 1, 1), (vec![b"..".to_vec()], 2, false));
    let (rest, last, end) = part(&fs, dir, COOKIE_DOT_DOT, 9);
    assert_eq!((rest, end), (vec![b"f".to_vec()], true));
    assert!(last >= 3);
    assert_eq!(part(&fs, dir, last, 9), (vec![], last, true));
    assert_eq!(part(&fs, dir, u64::MAX, 9), (vec![], u64::MAX, true));
}

/// Entries that nobody touches are seen once, whatever happens to others, through restarts.
#[test]
fn a_resumed_read_neither_loses_nor_repeats() {
    for seed in 0..4 {
        let device = Arc::new(MemoryDevice::new());
        let mut fs = create(device.clone(), seed);
        let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
        let mut rng = Rng::new(seed);
        for n in 0..1_000 {
            fs.create(dir, &name(n), &FILE, CreateMode::Guarded).unwrap();
        }
        // Numbers divisible by 3 stay; others come and go.
        let (mut seen, mut cookie) = (Vec::new(), 0);
        loop {
            let (found, last, end) = part(&fs, dir, cookie, 1 + rng.below(60) as usize);
            seen.extend(found);
            if end {
                break;
            }
            cookie = last;
            for _ in 0..20 {
                let n = rng.below(2_000) / 3 * 3 + 1 + rng.below(2);
                match fs.unlink(dir, &name(n)) {
                    Ok(_) => {}
                    Err(_) => {
                        fs.create(dir, &name(n), &FILE, CreateMode::Guarded).unwrap();
                    }
                }
            }
            if rng.one_in(5) {
                fs.sync().unwrap();
                drop(fs);
                fs = open(device.clone(), seed + 9);
            }
        }
        for n in (0..1_000).step_by(3) {
            assert_eq!(seen.iter().filter(|found| **found == name(n)).count(), 1, "{n}");
        }
        assert_clean(&fs, "resumed");
    }
}

#[test]
fn a_visitor_may_change_what_it_reads() {
    let fs = create(MemoryDevice::new(), 1);
    for n in 0..500 {
        fs.create(ROOT_INO, &name(n), &FILE, CreateMode::Guarded).unwrap();
    }
    let mut removed = 0;
    let end = fs.read_dir(ROOT_INO, COOKIE_DOT_DOT, |entry| {
        fs.unlink(ROOT_INO, entry.name).unwrap();
        removed += 1;
        true
    });
    assert!(end.unwrap());
    assert_eq!(removed, 500);
    assert!(names(&fs, ROOT_INO).is_empty());
    assert_eq!(fs.getattr(ROOT_INO).unwrap().entries, 0);
    assert_clean(&fs, "emptied");
}

#[test]
fn large_directories() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    // A million by the same code: EFSCRYPT_MANY=1000000.
    let many = std::env::var("EFSCRYPT_MANY").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for n in 0..many {
        fs.create(dir, &name(n), &FILE, CreateMode::Guarded).unwrap();
    }
    assert_eq!(fs.getattr(dir).unwrap().entries, many);
    fs.sync().unwrap();
    drop(fs);
    let fs = open(device, 2);
    assert_eq!(names(&fs, dir).len() as u64, many);
    for n in (0..many).step_by(7) {
        fs.lookup(dir, &name(n)).unwrap();
        assert_eq!(fs.lookup(dir, &name(n + many)).unwrap_err().kind(), Kind::NotFound);
    }
    assert!(fs.cached_inodes() < 34_000);
    for n in 0..many {
        fs.unlink(dir, &name(n)).unwrap();
    }
    fs.rmdir(ROOT_INO, b"d").unwrap();
    assert_clean(&fs, "removed");
}
