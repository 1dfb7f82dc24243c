//! Who waits for whom: no checkpoint is written while locks are held that others want.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO, SetAttr};

use crate::bed::{DIR, FILE, create, pattern};
use crate::flawed::Flawed;

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
    let device = Flawed::slow(MemoryDevice::new(), takes);
    let fs = create(device.clone(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap();
    let (stop, before) = (AtomicBool::new(false), device.flushes.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (fs, stop, device) = (&fs, &stop, &device);
            scope.spawn(move || {
                let own = fs.mkdir(dir, &[b'0' + thread], &DIR).unwrap().attr.ino;
                while device.flushes.load(Ordering::Relaxed) < before + 8 {
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
        let device = Flawed::slow(MemoryDevice::new(), Duration::from_millis(20));
        let fs = create(device.clone(), 1);
        let dirs = (0..threads).map(|n| fs.mkdir(ROOT_INO, &[b'0' + n as u8], &DIR).unwrap());
        let dirs: Vec<u64> = dirs.map(|made| made.attr.ino).collect();
        let before = device.flushes.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            for &dir in &dirs {
                let fs = &fs;
                scope.spawn(move || fill(fs, dir, 48_000 / threads));
            }
        });
        device.flushes.load(Ordering::Relaxed) - before
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

#[test]
fn an_open_does_not_wait_for_reads() {
    let device = Flawed::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    fs.write(ino, 0, &pattern(1, 4096)).unwrap();
    let takes = Duration::from_millis(600);
    *device.read_takes.lock().unwrap() = takes;
    std::thread::scope(|scope| {
        scope.spawn(|| fs.read(ino, 0, &mut [0; 4096]).unwrap());
        std::thread::sleep(takes / 4);
        let start = Instant::now();
        fs.open(ino).unwrap();
        fs.getattr(ino).unwrap();
        assert!(start.elapsed() < takes / 2, "an open took {:?}", start.elapsed());
    });
    fs.unlink(ROOT_INO, b"f").unwrap();
    assert_eq!(fs.read(ino, 0, &mut [0; 4096]).unwrap().len, 4096);
    fs.close(ino).unwrap();
    assert!(fs.getattr(ino).is_err());
}

/// A store that has little space left until a checkpoint, and a directory with a file that fills
/// it.
fn nearly_full(device: &Arc<Flawed>) -> (FileSystem, u64, u64) {
    let fs = create(device.clone(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    fs.create(dir, b"small", &FILE, CreateMode::Guarded).unwrap();
    let file = fs.create(dir, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let (chunk, mut at) = (pattern(1, 1 << 18), 0);
    while let Ok(written) = fs.write(file, at, &chunk) {
        at += written.len as u64;
        if written.len < chunk.len() {
            break;
        }
    }
    let size = (at - (2 << 20)) / 4096 * 4096;
    fs.setattr(file, &SetAttr { size: Some(size), ..SetAttr::default() }).unwrap();
    fs.maintain().unwrap();
    fs.maintain().unwrap();
    (fs, dir, file)
}

/// Runs `change` until some checkpoints were written, and returns the longest that `look` took.
fn beside(device: &Flawed, change: impl Fn(u64) + Send, look: impl FnMut()) -> Duration {
    let (stop, before) = (AtomicBool::new(false), device.flushes.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            let changes =
                (0..100_000).take_while(|_| device.flushes.load(Ordering::Relaxed) < before + 8);
            changes.for_each(change);
            stop.store(true, Ordering::Relaxed);
        });
        let longest = longest(stop, look);
        assert!(device.flushes.load(Ordering::Relaxed) >= before + 8, "no checkpoint was needed");
        longest
    })
}

#[test]
fn nobody_waits_for_a_checkpoint_that_makes_room() {
    let takes = Duration::from_millis(300);
    let device = Flawed::new(MemoryDevice::fixed(24 << 20));
    let (fs, dir, file) = nearly_full(&device);
    *device.flush_takes.lock().unwrap() = takes;
    let chunk = pattern(2, 1 << 18);
    let overwrite = |n: u64| {
        let written = fs.write(file, (n % 8) << 18, &chunk).unwrap();
        assert_eq!(written.len, chunk.len());
    };
    let mut buf = [0; 4096];
    let read = beside(&device, overwrite, || {
        fs.read(file, 4 << 20, &mut buf).unwrap();
    });
    assert!(read < takes, "a read took {read:?}");
    let target = [b'x'; 4000];
    let relink = |n: u64| {
        fs.symlink(dir, format!("s{}", n % 50).as_bytes(), &target, &FILE).unwrap();
        if n >= 25 {
            fs.unlink(dir, format!("s{}", (n - 25) % 50).as_bytes()).unwrap();
        }
    };
    let lookup = beside(&device, relink, || {
        fs.lookup(dir, b"small").unwrap();
    });
    assert!(lookup < takes, "a lookup took {lookup:?}");
    crate::bed::assert_clean(&fs, "nearly full");
}

/// Many that find no space at once: each gets what is freed for it.
#[test]
fn changes_that_find_no_space_take_turns() {
    let device = Flawed::new(MemoryDevice::fixed(24 << 20));
    let (fs, dir, file) = nearly_full(&device);
    let chunk = pattern(2, 100_000);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (fs, chunk) = (&fs, &chunk);
            scope.spawn(move || {
                for n in 0..150 {
                    let at = (thread * 20 + n % 20) * 100_000;
                    assert_eq!(fs.write(file, at, chunk).unwrap().len, chunk.len());
                }
            });
        }
    });
    let mut names = 0;
    while fs.create(dir, &pattern_name(names), &FILE, CreateMode::Guarded).is_ok() {
        names += 1;
    }
    assert!(names > 100, "{names}");
    crate::bed::assert_clean(&fs, "many writers");
}

fn pattern_name(n: u32) -> Vec<u8> {
    format!("{n:0250}").into_bytes()
}
