//! A device that is cut below an open store: nothing more is acknowledged from the first sign on.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, ROOT_INO};
use efscrypt::{Error, ErrorKind};

use crate::bed::{FILE, create, open, pattern};
use crate::cut_device::Cut;

fn make(fs: &FileSystem, name: &str) -> efscrypt::Result<u64> {
    Ok(fs.create(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded)?.attr.ino)
}

/// A store with a durable file of some MiB, and its inode.
fn store() -> (Arc<Cut>, FileSystem, u64) {
    let device = Cut::new(MemoryDevice::new(), false);
    let fs = create(Arc::clone(&device), 1);
    let ino = make(&fs, "f").unwrap();
    for n in 0..4 {
        fs.write(ino, n << 20, &pattern(n, 1 << 20)).unwrap();
    }
    fs.engine().checkpoint().unwrap();
    (device, fs, ino)
}

/// Fails unless a store refuses everything but reading.
fn refuses(fs: FileSystem, what: &str) {
    let error = fs.sync().expect_err(what);
    let why = error.to_string();
    assert!(why.contains("truncated") || why.contains("ends before"), "{what}: {why}");
    assert_eq!(error.errno(), 5, "{what}: {why}");
    let health = fs.health().expect_err(what);
    assert!(matches!(&health, Error::Poisoned(_)), "{what}: {health}");
    assert_eq!(make(&fs, "another").unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    assert!(fs.maintain().is_err(), "{what}");
    assert!(fs.engine().finish().is_err(), "{what}: it was closed as if all was well");
    fs.getattr(ROOT_INO).expect(what);
}

#[test]
fn a_cut_is_seen_by_whoever_asks_for_durability() {
    for len in [0, 5_000, 600_000, 3 << 20] {
        let (device, fs, _) = store();
        device.cut(len);
        refuses(fs, &format!("nothing to do, cut at {len}"));

        let (device, fs, ino) = store();
        make(&fs, "deferred").unwrap();
        fs.write(ino, 0, &pattern(9, 100_000)).unwrap();
        device.cut(len);
        refuses(fs, &format!("changes to commit, cut at {len}"));
    }
}

#[test]
fn a_read_beyond_the_end_refuses_changes() {
    let (device, fs, ino) = store();
    device.cut(device.len().unwrap() - (1 << 20));
    let mut bytes = vec![0; 4096];
    let lost = (0..1024).filter(|n| fs.read(ino, n * 4096, &mut bytes).is_err()).count();
    assert!(lost > 0 && lost < 1024, "{lost}");
    assert_eq!(bytes.len(), 4096);
    assert_eq!(make(&fs, "new").unwrap_err().kind(), ErrorKind::Poisoned);
    refuses(fs, "read");
}

/// Somebody else makes the device longer: no harm.
#[test]
fn a_device_that_grows_is_none_of_anybodys_business() {
    let (device, fs, _) = store();
    device.allocate(0, 64 << 20).unwrap();
    make(&fs, "new").unwrap();
    fs.sync().unwrap();
    fs.engine().finish().unwrap();
    drop(fs);
    crate::bed::assert_clean(&open(device, 2), "grown");
}
