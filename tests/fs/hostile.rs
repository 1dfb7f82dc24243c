//! Rows that authenticate and make no sense: a typed error, never a panic, never a row that cannot
//! be read again.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::data::{FsKey, InodeRow};
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, ROOT_INO, Time, XattrMode};
use efscrypt::txn::{FIRST_FS_TREE, Forge};
use efscrypt::{Error, ErrorKind as Kind, Result};
use zerocopy::IntoBytes;

use crate::bed::{DIR, FILE, assert_clean, create, mount_options, open_with, pattern, put, row};

fn kind<T>(answer: Result<T>) -> Option<Kind> {
    answer.err().map(|error| error.kind())
}

/// Runs something with an inode row changed, and puts the old one back.
fn with<T>(
    fs: &FileSystem,
    ino: u64,
    change: impl Fn(&mut InodeRow),
    run: impl FnOnce() -> T,
) -> T {
    let good = row(fs, ino);
    let mut bad = good;
    change(&mut bad);
    put(fs, FsKey::Inode(ino), bad.as_bytes());
    let answer = run();
    put(fs, FsKey::Inode(ino), good.as_bytes());
    answer
}

#[test]
fn inodes_that_make_no_sense_are_refused() {
    let fs = create(MemoryDevice::new(), 1);
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    let changes: [fn(&mut InodeRow); 7] = [
        |row| row.units = u64::MAX.into(),
        |row| row.entries = u64::MAX.into(),
        |row| row.nlink = u32::MAX.into(),
        |row| row.size = u64::MAX.into(),
        |row| row.flags = 8.into(),
        |row| row.reserved[31] = 1,
        |row| row.mtime.nanoseconds = 1_000_000_000.into(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let answer = with(&fs, ino, change, || kind(fs.getattr(ino)));
        assert_eq!(answer, Some(Kind::Corrupt), "change {n}");
    }
    fs.getattr(ino).unwrap();
}

#[test]
fn counts_at_their_ends_stop_what_would_move_them() {
    let fs = create(MemoryDevice::new(), 1);
    let dir = fs.mkdir(ROOT_INO, b"d", &DIR).unwrap().attr.ino;
    let sub = fs.mkdir(dir, b"sub", &DIR).unwrap().attr.ino;
    let ino = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
    fs.set_xattr(ino, b"a", b"b", XattrMode::Either).unwrap();
    let corrupt =
        |what: &str, ino: u64, change: fn(&mut InodeRow), run: &dyn Fn() -> Result<()>| {
            let answer = with(&fs, ino, change, || kind(run()));
            assert_eq!(answer, Some(Kind::Corrupt), "{what}");
        };
    let new = || fs.create(dir, b"new", &FILE, CreateMode::Guarded).map(drop);
    corrupt("units", ino, |row| row.units = InodeRow::MAX_UNITS.into(), &|| {
        fs.write(ino, 0, &pattern(1, 9_000)).map(drop)
    });
    corrupt("xattrs", ino, |row| row.xattrs = 0.into(), &|| fs.remove_xattr(ino, b"a").map(drop));
    corrupt("more xattrs", ino, |row| row.xattrs = u32::MAX.into(), &|| {
        fs.set_xattr(ino, b"c", b"", XattrMode::Either).map(drop)
    });
    corrupt("entries", ROOT_INO, |row| row.entries = 0.into(), &|| {
        fs.unlink(ROOT_INO, b"f").map(drop)
    });
    corrupt("more entries", dir, |row| row.entries = InodeRow::MAX_ENTRIES.into(), &new);
    corrupt("size", dir, |row| row.size = ((1 << 60) - 1).into(), &new);
    corrupt("links", sub, |row| row.nlink = 1.into(), &|| fs.rmdir(dir, b"sub").map(drop));
    let full = with(
        &fs,
        dir,
        |row| row.nlink = InodeRow::MAX_NLINK.into(),
        || kind(fs.mkdir(dir, b"new", &DIR)),
    );
    assert_eq!(full, Some(Kind::TooManyLinks));
    assert_clean(&fs, "nothing changed");
}

/// Where the body of the superblock promises inode numbers.
const NEXT_INO: usize = 232;

#[test]
fn the_last_inode_number_is_the_last() {
    const LAST: u64 = i64::MAX as u64;
    for (ino, mounts) in [(u64::MAX, false), (LAST + 1, false), (LAST, true)] {
        let device = Arc::new(MemoryDevice::new());
        let fs = create(device.clone(), 1);
        let file = fs.create(ROOT_INO, b"f", &FILE, CreateMode::Guarded).unwrap().attr.ino;
        put(&fs, FsKey::Inode(ino), row(&fs, file).as_bytes());
        fs.maintain().unwrap();
        drop(fs);
        // The store does not say which numbers were given out.
        let forget = |body: &mut [u8]| body[NEXT_INO..NEXT_INO + 8].fill(0);
        Forge::open(device.clone()).unwrap().superblock(forget).unwrap();
        let fs = open_with(device, 2, mount_options());
        match fs {
            Ok(fs) => {
                assert!(mounts);
                let answer = fs.create(ROOT_INO, b"g", &FILE, CreateMode::Guarded);
                assert_eq!(kind(answer), Some(Kind::Corrupt));
            }
            Err(error) => assert!(!mounts && matches!(error, Error::Corrupt { .. }), "{error}"),
        }
    }
}

#[test]
fn an_orphan_that_cannot_be_freed_holds_up_no_other() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let make = |name: &[u8]| {
        let made = fs.create_with(ROOT_INO, name, &FILE, CreateMode::Guarded, &[1; 100]);
        made.unwrap().attr.ino
    };
    let (first, second, other) = (make(b"a"), make(b"b"), make(b"c"));
    for (ino, name) in [(first, b"a"), (second, b"b")] {
        fs.open(ino).unwrap();
        fs.unlink(ROOT_INO, name).unwrap();
    }
    // The first names a key of another file.
    let mut bad = row(&fs, first);
    bad.key_id = row(&fs, other).key_id;
    put(&fs, FsKey::Inode(first), bad.as_bytes());
    put(&fs, FsKey::Orphan(u64::MAX), &[]);
    fs.sync().unwrap();
    drop(fs);
    let fs = open_with(device, 2, mount_options()).unwrap();
    let generation = fs.engine().generation();
    assert_eq!(kind(fs.maintain()), Some(Kind::Corrupt));
    assert!(fs.engine().generation() > generation, "no checkpoint");
    let left = |ino| fs.engine().get(FIRST_FS_TREE, &FsKey::Inode(ino).encode(), |_| ()).unwrap();
    assert!(left(first).is_some() && left(second).is_none());
    assert_eq!(kind(fs.reap(usize::MAX)), Some(Kind::Corrupt));
}

