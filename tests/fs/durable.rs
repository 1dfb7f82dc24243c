//! What is certain when a call returns: each operation, deferred and durable, against power cuts
//! and failing flushes; and how callers that wait share a flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
use efscrypt::fs::{
    CreateMode, FileSystem, FileType, MountOptions, ROOT_INO, RenameMode, SetAttr, Stability,
    XattrMode,
};
use efscrypt::{ErrorKind, Result};

use crate::bed::{DIR, FILE, assert_clean, create, mount_options, names, open, open_with, pattern};
use crate::flawed::Flawed;

type Change = (&'static str, fn(&FileSystem) -> Result<()>, fn(&FileSystem) -> bool);

fn ino(fs: &FileSystem, name: &[u8]) -> u64 {
    fs.lookup(ROOT_INO, name).map_or(u64::MAX, |attr| attr.ino)
}

fn has(fs: &FileSystem, name: &[u8]) -> bool {
    fs.lookup(ROOT_INO, name).is_ok()
}

fn contents(fs: &FileSystem, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let len = fs.read(ino(fs, name), 0, &mut bytes).map_or(0, |read| read.len);
    bytes.truncate(len);
    bytes
}

/// Every kind of change, each on what those before it left, and whether it is there.
const CHANGES: &[Change] = &[
    (
        "create",
        |fs| fs.create(ROOT_INO, b"file", &FILE, CreateMode::Guarded).map(drop),
        |fs| has(fs, b"file"),
    ),
    (
        "create with an exclusive verifier",
        |fs| fs.create(ROOT_INO, b"own", &FILE, CreateMode::Exclusive([9; 8])).map(drop),
        |fs| fs.create(ROOT_INO, b"own", &FILE, CreateMode::Exclusive([9; 8])).is_ok(),
    ),
    ("mkdir", |fs| fs.mkdir(ROOT_INO, b"dir", &DIR).map(drop), |fs| has(fs, b"dir")),
    (
        "symlink",
        |fs| fs.symlink(ROOT_INO, b"soft", b"target", &FILE).map(drop),
        |fs| fs.readlink(ino(fs, b"soft")).is_ok_and(|target| target == b"target"),
    ),
    (
        "mknod",
        |fs| fs.mknod(ROOT_INO, b"fifo", FileType::Fifo, 0, &FILE).map(drop),
        |fs| has(fs, b"fifo"),
    ),
    (
        "write inline",
        |fs| fs.write(ino(fs, b"file"), 0, &pattern(1, 900)).map(drop),
        |fs| contents(fs, b"file") == pattern(1, 900),
    ),
    (
        "write units",
        |fs| fs.write(ino(fs, b"file"), 0, &pattern(2, 300_000)).map(drop),
        |fs| contents(fs, b"file") == pattern(2, 300_000),
    ),
    (
        "append",
        |fs| fs.append(ino(fs, b"file"), b"tail").map(drop),
        |fs| contents(fs, b"file").ends_with(b"tail"),
    ),
    (
        "punch",
        |fs| fs.punch_hole(ino(fs, b"file"), 4096, 8192).map(drop),
        |fs| contents(fs, b"file").get(4096..12288) == Some(&[0; 8192]),
    ),
    (
        "truncate",
        |fs| {
            let set = SetAttr { size: Some(5000), ..SetAttr::default() };
            fs.setattr(ino(fs, b"file"), &set).map(drop)
        },
        |fs| contents(fs, b"file").len() == 5000,
    ),
    (
        "mode",
        |fs| {
            let set = SetAttr { mode: Some(0o600), ..SetAttr::default() };
            fs.setattr(ino(fs, b"file"), &set).map(drop)
        },
        |fs| fs.getattr(ino(fs, b"file")).is_ok_and(|attr| attr.mode & 0o777 == 0o600),
    ),
    (
        "set an attribute",
        |fs| fs.set_xattr(ino(fs, b"file"), b"user.a", b"1", XattrMode::Either).map(drop),
        |fs| fs.get_xattr(ino(fs, b"file"), b"user.a").is_ok_and(|value| value == b"1"),
    ),
    (
        "remove an attribute",
        |fs| fs.remove_xattr(ino(fs, b"file"), b"user.a").map(drop),
        |fs| fs.get_xattr(ino(fs, b"file"), b"user.a").is_err(),
    ),
    (
        "link",
        |fs| fs.link(ino(fs, b"file"), ROOT_INO, b"second").map(drop),
        |fs| ino(fs, b"second") == ino(fs, b"file"),
    ),
    (
        "rename",
        |fs| fs.rename(ROOT_INO, b"second", ROOT_INO, b"third", RenameMode::Replace).map(drop),
        |fs| has(fs, b"third") && !has(fs, b"second"),
    ),
    (
        "exchange",
        |fs| fs.rename(ROOT_INO, b"third", ROOT_INO, b"soft", RenameMode::Exchange).map(drop),
        |fs| ino(fs, b"soft") == ino(fs, b"file"),
    ),
    ("unlink", |fs| fs.unlink(ROOT_INO, b"soft").map(drop), |fs| !has(fs, b"soft")),
    ("rmdir", |fs| fs.rmdir(ROOT_INO, b"dir").map(drop), |fs| !has(fs, b"dir")),
];

/// Runs all changes, each made durable by `run`, and cuts the power as soon as it returned.
fn survives(seed: u64, options: MountOptions, run: impl Fn(&FileSystem, &Change) -> Result<()>) {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(seed)));
    drop(create(device.clone(), seed));
    let fs = open_with(device.clone(), seed, options).unwrap();
    for change in CHANGES {
        run(&fs, change).unwrap_or_else(|error| panic!("{}: {error}", change.0));
        for fate in 0..6 {
            let after = open(device.crash_image(seed * 100 + fate), seed);
            assert!(change.2(&after), "{} is lost (seed {seed}, fate {fate})", change.0);
            assert_clean(&after, change.0);
        }
    }
}

