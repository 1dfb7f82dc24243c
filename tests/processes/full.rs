//! Stores that run full: on a small file system, on a block device, and where somebody else takes
//! the space of the file system. What was acknowledged stays, deleting works, and what was deleted
//! makes room.

use std::collections::BTreeMap;
use std::path::Path;

use efscrypt::device::sim::Rng;
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, ROOT_INO};
use efscrypt::{Error, Result, Store};

use crate::bench::{Bench, assert_clean};
use crate::mount::{Loop, Mount};

const MIB: u64 = 1 << 20;

/// Bytes of the files that fill a store, largest first: until none of a size fits.
const SIZES: [usize; 4] = [3 << 20, 200 << 10, 5000, 900];

/// The files that were acknowledged, by the seed of their contents.
#[derive(Default)]
struct Acknowledged {
    files: BTreeMap<String, (u64, usize)>,
    next: u64,
}

fn contents(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::of(seed, 5).fill(&mut bytes);
    bytes
}

/// Makes a file and makes it durable, or leaves nothing of it.
fn make(fs: &FileSystem, name: &str, bytes: &[u8]) -> Result<()> {
    let new = NewAttr::default();
    let made = fs.create_with(ROOT_INO, name.as_bytes(), &new, CreateMode::Guarded, bytes);
    match made {
        Ok(created) => fs.fsync(created.attr.ino),
        Err(error) => {
            // It may be there with a part of its contents, or not at all.
            match fs.unlink(ROOT_INO, name.as_bytes()) {
                Ok(_) | Err(Error::NotFound) => Err(error),
                Err(other) => panic!("{name} cannot be removed: {other}, after {error}"),
            }
        }
    }
}

impl Acknowledged {
    /// Adds files of a size until there is no space. Returns how many.
    fn fill(&mut self, fs: &FileSystem, len: usize) -> usize {
        for made in 0.. {
            let (seed, name) = (self.next, format!("file {}", self.next));
            self.next += 1;
            match make(fs, &name, &contents(seed, len)) {
                Ok(()) => drop(self.files.insert(name, (seed, len))),
                Err(Error::NoSpace) => return made,
                Err(error) => panic!("{name} of {len} bytes: {error}"),
            }
        }
        0
    }

    /// Fills all that there is. Returns the bytes of the files that were made.
    fn fill_up(&mut self, fs: &FileSystem) -> usize {
        SIZES.into_iter().map(|len| len * self.fill(fs, len)).sum()
    }

    /// Removes every second file, durably. Returns their bytes.
    fn remove_half(&mut self, fs: &FileSystem) -> usize {
        let (mut removed, mut odd) = (0, false);
        self.files.retain(|name, (_, len)| {
            odd = !odd;
            if odd {
                fs.unlink(ROOT_INO, name.as_bytes()).unwrap();
                removed += *len;
            }
            !odd
        });
        fs.sync().unwrap();
        while !fs.maintain().unwrap() {}
        removed
    }

    fn assert_there(&self, store: &Store, what: &str) {
        let fs = store.file_system();
        for (name, (seed, len)) in &self.files {
            let found = fs.read_file(format!("/{name}").as_bytes()).unwrap();
            assert!(found == contents(*seed, *len), "{what}: {name} is something else");
        }
        assert_clean(store, what);
    }
}

/// Fills a store and frees it, again and again, with openings between. Returns the files that are
/// there at the end.
fn fill_and_free(bench: &Bench, path: &Path, room: u64) -> Acknowledged {
    let mut files = Acknowledged::default();
    let mut store = bench.create(path);
    let mut capacity = 0;
    for round in 0..3 {
        let what = format!("round {round}");
        let fs = store.file_system();
        let filled = files.fill_up(fs);
        match round {
            0 => capacity = filled,
            _ => assert!(filled > capacity / 3, "{what}: {filled} of {capacity} bytes came back"),
        }
        assert!(filled as u64 > room / 4, "{what}: only {filled} of {room} bytes fit");
        assert!(matches!(make(fs, "one more", &[1; 5000]), Err(Error::NoSpace)), "{what}");
        files.assert_there(&store, &what);
        // Full, it can be closed, opened and checked.
        store.close().unwrap();
        store = bench.open(path, false);
        files.assert_there(&store, &what);
        assert!(files.remove_half(store.file_system()) > capacity / 3, "{what}");
        files.assert_there(&store, &what);
    }
    store.close().unwrap();
    files
}

#[test]
fn a_small_file_system_runs_full_and_is_freed() {
    let Some(mount) = Mount::new(64 * MIB) else { return };
    let (bench, path) = (Bench::new(), mount.path.join("store"));
    let room = mount.free();
    let files = fill_and_free(&bench, &path, room);
    let store = bench.open(&path, true);
    files.assert_there(&store, "at the end");
    drop(store);
    bench.ok(&["check", path.to_str().unwrap(), "--quiet"]);
}

#[test]
fn a_block_device_runs_full_and_is_freed() {
    let Some(device) = Loop::new(48 * MIB) else { return };
    let bench = Bench::new();
    let files = fill_and_free(&bench, &device.device, 48 * MIB);
    let store = bench.open(&device.device, true);
    files.assert_there(&store, "at the end");
    drop(store);
    bench.ok(&["check", device.device.to_str().unwrap(), "--quiet"]);
}

#[test]
fn somebody_else_fills_the_file_system() {
    let Some(mount) = Mount::new(96 * MIB) else { return };
    let (bench, path) = (Bench::new(), mount.path.join("store"));
    let mut files = Acknowledged::default();
    let mut store = bench.create(&path);
    for round in 0..4 {
        let what = format!("round {round}");
        for len in SIZES {
            for _ in 0..4 {
                let (seed, name) = (files.next, format!("file {}", files.next));
                files.next += 1;
                make(store.file_system(), &name, &contents(seed, len)).unwrap();
                files.files.insert(name, (seed, len));
            }
        }
        let hog = mount.hog();
        files.fill_up(store.file_system());
        files.assert_there(&store, &what);
        if round % 2 == 1 {
            // Opening needs no space.
            match round {
                1 => store.close().unwrap(),
                _ => drop(store),
            }
            store = bench.open(&path, false);
            files.assert_there(&store, &what);
        }
        // Deleting works, and what is freed inside the store can be written again.
        for _ in 0..2 {
            let removed = files.remove_half(store.file_system());
            assert!(files.fill_up(store.file_system()) > removed / 3, "{what}");
            files.assert_there(&store, &what);
        }
        files.remove_half(store.file_system());
        drop(hog);
        files.assert_there(&store, &what);
    }
    assert!(files.fill_up(store.file_system()) as u64 > 40 * MIB);
    files.assert_there(&store, "alone again");
    store.close().unwrap();
    bench.ok(&["check", path.to_str().unwrap(), "--quiet"]);
}
