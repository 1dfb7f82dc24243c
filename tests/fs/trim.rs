//! Space comes back: what is free is given back to the host, and nothing else ever.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use efscrypt::ErrorKind;
use efscrypt::device::sim::{FaultPlan, Rng, SimDevice};
use efscrypt::device::{Device, FileDevice, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr};

use crate::bed::{FILE, assert_clean, create, make, open, open_read_only, pattern};

const MIB: u64 = 1 << 20;

fn fill(fs: &FileSystem, name: &[u8], mib: u64) -> u64 {
    let ino = make(fs, ROOT_INO, name);
    for n in 0..mib {
        fs.write(ino, n * MIB, &pattern(n, MIB as usize)).unwrap();
    }
    ino
}

fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

fn read(fs: &FileSystem, ino: u64) -> Vec<u8> {
    let mut bytes = vec![0; fs.getattr(ino).unwrap().size as usize];
    assert_eq!(fs.read(ino, 0, &mut bytes).unwrap().len, bytes.len());
    bytes
}

/// Each way of giving space up, of a file of 40 MiB.
const WAYS: [fn(&FileSystem, u64); 4] = [
    |fs, _| {
        fs.unlink(ROOT_INO, b"f").unwrap();
    },
    |fs, ino| {
        fs.setattr(ino, &SetAttr { size: Some(9), ..SetAttr::default() }).unwrap();
    },
    |fs, ino| {
        fs.punch_hole(ino, 100, 40 * MIB - 200).unwrap();
    },
    |fs, ino| {
        // Written again a third and a fourth time: the space of one of them is left over.
        for _ in 0..2 {
            for n in 0..40 {
                fs.write(ino, n * MIB, &pattern(n, MIB as usize)).unwrap();
            }
            fs.engine().checkpoint().unwrap();
        }
        fs.unlink(ROOT_INO, b"f").unwrap();
    },
];

#[test]
fn upkeep_gives_space_back_however_it_became_free() {
    for (number, way) in WAYS.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let fs = create(FileDevice::create(&path).unwrap(), 1);
        fs.engine().checkpoint().unwrap();
        let empty = blocks(&path);
        let ino = fill(&fs, b"f", 40);
        fs.sync().unwrap();
        let full = blocks(&path);
        assert!(full > empty + 40 * MIB);
        way(&fs, ino);
        // The clock of the tests ticks a second for each look at it.
        (0..12).for_each(|_| fs.sync().unwrap());
        while !fs.maintain().unwrap() {}
        let left = blocks(&path);
        assert!(left < empty + 8 * MIB, "way {number}: {empty} empty, {full} full, {left} left");
        let len = std::fs::metadata(&path).unwrap().len();
        assert!(len < empty + 16 * MIB, "way {number}: {len}");
        assert_clean(&fs, "given back");
        fs.engine().finish().unwrap();
        drop(fs);
        let fs = open(FileDevice::open(&path, false).unwrap(), 2);
        assert_clean(&fs, "opened");
    }
}

#[test]
fn what_is_written_all_the_time_stays() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let ino = fill(&fs, b"f", 24);
    for round in 0..6 {
        for n in 0..24 {
            fs.write(ino, n * MIB, &pattern(n + round, MIB as usize)).unwrap();
        }
        fs.maintain().unwrap();
    }
    assert_eq!(device.counters().discards, 0);
    // A close is the end of it.
    fs.engine().finish().unwrap();
    assert!(device.counters().discards > 0);
}

#[test]
fn closing_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let fs = create(FileDevice::create(&path).unwrap(), 1);
    let empty = blocks(&path);
    fill(&fs, b"f", 100);
    fs.engine().finish().unwrap();
    drop(fs);
    let fs = open(FileDevice::open(&path, false).unwrap(), 2);
    fs.unlink(ROOT_INO, b"f").unwrap();
    fs.reap(usize::MAX).unwrap();
    fs.engine().finish().unwrap();
    drop(fs);
    assert!(blocks(&path) < empty + 8 * MIB, "{} {empty}", blocks(&path));
    let len = std::fs::metadata(&path).unwrap().len();
    assert!(len < 16 * MIB, "{len}");
    assert_clean(&open(FileDevice::open(&path, false).unwrap(), 3), "opened");
}

