//! A populated store with fixed keys, and how it is opened, damaged and repaired.

use std::sync::Arc;

use efscrypt::Result;
use efscrypt::check::{Repair, RepairOptions, RepairReport, check};
use efscrypt::crypto::{KeyArena, WrapKey};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::data::{Contents, DataKeys};
use efscrypt::fs::{CreateMode, FileSystem, FileType, MountOptions, NewAttr, ROOT_INO, XattrMode};
use efscrypt::secret::Secret;
use efscrypt::txn::{Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock};

pub const UNIT: usize = 4096;
/// First byte of the log, and of the pool.
pub const LOG: usize = 512 << 10;
pub const POOL: usize = 1 << 20;

const FILE: NewAttr = NewAttr { mode: 0o644, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };
pub const DIR: NewAttr =
    NewAttr { mode: 0o755, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };

fn options(read_only: bool) -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 8 << 20, read_only }
}

fn mount(engine: Engine) -> Result<FileSystem> {
    let (engine, arena) = (Arc::new(engine), KeyArena::new()?);
    let id = *engine.store_id();
    let keys = Arc::new(DataKeys::new(Arc::clone(&arena), id, Arc::clone(engine.rng())));
    let kek = Secret::take(&mut [0x24; 32]);
    keys.unlock(1, WrapKey::derive(&arena, &kek, &id, 1)?);
    let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, keys);
    FileSystem::mount(engine, &arena, contents, MountOptions::default())
}

pub fn create(device: impl Device + 'static) -> FileSystem {
    create_with_log(device, 512 << 10)
}

pub fn create_with_log(device: impl Device + 'static, log_bytes: u64) -> FileSystem {
    let options = EngineOptions { log_bytes, ..options(false) };
    mount(Engine::create(Arc::new(device), fixed_keys(1).unwrap(), &options).unwrap()).unwrap()
}

pub fn open(device: impl Device + 'static, read_only: bool) -> Result<FileSystem> {
    mount(Engine::open(Arc::new(device), |_| fixed_unlock(2), &options(read_only))?)
}

pub fn plan(device: impl Device + 'static) -> Result<Repair> {
    plan_as(device, false)
}

pub fn plan_as(device: impl Device + 'static, give_up_unreadable: bool) -> Result<Repair> {
    let wanted = RepairOptions { contents: true, give_up_unreadable, accept_older: true };
    Repair::plan_with(Arc::new(device), |_| fixed_unlock(3), &options(true), wanted)
}

pub fn repair(device: impl Device + 'static) -> Result<RepairReport> {
    plan(device)?.commit()
}

/// Fails unless a store can be opened, everything in it fits together, and no repair is needed.
pub fn assert_sound(device: &Arc<MemoryDevice>, what: &str) {
    let again = plan(Arc::clone(device)).unwrap();
    assert!(!again.report().needed, "{what}: {:?}", again.report());
    let fs = open(Arc::clone(device), true).unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = check(&fs).unwrap();
    assert!(report.is_clean(), "{what}: {report:?}");
}

/// Bytes that differ by seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::new(seed).fill(&mut bytes);
    bytes
}

/// Makes a file with contents in its place and at others, if it has several extents.
fn file(fs: &FileSystem, dir: u64, name: &str, parts: &[(u64, usize)], seed: u64) -> u64 {
    let made = fs.create(dir, name.as_bytes(), &FILE, CreateMode::Guarded).unwrap();
    let ino = made.attr.ino;
    for (n, (offset, len)) in parts.iter().enumerate() {
        let bytes = pattern(seed * 100 + n as u64, *len);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            done += fs.write(ino, at, &bytes[done..]).unwrap().len;
        }
    }
    ino
}

/// A store with files of every kind. With `logged` the last changes stand in the log alone.
pub fn populated(logged: bool) -> MemoryDevice {
    let device = Arc::new(MemoryDevice::limited(40 << 20));
    let fs = create(Arc::clone(&device));
    let mut dirs = vec![ROOT_INO];
    for n in 0..6u64 {
        let above = dirs[n as usize / 2];
        dirs.push(fs.mkdir(above, format!("dir-{n}").as_bytes(), &DIR).unwrap().attr.ino);
    }
    let mut files = Vec::new();
    for n in 0..260u64 {
        let dir = dirs[(n % 7) as usize];
        let parts: &[(u64, usize)] = match n % 10 {
            0 => &[],
            1 => &[(0, 9_000)],
            2 => &[(0, 5_000), (40_000, 4_096)],
            3 => &[(0, 2_000)],
            _ => &[(0, 300)],
        };
        files.push(file(&fs, dir, &format!("a file with number {n:04}"), parts, n));
    }
    let many: Vec<(u64, usize)> = (0..60).rev().map(|n| (n * 12_288, 8_000)).collect();
    file(&fs, dirs[2], "many extents", &many, 1_000);
    file(&fs, dirs[1], "large", &[(0, 900_000)], 1_001);
    for (n, ino) in files.iter().enumerate().step_by(9) {
        fs.link(*ino, dirs[n % 5], format!("link to {n}").as_bytes()).unwrap();
        fs.set_xattr(*ino, b"user.small", b"value", XattrMode::Either).unwrap();
    }
    fs.set_xattr(files[5], b"user.large", &pattern(5, 30_000), XattrMode::Either).unwrap();
    fs.symlink(dirs[3], b"short", b"../large", &FILE).unwrap();
    fs.symlink(dirs[3], b"long", &[b'x'; 3_000], &FILE).unwrap();
    fs.mknod(dirs[4], b"pipe", FileType::Fifo, 0, &FILE).unwrap();
    // Old states of nodes lie about.
    for n in 0..40 {
        fs.engine().checkpoint().unwrap();
        fs.write(files[(n * 7 % 260) as usize], 100, &pattern(n, 90)).unwrap();
    }
    while !fs.maintain().unwrap() {}
    fs.engine().finish().unwrap();
    if logged {
        let dir = fs.mkdir(dirs[1], b"logged", &DIR).unwrap().attr.ino;
        for n in 0..20 {
            let len = if n % 4 == 0 { 20_000 } else { 700 };
            file(&fs, dir, &format!("logged {n}"), &[(0, len)], 2_000 + n);
            fs.write(files[n as usize], 0, &pattern(n, 200)).unwrap();
            fs.unlink(
                dirs[((100 + n) % 7) as usize],
                format!("a file with number {:04}", 100 + n).as_bytes(),
            )
            .unwrap();
            fs.sync().unwrap();
        }
    }
    drop(fs);
    device.snapshot()
}
