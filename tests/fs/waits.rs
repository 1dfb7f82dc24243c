//! Who waits for whom: no checkpoint is written while locks are held that others want.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr};

use crate::bed::{DIR, FILE, create, pattern};
use crate::slow::Slow;

fn fill(fs: &FileSystem, dir: u64, files: u32) {
    for n in 0..files {
        let name = format!("file-with-some-longer-name-{n}");
        fs.create(dir, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap();
    }
}

/// Calls `look` until `stop`, and returns the longest that one call took.
fn longest(stop: &AtomicBool, mut look: impl FnMut()) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        look();
        longest = longest.max(start.elapsed());
    }
    longest
}

#[test]
fn a_lookup_does_not_wait_for_the_checkpoint_of_a_creation() {
    let takes = Duration::from_millis(300);
    let device = Slow::new(takes);
    let fs = create(device.clone(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap();
    let (stop, before) = (AtomicBool::new(false), device.flushes());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (fs, stop, device) = (&fs, &stop, &device);
            scope.spawn(move || {
                let own = fs.mkdir(dir, &[b'0' + thread], &DIR).unwrap().attr.ino;
                while device.flushes() < before + 8 {
                    fill_once(fs, dir, own);
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        let longest = longest(&stop, || assert_eq!(fs.lookup(dir, b"f").unwrap().size, 0));
        assert!(longest < takes, "a lookup took {longest:?}");
    });
}

/// Makes files in a directory, in another one below it, and in the first again.
fn fill_once(fs: &FileSystem, dir: u64, own: u64) {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    for dir in [dir, own, dir] {
        let name = format!("file-with-some-longer-name-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        fs.create(dir, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap();
    }
}

#[test]
fn writers_that_wait_for_a_checkpoint_do_not_each_write_one() {
    let flushes = |threads: u32| {
        let device = Slow::new(Duration::from_millis(20));
        let fs = create(device.clone(), 1);
        let dirs = (0..threads).map(|n| fs.mkdir(ROOT_INO, &[b'0' + n as u8], &DIR).unwrap());
        let dirs: Vec<u64> = dirs.map(|made| made.attr.ino).collect();
        let before = device.flushes();
        std::thread::scope(|scope| {
            for &dir in &dirs {
                let fs = &fs;
                scope.spawn(move || fill(fs, dir, 48_000 / threads));
            }
        });
        device.flushes() - before
    };
    let (one, many) = (flushes(1), flushes(8));
    assert!(one >= 4, "{one} flushes: nothing was tested");
    assert!(many <= one * 2, "{many} flushes of 8 threads, {one} of 1");
}

/// A truncation of a file with very many extents, and others that want its directory.
#[test]
fn a_long_truncation_does_not_hold_up_its_directory() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    let ino = fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let unit = pattern(1, 4096);
    for n in 0..20_000 {
        fs.write(ino, n * 2 * 4096, &unit).unwrap();
    }
    let rows = fs.engine().last();
    fs.setattr(ino, &SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    assert!(fs.engine().last() - rows < 64, "all of it in one call");
    // What is left does not show where the file grows again.
    fs.write(ino, 30_000 * 4096, b"end").unwrap();
    let mut back = vec![1; 4096];
    for n in [0, 9_000, 19_998, 29_999] {
        fs.read(ino, n * 4096, &mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == 0), "unit {n}");
    }
    assert_eq!(fs.seek_data(ino, 0).unwrap(), Some(30_000 * 4096));
    crate::bed::assert_clean(&fs, "truncated");
}