/// A store over more than one region, with holes of all sizes in it.
fn ragged(device: impl Device + 'static, seed: u64) -> (FileSystem, Vec<(u64, Vec<u8>)>) {
    let fs = create(device, seed);
    let mut rng = Rng::new(seed);
    let mut files = Vec::new();
    for n in 0..60u64 {
        let len = [100, 5_000, 70_000, 2 * MIB, 3 * MIB][rng.below(5) as usize];
        let ino = make(&fs, ROOT_INO, format!("{n}").as_bytes());
        let mut bytes = pattern(seed * 100 + n, len as usize);
        fs.write(ino, 0, &bytes).unwrap();
        for _ in 0..20 {
            let at = rng.below(len) as usize;
            let some = pattern(n, (len as usize - at).min(3_000));
            fs.write(ino, at as u64, &some).unwrap();
            bytes[at..at + some.len()].copy_from_slice(&some);
        }
        files.push((ino, bytes));
    }
    for n in (0..60).filter(|n| n % 3 != 0 || *n > 40).rev() {
        fs.unlink(ROOT_INO, format!("{n}").as_bytes()).unwrap();
        files.remove(n);
    }
    while !fs.maintain().unwrap() {}
    (fs, files)
}

fn assert_files(fs: &FileSystem, files: &[(u64, Vec<u8>)], what: &str) {
    for (ino, bytes) in files {
        assert!(read(fs, *ino) == *bytes, "{what}: inode {ino}");
    }
    assert_clean(fs, what);
}

#[test]
fn a_trim_takes_all_that_is_free_and_nothing_else() {
    for seed in 1..3 {
        let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
        let (fs, files) = ragged(device.clone(), seed);
        let before = device.len().unwrap();
        let trimmed = fs.trim().unwrap();
        assert!(trimmed.supported && trimmed.discarded > 0, "{trimmed:?}");
        assert_eq!(trimmed.cut, before - device.len().unwrap());
        fs.drop_caches();
        assert_files(&fs, &files, "trimmed");
        let again = fs.trim().unwrap();
        assert!(again.cut == 0 && again.discarded <= trimmed.discarded, "{again:?}");
        // What was discarded can be used again.
        fill(&fs, b"new", 30);
        fs.engine().finish().unwrap();
        drop(fs);
        let fs = open(device.live_image(), seed + 50);
        assert_files(&fs, &files, "opened");
        // All free, up to the fixed parts, the root and what is reserved.
        let mut names: Vec<Vec<u8>> = crate::bed::names(&fs, ROOT_INO).into_keys().collect();
        for name in names.drain(..) {
            fs.unlink(ROOT_INO, &name).unwrap();
        }
        while !fs.maintain().unwrap() {}
        fs.trim().unwrap();
        assert_clean(&fs, "emptied");
        let used = fs.engine().usage().used;
        assert!(used < 64, "{used} units in use");
    }
}

#[test]
fn a_trim_reports_what_the_host_got_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (fs, files) = ragged(FileDevice::create(&path).unwrap(), 7);
    let before = blocks(&path);
    let trimmed = fs.trim().unwrap();
    let returned = trimmed.returned.unwrap();
    assert_eq!(returned, before - blocks(&path));
    assert!(returned > 0 && blocks(&path) < fs.engine().usage().used * 4096 + 12 * MIB);
    assert_files(&fs, &files, "trimmed");
    drop(fs);
    let fs = open_read_only(FileDevice::open(&path, true).unwrap(), 8);
    assert_eq!(fs.trim().unwrap_err().kind(), ErrorKind::ReadOnly);
}

