//! Many threads on one file system.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use efscrypt::ErrorKind as Kind;
use efscrypt::check::check;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, RenameMode, SetAttr};

use crate::bed::{DIR, FILE, assert_clean, create};

const THREADS: u64 = 6;

/// What may go wrong where others change the same names.
const RACES: &[Kind] = &[
    Kind::NotFound,
    Kind::Exists,
    Kind::NotEmpty,
    Kind::NotDirectory,
    Kind::IsDirectory,
    Kind::Loop,
    Kind::Stale,
];

fn tolerate<T>(answer: efscrypt::Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => {
            assert!(RACES.contains(&error.kind()), "{error}");
            false
        }
    }
}

fn some_dir(fs: &FileSystem, rng: &mut Rng) -> u64 {
    let mut dir = ROOT_INO;
    for _ in 0..rng.below(4) {
        let name = [b'd', b'0' + rng.below(3) as u8];
        match fs.lookup(dir, &name) {
            Ok(attr) => dir = attr.ino,
            Err(error) => {
                assert!(RACES.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
    dir
}

fn step(fs: &FileSystem, rng: &mut Rng) -> bool {
    let (from, to) = (some_dir(fs, rng), some_dir(fs, rng));
    let file = [b'f', b'0' + rng.below(8) as u8];
    let other = [b'f', b'0' + rng.below(8) as u8];
    let (dir, new_dir) = ([b'd', b'0' + rng.below(3) as u8], [b'd', b'0' + rng.below(3) as u8]);
    let bytes = vec![7; rng.below(6_000) as usize];
    let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
    let mode = mode[rng.below(3) as usize];
    match rng.below(12) {
        0 | 1 => tolerate(fs.create_with(from, &file, &FILE, CreateMode::Unchecked, &bytes)),
        2 | 3 => tolerate(fs.mkdir(from, &dir, &DIR)),
        4 => tolerate(fs.unlink(from, &file)),
        5 => tolerate(fs.rmdir(from, &dir)),
        6 => tolerate(fs.rename(from, &file, to, &other, mode)),
        7 => tolerate(fs.rename(from, &dir, to, &new_dir, mode)),
        8 => match fs.lookup(from, &file) {
            Ok(attr) => tolerate(fs.link(attr.ino, to, &other)),
            Err(_) => false,
        },
        9 => match fs.lookup(from, &file) {
            Ok(attr) if tolerate(fs.open(attr.ino)) => {
                tolerate(fs.write(attr.ino, rng.below(5_000), &bytes));
                let size = SetAttr { size: Some(rng.below(9_000)), ..SetAttr::default() };
                tolerate(fs.setattr(attr.ino, &size));
                fs.close(attr.ino).unwrap();
                true
            }
            _ => false,
        },
        _ => tolerate(fs.read_dir_plus(from, 0, |_, _| true)),
    }
}

#[test]
fn threads_in_shared_directories() {
    for seed in 0..3 {
        let fs = create(MemoryDevice::new(), seed);
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (fs, done) = (&fs, &done);
                scope.spawn(move || {
                    let mut rng = Rng::of(seed, thread);
                    for round in 0..1_500 {
                        done.fetch_add(u64::from(step(fs, &mut rng)), Ordering::Relaxed);
                        if round % 300 == 0 {
                            fs.maintain().unwrap();
                        }
                    }
                });
            }
        });
        assert!(done.load(Ordering::Relaxed) > THREADS * 300, "most attempts came to nothing");
        assert!(fs.reap(usize::MAX).unwrap());
        assert_clean(&fs, &format!("seed {seed}"));
    }
}

#[test]
fn a_creation_finds_what_it_races_or_makes_it() {
    let fs = create(MemoryDevice::new(), 1);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for _ in 0..40_000 {
                    match thread % 2 {
                        0 => drop(tolerate(fs.unlink(ROOT_INO, b"f"))),
                        _ => {
                            let made = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Unchecked);
                            assert_eq!(made.unwrap().attr.nlink, 1);
                        }
                    }
                }
            });
        }
    });
    assert_clean(&fs, "raced");
}

/// A name that is replaced again and again is there at every moment, and leads to a whole file.
#[test]
fn a_replaced_name_is_never_missing() {
    let fs = create(MemoryDevice::new(), 1);
    fs.create_with(ROOT_INO, b"f", &FILE, CreateMode::Guarded, &[0; 100]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (mut looks, mut last) = (0u64, 0);
                while !stop.load(Ordering::Relaxed) || looks < 100 {
                    assert_eq!(fs.lookup(ROOT_INO, b"f").unwrap().size, 100);
                    let mut seen = 0;
                    let end = fs.read_dir(ROOT_INO, 2, |entry| {
                        seen += u32::from(entry.name == b"f");
                        true
                    });
                    assert!(end.unwrap() && seen == 1);
                    let change = fs.getattr(ROOT_INO).unwrap().change;
                    assert!(change >= last);
                    (looks, last) = (looks + 1, change);
                }
            });
        }
        for n in 0..2_000u32 {
            let bytes = [n as u8; 100];
            fs.create_with(ROOT_INO, b"new", &FILE, CreateMode::Guarded, &bytes).unwrap();
            fs.rename(ROOT_INO, b"new", ROOT_INO, b"f", RenameMode::Replace).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_clean(&fs, "replaced");
}

#[test]
fn a_check_costs_writers_beside_it_nothing() {
    let fs = create(MemoryDevice::new(), 1);
    let make = |name: String| fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded);
    for n in 0..5_000 {
        make(format!("f{n}")).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                make(format!("g{n}")).unwrap();
                fs.unlink(ROOT_INO, format!("g{}", n / 2).as_bytes()).ok();
                if n % 500 == 0 {
                    fs.maintain().unwrap();
                }
            }
        });
        for _ in 0..20 {
            // What it says of space is not of one moment.
            let report = check(&fs).unwrap();
            assert!(report.structure.damaged.is_empty() && report.inodes > 5_000, "{report:?}");
        }
        done.store(true, Ordering::Relaxed);
    });
    fs.sync().unwrap();
    assert_clean(&fs, "checked");
}