#[test]
fn a_durable_change_survives_a_power_cut() {
    survives(1, mount_options(), |fs, change| fs.durably(change.1));
    survives(2, mount_options(), |fs, change| {
        let answer = fs.stable(Stability::DataSync, change.1)?;
        assert_eq!(answer.committed, Stability::FileSync);
        assert_eq!(answer.verifier, fs.write_verifier());
        Ok(())
    });
    survives(3, mount_options(), |fs, change| {
        change.1(fs)?;
        fs.sync()
    });
}

#[test]
fn a_durable_mount_makes_every_change_durable() {
    let options = MountOptions { durable: true, ..mount_options() };
    survives(4, options, |fs, change| change.1(fs));
}

#[test]
fn what_names_a_file_makes_it_durable() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(5)));
    let fs = create(device.clone(), 5);
    let file = fs.create(ROOT_INO, b"file", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    for (n, commit) in [true, false].into_iter().enumerate() {
        let bytes = pattern(n as u64, 70_000);
        let written = fs.stable(Stability::Unstable, |fs| fs.write(file, 0, &bytes)).unwrap();
        assert_eq!(written.committed, Stability::Unstable);
        match commit {
            true => assert_eq!(fs.commit(file, 0, 70_000).unwrap(), written.verifier),
            false => fs.fsync(file).unwrap(),
        }
        let after = open(device.crash_image(n as u64), 5);
        assert!(contents(&after, b"file") == bytes);
        assert_ne!(after.write_verifier(), written.verifier);
    }
    let refused = |result: Result<[u8; 8]>| result.unwrap_err().kind();
    assert_eq!(refused(fs.commit(ROOT_INO, 0, 0)), ErrorKind::IsDirectory);
    assert_eq!(refused(fs.commit(99, 0, 0)), ErrorKind::Stale);
    assert_eq!(refused(fs.commit(file, u64::MAX, 1)), ErrorKind::InvalidArgument);
    assert_eq!(fs.fsync(99).unwrap_err().kind(), ErrorKind::Stale);
}

#[test]
fn a_deferred_change_waits_for_no_flush_and_may_be_lost() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(6)));
    let fs = create(device.clone(), 6);
    fs.sync().unwrap();
    let flushes = device.counters().flushes;
    for change in CHANGES {
        fs.stable(Stability::Unstable, change.1).unwrap();
    }
    assert_eq!(device.counters().flushes, flushes);
    let lost =
        (0..50).filter(|fate| names(&open(device.crash_image(*fate), 6), ROOT_INO).is_empty());
    assert!(lost.count() > 0, "the simulation never loses anything");
    fs.sync().unwrap();
    assert_eq!(device.counters().flushes, flushes + 1, "one flush for all of them");
    fs.sync().unwrap();
    assert_eq!(device.counters().flushes, flushes + 1, "nothing was left to do");
}