/// Spoils the newest superblock in both places.
fn lose_newest(device: &MemoryDevice) {
    let generation = |at: u64| {
        let mut bytes = [0; 8];
        device.read_at(at + 56, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    };
    let slots = (0..8).map(|slot| slot * 16_384);
    let newest = slots.max_by_key(|at| generation(*at)).unwrap();
    for place in [0, 256 << 10] {
        device.write_at(place + newest + 1_000, &[0x5a; 64]).unwrap();
    }
}

/// Removes much, gives it back, and loses the newest superblock with what follows it. Returns
/// whether what is left is whole.
fn survives(seed: u64, early: bool, trim: bool) -> bool {
    let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
    let (fs, files) = ragged(device.clone(), seed);
    if early {
        fs.engine().discard_too_early();
    }
    // By a checkpoint alone: the log tells nothing of it.
    for (ino, _) in files.iter().step_by(2) {
        fs.setattr(*ino, &SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    }
    match trim {
        true => drop(fs.trim().unwrap()),
        false => fs.engine().finish().unwrap(),
    }
    drop(fs);
    let image = device.live_image();
    lose_newest(&image);
    let opened = std::panic::catch_unwind(|| {
        let fs = open(image, seed + 9);
        for (number, (ino, bytes)) in files.iter().enumerate() {
            let now = read(&fs, *ino);
            assert!(now == *bytes || (number % 2 == 0 && now.is_empty()));
        }
        assert!(efscrypt::check::check(&fs).unwrap().is_clean());
    });
    opened.is_ok()
}

#[test]
fn the_state_before_the_newest_is_whole() {
    for seed in 1..3 {
        assert!(survives(seed, false, true), "trim, seed {seed}");
        assert!(survives(seed, false, false), "close, seed {seed}");
    }
}

#[test]
fn a_discard_that_comes_a_checkpoint_too_early_is_caught() {
    assert!((1..5).any(|seed| !survives(seed, true, true)));
}

/// Cuts the power at each step of a trim that makes the device shorter.
#[test]
fn a_crash_in_a_trim_loses_nothing() {
    let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(3)));
    let (fs, files) = ragged(device.clone(), 3);
    let (from, long) = (device.steps(), device.len().unwrap());
    fs.trim().unwrap();
    let to = device.steps();
    assert!(device.len().unwrap() < long);
    let recording = device.take_recording();
    let stride = ((to - from) / 12).max(1);
    for step in (from..from + 12).chain((from..to).step_by(stride as usize)).chain(to - 3..=to) {
        for seed in 0..2 {
            let fs = open(recording.crash_image(step, seed), 90 + seed);
            assert_files(&fs, &files, &recording.describe(step, seed));
        }
    }
}

/// A device that fails to discard, or never does it.
struct Stubborn {
    inner: MemoryDevice,
    error: Option<io::ErrorKind>,
    asked: AtomicBool,
}

impl Device for Stubborn {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.inner.capacity()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        self.asked.store(true, Ordering::Relaxed);
        self.error.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

#[test]
fn a_device_that_cannot_discard_is_told_and_harms_nothing() {
    for error in [io::ErrorKind::Unsupported, io::ErrorKind::Other] {
        let inner = MemoryDevice::fixed(256 * MIB);
        let device = Arc::new(Stubborn { inner, error: Some(error), asked: false.into() });
        let (fs, files) = ragged(device.clone(), 4);
        device.asked.store(false, Ordering::Relaxed);
        match (fs.trim(), error) {
            (Ok(trimmed), io::ErrorKind::Unsupported) => assert!(!trimmed.supported),
            (Err(error), _) => assert_eq!(error.kind(), ErrorKind::Io),
            (trimmed, _) => panic!("{trimmed:?}"),
        }
        fs.health().unwrap();
        assert_files(&fs, &files, "as before");
        fs.unlink(ROOT_INO, b"0").unwrap();
        fs.engine().finish().unwrap();
    }
}

/// Writers that need space while all of it is being discarded.
#[test]
fn writers_find_space_while_a_trim_is_at_work() {
    let device = Arc::new(SimDevice::new(MemoryDevice::fixed(40 * MIB), FaultPlan::new(1)));
    let fs = create(device, 1);
    let ino = make(&fs, ROOT_INO, b"f");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs.trim().unwrap();
            }
        });
        for n in 0..40u64 {
            let bytes = pattern(n, 12 * MIB as usize);
            let written = fs.write(ino, 0, &bytes).unwrap();
            assert_eq!(written.len, bytes.len());
            if n % 5 == 0 {
                assert!(read(&fs, ino) == bytes);
                let other = fs.create(ROOT_INO, b"o", &FILE, CreateMode::Guarded).unwrap();
                fs.write(other.attr.ino, 0, &bytes[..300_000]).unwrap();
                fs.unlink(ROOT_INO, b"o").unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_clean(&fs, "trimmed all the time");
}