#[test]
fn every_time_that_is_taken_can_be_read_again() {
    let device = Arc::new(MemoryDevice::new());
    let fs = create(device.clone(), 1);
    let bad = Time { seconds: 1, nanoseconds: 1_000_000_000 };
    let new = NewAttr { mtime: Some(bad), ..FILE };
    let guarded = CreateMode::Guarded;
    assert_eq!(kind(fs.create(ROOT_INO, b"f", &new, guarded)), Some(Kind::InvalidArgument));
    let new = NewAttr { atime: Some(bad), ..FILE };
    assert_eq!(kind(fs.mkdir(ROOT_INO, b"f", &new)), Some(Kind::InvalidArgument));
    assert_eq!(kind(fs.symlink(ROOT_INO, b"f", b"t", &new)), Some(Kind::InvalidArgument));
    assert_eq!(kind(fs.lookup(ROOT_INO, b"f")), Some(Kind::NotFound));
    fs.sync().unwrap();
    drop(fs);
    // A clock of the embedder's that carries nothing.
    let clock = Arc::new(|| Time { seconds: 7, nanoseconds: u32::MAX });
    let options = efscrypt::fs::MountOptions { clock, ..mount_options() };
    let fs = open_with(device.clone(), 2, options).unwrap();
    let made = fs.create(ROOT_INO, b"f", &FILE, guarded).unwrap();
    assert_eq!(made.attr.mtime, Time { seconds: 11, nanoseconds: 294_967_295 });
    fs.write(made.attr.ino, 0, &pattern(1, 10_000)).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let fs = open_with(device, 3, mount_options()).unwrap();
    assert_eq!(fs.lookup(ROOT_INO, b"f").unwrap().mtime, made.attr.mtime);
    fs.unlink(ROOT_INO, b"f").unwrap();
    assert_clean(&fs, "times");
}
