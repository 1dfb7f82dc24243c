//! A small store with a history: what stands on the device, what stood there before, and what was
//! true when.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, RenameMode, XattrMode};
use efscrypt::txn::EngineOptions;
use efscrypt::{Providers, Store, StoreOptions};

use crate::provider::Toy;
use crate::questions::{Answers, ask};
use crate::tap::{Tap, Write};

pub const META: &str = "meta key";
pub const DATA: &str = "data key";
pub const UNIT: usize = 4096;
/// Bytes of a superblock slot.
pub const SLOT: usize = 16_384;
/// Where the log begins, and the pool.
pub const LOG: usize = 512 << 10;
pub const POOL: usize = 1 << 20;

const FILE: NewAttr = NewAttr { mode: 0o640, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };

pub fn options() -> StoreOptions {
    StoreOptions {
        engine: EngineOptions { log_bytes: 512 << 10, cache_bytes: 4 << 20, read_only: false },
        ..StoreOptions::default()
    }
}

pub struct Scene {
    /// The device at the end.
    pub image: Vec<u8>,
    /// All that was ever written, in order.
    pub writes: Vec<Write>,
    /// What was true after each step that made everything durable.
    pub states: Vec<Answers>,
}

/// Bytes by a seed, in which no two units are alike.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::of(seed, 2718).fill(&mut bytes);
    bytes
}

fn create(device: &Arc<Tap>) -> Store {
    let providers = Providers::same(Toy::with(&[META, DATA]));
    Store::create(device.clone(), providers, META, DATA, options()).unwrap()
}

/// One step of the history.
type Step = Box<dyn Fn(&FileSystem)>;

/// The steps of the history; each leaves a state of its own.
fn steps() -> Vec<Step> {
    let at = |fs: &FileSystem, path: &[u8]| fs.at(path).unwrap().ino;
    let mut steps: Vec<Step> = vec![
        Box::new(move |fs| {
            fs.mkdir_all(b"/dir", &FILE).unwrap();
        }),
        Box::new(move |fs| {
            let dir = at(fs, b"/dir");
            fs.create_with(dir, b"inline", &FILE, CreateMode::Guarded, &pattern(1, 900)).unwrap();
        }),
        Box::new(move |fs| {
            fs.write_file(b"/dir/large", &FILE, &pattern(2, 6 * UNIT + 100)).unwrap();
        }),
        Box::new(move |fs| {
            fs.symlink(at(fs, b"/dir"), b"link", b"../small", &FILE).unwrap();
            fs.write_file(b"/small", &FILE, &pattern(3, 3000)).unwrap();
            fs.write_file(b"/gone", &FILE, &pattern(4, 2 * UNIT)).unwrap();
        }),
        Box::new(move |fs| {
            let ino = at(fs, b"/small");
            fs.set_xattr(ino, b"user.short", b"value", XattrMode::Create).unwrap();
            fs.set_xattr(ino, b"user.long", &pattern(5, 5000), XattrMode::Create).unwrap();
        }),
        Box::new(move |fs| {
            fs.unlink(1, b"gone").unwrap();
            fs.write(at(fs, b"/dir/large"), 5000, &pattern(6, UNIT)).unwrap();
        }),
        Box::new(move |fs| {
            fs.write_file(b"/later", &FILE, &pattern(7, 5 * UNIT)).unwrap();
            fs.write(at(fs, b"/dir/inline"), 100, b"changed").unwrap();
        }),
    ];
    // The same blocks again, so that most places have older versions.
    for n in 0..20 {
        steps.push(Box::new(move |fs| {
            fs.write(at(fs, b"/later"), n % 3 * 4096, &pattern(100 + n, UNIT)).unwrap();
            fs.set_xattr(at(fs, b"/small"), b"user.short", &[n as u8; 9], XattrMode::Replace)
                .unwrap();
        }));
    }
    steps.push(Box::new(move |fs| {
        let dir = at(fs, b"/dir");
        fs.rename(dir, b"inline", dir, b"new name", RenameMode::NoReplace).unwrap();
    }));
    steps
}

/// A store that was closed after each step was made durable by a checkpoint.
pub fn closed() -> Scene {
    let device = Tap::new();
    let store = create(&device);
    let mut states = Vec::new();
    for step in steps() {
        step(store.file_system());
        store.checkpoint().unwrap();
        states.push(ask(store.file_system()));
    }
    store.close().unwrap();
    Scene { image: device.image(), writes: device.writes(), states }
}

/// A store whose process died: the last steps are in the log alone, each one record.
pub fn logged() -> Scene {
    let device = Tap::new();
    let store = create(&device);
    let mut states = Vec::new();
    for (n, step) in steps().iter().enumerate() {
        step(store.file_system());
        if n < 6 {
            store.checkpoint().unwrap();
        } else {
            store.sync().unwrap();
        }
        states.push(ask(store.file_system()));
    }
    drop(store);
    Scene { image: device.image(), writes: device.writes(), states }
}

impl Scene {
    /// The last state, as the only one that is right.
    pub fn truth(&self) -> &[Answers] {
        &self.states[self.states.len() - 1..]
    }

    /// The device with some bytes put in; costs no copy of the others.
    pub fn with(&self, base: &MemoryDevice, changes: &[(usize, &[u8])]) -> MemoryDevice {
        let device = base.snapshot();
        for (at, bytes) in changes {
            device.write_at(*at as u64, bytes).unwrap();
        }
        device
    }

    /// Where blocks of a size stand that are not zeros.
    pub fn blocks(&self, size: usize) -> Vec<usize> {
        let blocks = self.image.chunks_exact(size).enumerate();
        let used = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        used.map(|(n, _)| n * size).collect()
    }

    /// Earlier writes that are not what stands at their place now.
    pub fn older(&self) -> Vec<(usize, &[u8])> {
        let writes = self.writes.iter().map(|(at, bytes)| (*at as usize, bytes.as_slice()));
        writes.filter(|(at, bytes)| self.image[*at..at + bytes.len()] != **bytes).collect()
    }

    /// The superblock slots of the last checkpoint, one in each place.
    pub fn newest_slots(&self) -> [usize; 2] {
        let slot = |(at, bytes): &&(u64, Vec<u8>)| *at < LOG as u64 && bytes.len() == SLOT;
        let ring = self.writes.iter().filter(slot);
        let mut last = ring.rev().map(|(at, _)| *at as usize);
        [last.next().unwrap(), last.next().unwrap()]
    }
}
