//! A full store: what is deleted can be used again at once, nothing leaks, and it can be emptied.

use std::io;

use efscrypt::ErrorKind as Kind;
use efscrypt::check::check;
use efscrypt::device::sim::Rng;
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::FsKey;
use efscrypt::fs::{CreateMode, FileSystem, FileType, ROOT_INO, SetAttr};
use efscrypt::sim::{Caller, Model, Operation, Workload};
use efscrypt::txn::FIRST_FS_TREE;

use crate::bed::{FILE, assert_clean, create, names, pattern};

const UNIT: u64 = 4096;

fn make(fs: &FileSystem, name: &[u8]) -> u64 {
    fs.create(ROOT_INO, name, &FILE, CreateMode::Guarded).unwrap().attr.ino
}

/// Rows that the contents of a file have.
fn rows(fs: &FileSystem, ino: u64) -> usize {
    let (from, to) = (FsKey::Data(ino, 0).encode(), FsKey::Data(ino + 1, 0).encode());
    let mut rows = 0;
    let visit = |_: &[u8], _: &[u8]| {
        rows += 1;
        true
    };
    fs.engine().scan(FIRST_FS_TREE, &from, &to, visit).unwrap();
    rows
}

/// Writes every other unit of a file until the store is full; returns how many.
fn scatter(fs: &FileSystem, ino: u64) -> u64 {
    let unit = pattern(1, UNIT as usize);
    for n in 0.. {
        if let Err(error) = fs.write(ino, n * 2 * UNIT, &unit) {
            assert_eq!(error.kind(), Kind::NoSpace);
            return n;
        }
    }
    unreachable!("the store has an end")
}

#[test]
fn what_a_deleted_file_held_can_be_used_again_at_once() {
    let fs = create(MemoryDevice::limited(24 << 20), 1);
    let units = scatter(&fs, make(&fs, b"f"));
    assert!(units > 2_000, "{units}");
    fs.unlink(ROOT_INO, b"f").unwrap();
    let again = scatter(&fs, make(&fs, b"g"));
    assert!(again * 10 > units * 9, "{again} units, and {units} before");
    // The same for what a truncation freed, and for names.
    let ino = fs.lookup(ROOT_INO, b"g").unwrap().ino;
    fs.setattr(ino, &SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    let last = scatter(&fs, make(&fs, b"h"));
    assert!(last * 10 > units * 9, "{last} units, and {units} before");
    fs.unlink(ROOT_INO, b"h").unwrap();
    for n in 0..20_000u32 {
        let name = format!("{n:0200}");
        fs.mknod(ROOT_INO, name.as_bytes(), FileType::Fifo, 0, &FILE).unwrap();
    }
    assert!(check(&fs).unwrap().is_clean());
}

#[test]
fn later_operations_free_what_is_left_of_deleted_files() {
    for sync in [true, false] {
        let fs = create(MemoryDevice::new(), 1);
        let ino = make(&fs, b"f");
        for n in 0..3_000 {
            fs.write(ino, n * 2 * UNIT, &pattern(n, UNIT as usize)).unwrap();
        }
        let used = fs.engine().usage().used;
        fs.unlink(ROOT_INO, b"f").unwrap();
        assert!(fs.engine().usage().used > used - 1_000, "all of it in one call");
        for n in 0..200u32 {
            match sync {
                true => fs.sync().unwrap(),
                false => {
                    make(&fs, &n.to_string().into_bytes());
                    fs.unlink(ROOT_INO, &n.to_string().into_bytes()).unwrap();
                }
            }
        }
        assert_clean(&fs, "freed");
        assert!(fs.engine().usage().used + 2_500 < used);
    }
}

#[test]
fn a_small_file_goes_with_its_last_name() {
    let fs = create(MemoryDevice::new(), 1);
    for (name, len) in [(b"a", 0), (b"b", 1_000), (b"c", 100_000), (b"d", 2 << 20)] {
        let bytes = pattern(len as u64, len);
        let made = fs.create_with(ROOT_INO, name, &FILE, CreateMode::Guarded, &bytes).unwrap();
        let lsn = fs.engine().last();
        if len == 1_000 {
            make(&fs, b"other");
            fs.rename(ROOT_INO, b"other", ROOT_INO, name, Default::default()).unwrap();
            assert_eq!(fs.engine().last() - lsn, 2);
        } else {
            fs.unlink(ROOT_INO, name).unwrap();
            assert_eq!(fs.engine().last() - lsn, 1, "{len} bytes");
        }
        assert_eq!(fs.getattr(made.attr.ino).unwrap_err().kind(), Kind::Stale);
    }
    assert_clean(&fs, "gone");
}

/// A device that does not say how much its host has left.
struct Silent(MemoryDevice);

impl Device for Silent {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.0.capacity()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.0.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.discard(offset, len)
    }
}