#[test]
fn a_failed_flush_is_loud_and_stays_so() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(7)));
    let fs = create(device.clone(), 7);
    fs.durably(|fs| fs.create_with(ROOT_INO, b"file", &FILE, CreateMode::Guarded, b"bytes"))
        .unwrap();
    fs.health().unwrap();
    device.set_plan(FaultPlan::new(7).fail(Op::Flush, 0, Failure::Io, Repeat::Once));
    let lost = fs.durably(|fs| fs.create(ROOT_INO, b"perhaps", &FILE, CreateMode::Guarded));
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::Io);
    let cause = fs.health().unwrap_err();
    assert_eq!(cause.kind(), ErrorKind::Poisoned);
    // The device works again, and the store refuses all the same, with the first cause.
    // Those that need nothing but the file.
    for change in &CHANGES[1..12] {
        assert_eq!(
            fs.durably(change.1).unwrap_err().to_string(),
            cause.to_string(),
            "{}",
            change.0
        );
    }
    let file = ino(&fs, b"file");
    assert_eq!(fs.commit(file, 0, 0).unwrap_err().to_string(), cause.to_string());
    assert_eq!(contents(&fs, b"file"), b"bytes");
    drop(fs);
    let fs = open(device, 7);
    assert_eq!(contents(&fs, b"file"), b"bytes");
    fs.health().unwrap();
}

const CALLERS: usize = 16;
const EACH: usize = 10;

#[test]
fn callers_that_wait_share_flushes() {
    let device = Flawed::slow(MemoryDevice::new(), Duration::from_millis(2));
    let fs = create(device.clone(), 8);
    fs.sync().unwrap();
    let before = device.flushes.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let fs = &fs;
            scope.spawn(move || {
                for n in 0..EACH {
                    let name = format!("{caller}-{n}");
                    let made = |fs: &FileSystem| {
                        fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded)
                    };
                    fs.durably(made).unwrap();
                }
            });
        }
    });
    let flushes = device.flushes.load(Ordering::Relaxed) - before;
    // Two turns for each round, where all run at once: whoever came during a flush is served by
    // the next. The rest is room for a busy machine.
    assert!(flushes <= 5 * EACH as u64, "{flushes} flushes for {} changes", CALLERS * EACH);
    drop(fs);
    let fs = open(device, 8);
    assert_eq!(names(&fs, ROOT_INO).len(), CALLERS * EACH);
}

#[test]
fn no_caller_starves_beside_busy_ones() {
    let device = Flawed::slow(MemoryDevice::new(), Duration::from_millis(2));
    let fs = create(device, 9);
    let stop = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        for caller in 0..4 {
            let (fs, stop) = (&fs, &stop);
            scope.spawn(move || {
                let name = format!("busy-{caller}");
                let made = fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded);
                let file = made.unwrap().attr.ino;
                while !stop.load(Ordering::Relaxed) {
                    fs.durably(|fs| fs.write(file, 0, b"again")).unwrap();
                }
            });
        }
        let slowest = (0..50).map(|n| {
            let name = format!("other-{n}");
            let start = Instant::now();
            fs.durably(|fs| fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded))
                .unwrap();
            start.elapsed()
        });
        let slowest = slowest.max().unwrap();
        stop.store(true, Ordering::Relaxed);
        slowest
    });
    // The flush at work, and the one after it; the rest is room for a busy machine. One that
    // starved would have waited for ever.
    assert!(slowest < Duration::from_secs(2), "one waited for {slowest:?}");
}

#[test]
fn reads_go_on_while_a_flush_takes_long() {
    let device = Flawed::slow(MemoryDevice::new(), Duration::from_millis(1));
    let fs = create(device.clone(), 10);
    let file = fs.create(ROOT_INO, b"file", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    fs.write(file, 0, &pattern(1, 100_000)).unwrap();
    let (before, done) = (device.flushes.load(Ordering::Relaxed), AtomicBool::new(false));
    device.held.store(true, Ordering::Release);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fs.durably(|fs| fs.write(file, 0, b"new")).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        while device.flushes.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        // The flush is at work, and ends when all of this is done, or much later by itself.
        let mut bytes = vec![0; 100_000];
        fs.read(file, 0, &mut bytes).unwrap();
        assert_eq!(&bytes[..3], b"new");
        fs.lookup(ROOT_INO, b"file").unwrap();
        fs.getattr(file).unwrap();
        names(&fs, ROOT_INO);
        fs.create(ROOT_INO, b"deferred", &FILE, CreateMode::Guarded).unwrap();
        fs.write(file, 4096, b"deferred").unwrap();
        let waited = done.load(Ordering::Relaxed);
        device.held.store(false, Ordering::Release);
        assert!(!waited, "something waited for the flush");
    });
}