#[test]
fn files_that_are_written_in_order_keep_no_space_from_others() {
    let fs = create(Silent(MemoryDevice::limited(48 << 20)), 1);
    let unit = pattern(1, UNIT as usize);
    for n in 0..64u32 {
        let ino = make(&fs, n.to_string().as_bytes());
        for k in 0..3 {
            fs.write(ino, k * UNIT, &unit).unwrap();
        }
    }
    let mut names = 0u32;
    let error = loop {
        let name = format!("{names:0250}");
        match fs.mknod(ROOT_INO, name.as_bytes(), FileType::Fifo, 0, &FILE) {
            Ok(_) => names += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::NoSpace);
    // The host has 48 MiB: all but the reserve for deleting is in use.
    let used = fs.engine().usage().used * UNIT;
    assert!(used > 38 << 20, "{} KiB in use", used >> 10);
}

#[test]
fn space_is_what_the_host_has() {
    let fs = create(MemoryDevice::limited(24 << 20), 1);
    let before = fs.statfs();
    assert!((20 << 20..=24 << 20).contains(&before.total), "{before:?}");
    fs.create_with(ROOT_INO, b"f", &FILE, CreateMode::Guarded, &pattern(1, 4 << 20)).unwrap();
    let after = fs.statfs();
    assert!(after.total == before.total && after.free + (4 << 20) <= before.free, "{after:?}");
    let place = tempfile::tempdir().unwrap();
    let device = efscrypt::device::FileDevice::create(place.path().join("store")).unwrap();
    let host = rustix::fs::statvfs(place.path()).unwrap();
    let total = create(device, 1).statfs().total;
    assert!(total > 0 && total <= host.f_blocks * host.f_frsize, "{total}");
}

#[test]
fn the_last_close_ends_what_was_reserved_for_a_file() {
    let write = |close: bool| {
        let fs = create(MemoryDevice::new(), 1);
        let ino = make(&fs, b"f");
        for n in 0..4 {
            fs.open(ino).unwrap();
            fs.write(ino, n * UNIT, &pattern(n, UNIT as usize)).unwrap();
            if close {
                fs.close(ino).unwrap();
            }
        }
        rows(&fs, ino)
    };
    assert_eq!((write(false), write(true)), (2, 4));
}

/// What a file reserved for its next writes is the last space of the store.
#[test]
fn a_file_may_have_what_it_reserved() {
    for freed in (68..148).step_by(8) {
        let fs = create(MemoryDevice::fixed(24 << 20), 1);
        let (own, other) = (make(&fs, b"own"), make(&fs, b"other"));
        let (mut end, mut chunk) = (0, 1 << 18);
        while chunk >= 4096 {
            match fs.write(other, end, &pattern(2, chunk)) {
                Ok(written) => end += written.len as u64,
                Err(_) => chunk /= 2,
            }
        }
        let set = SetAttr { size: Some((end / UNIT - freed) * UNIT), ..SetAttr::default() };
        fs.setattr(other, &set).unwrap();
        fs.maintain().unwrap();
        fs.maintain().unwrap();
        let unit = pattern(1, UNIT as usize);
        let written = (0..freed).take_while(|n| fs.write(own, n * UNIT, &unit).is_ok()).count();
        assert!(written as u64 + 24 > freed, "{written} units of {freed} that were free");
    }
}

fn empty(fs: &FileSystem, dir: u64) {
    for (name, ino) in names(fs, dir) {
        if fs.getattr(ino).unwrap().kind == FileType::Directory {
            empty(fs, ino);
            fs.rmdir(dir, &name).unwrap();
        } else {
            fs.unlink(dir, &name).unwrap();
        }
    }
}

/// What an operation may answer that was made up without looking.
const EXPECTED: &[Kind] = &[
    Kind::NotFound,
    Kind::Exists,
    Kind::NotEmpty,
    Kind::NotDirectory,
    Kind::IsDirectory,
    Kind::InvalidArgument,
    Kind::Loop,
    Kind::NoAttribute,
    Kind::NoSpace,
    Kind::NotSupported,
];

/// Random operations and large files, whether there is room for them or not.
struct Crowd {
    rng: Rng,
    work: Workload,
    /// The file system as it was: nothing in it is found.
    blank: Model,
    caller: Caller,
    full: u64,
    done: u64,
}

impl Crowd {
    fn new(fs: &FileSystem, seed: u64) -> Crowd {
        let (blank, caller) = (Model::new(fs).unwrap(), Caller::new());
        let (rng, work) = (Rng::of(seed, 9), Workload::new(seed));
        Crowd { rng, work, blank, caller, full: 0, done: 0 }
    }

    fn step(&mut self, fs: &FileSystem, round: u64) {
        let operation = match round % 3 {
            0 => {
                let name = format!("/fill{}", self.rng.below(200));
                let contents = efscrypt::sim::fill(round, self.rng.below(400_000) as usize);
                Operation::Create { path: name, mode: 0o644, how: CreateMode::Guarded, contents }
            }
            _ => self.work.next(&self.blank),
        };
        match self.caller.apply(fs, &operation) {
            Ok(_) => self.done += 1,
            Err(error) => {
                assert!(EXPECTED.contains(&error.kind()), "{operation:?}: {error}");
                self.full += u64::from(error.kind() == Kind::NoSpace);
            }
        }
    }
}

#[test]
fn a_store_that_is_always_full_stays_whole_and_can_be_emptied() {
    for seed in 0..3 {
        let fs = create(MemoryDevice::limited(24 << 20), seed);
        let used = fs.engine().usage().used;
        let mut crowd = Crowd::new(&fs, seed);
        for round in 0..3_000 {
            crowd.step(&fs, round);
            if round % 500 == 499 {
                let report = check(&fs).unwrap();
                assert!(report.is_clean(), "seed {seed}, round {round}: {report:?}");
            }
        }
        let Crowd { full, done, .. } = crowd;
        assert!(full > 100 && done > 300, "{full} full, {done} done");
        crowd.caller.close_all(&fs).unwrap();
        empty(&fs, ROOT_INO);
        assert!(fs.reap(usize::MAX).unwrap());
        assert_clean(&fs, &format!("seed {seed}, emptied"));
        let left = fs.engine().usage().used;
        assert!(left < used + 64, "{used} units in use when empty, {left} emptied");
    }
}
