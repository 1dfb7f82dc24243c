//! What the tests stand on: a file system on a device, with fixed keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::check::check;
use efscrypt::crypto::{KeyArena, WrapKey};
use efscrypt::device::Device;
use efscrypt::fs::data::{Contents, DataKeys, FsKey, InodeRow};
use efscrypt::fs::{CreateMode, FileSystem, MountOptions, NewAttr, Time};
use efscrypt::secret::Secret;
use efscrypt::txn::{Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock};
use efscrypt::{ErrorKind, Result};

/// Attributes of new files, and of new directories.
pub const FILE: NewAttr =
    NewAttr { mode: 0o644, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };
pub const DIR: NewAttr =
    NewAttr { mode: 0o755, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };

/// A clock that ticks once for each look at it.
pub fn mount_options() -> MountOptions {
    let ticks = AtomicU64::new(1_000_000_000);
    let clock = move || {
        let ticks = ticks.fetch_add(1, Ordering::Relaxed);
        Time { seconds: ticks as i64, nanoseconds: 5 }
    };
    MountOptions { clock: Arc::new(clock), ..MountOptions::default() }
}

fn engine_options() -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 8 << 20, read_only: false }
}

pub fn create(device: impl Device + 'static, seed: u64) -> FileSystem {
    let engine = Engine::create(Arc::new(device), fixed_keys(seed).unwrap(), &engine_options());
    mount(engine.unwrap(), mount_options()).unwrap()
}

/// As [`create`], with the data keys of the file system.
pub fn create_with_keys(device: impl Device + 'static, seed: u64) -> (FileSystem, Arc<DataKeys>) {
    let engine = Engine::create(Arc::new(device), fixed_keys(seed).unwrap(), &engine_options());
    mount_with_keys(engine.unwrap(), mount_options()).unwrap()
}

pub fn open(device: impl Device + 'static, seed: u64) -> FileSystem {
    open_with(device, seed, mount_options()).unwrap()
}

pub fn open_with(
    device: impl Device + 'static,
    seed: u64,
    options: MountOptions,
) -> Result<FileSystem> {
    let engine = Engine::open(Arc::new(device), |_| fixed_unlock(seed), &engine_options())?;
    mount(engine, options)
}

pub fn open_read_only(device: impl Device + 'static, seed: u64) -> FileSystem {
    let options = EngineOptions { read_only: true, ..engine_options() };
    let engine = Engine::open(Arc::new(device), |_| fixed_unlock(seed), &options);
    mount(engine.unwrap(), mount_options()).unwrap()
}

pub fn mount(engine: Engine, options: MountOptions) -> Result<FileSystem> {
    Ok(mount_with_keys(engine, options)?.0)
}

fn mount_with_keys(engine: Engine, options: MountOptions) -> Result<(FileSystem, Arc<DataKeys>)> {
    let (engine, arena) = (Arc::new(engine), KeyArena::new()?);
    let id = *engine.store_id();
    let keys = Arc::new(DataKeys::new(Arc::clone(&arena), id, Arc::clone(engine.rng())));
    let kek = Secret::take(&mut [0x24; 32]);
    keys.unlock(1, WrapKey::derive(&arena, &kek, &id, 1)?);
    let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, Arc::clone(&keys));
    Ok((FileSystem::mount(engine, &arena, contents, options)?, keys))
}

/// Fails unless everything fits together and nothing waits to be freed.
pub fn assert_clean(fs: &FileSystem, what: &str) {
    let report = check(fs).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_clean(), "{what}: {report:?}");
    assert_eq!(report.orphans, 0, "{what}");
}

/// The row of an inode.
pub fn row(fs: &FileSystem, ino: u64) -> InodeRow {
    let key = FsKey::Inode(ino).encode();
    let row = fs.engine().get(FIRST_FS_TREE, &key, |value| InodeRow::parse(value, ino));
    row.unwrap().unwrap().unwrap()
}

/// Puts a row behind the file system's back.
pub fn put(fs: &FileSystem, key: FsKey, value: &[u8]) {
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &key.encode(), value);
    fs.engine().commit(&mut edits, Class::Normal).unwrap();
    fs.drop_caches();
}

/// How an operation failed, if it did.
pub fn kind<T>(answer: Result<T>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

/// Makes a file; returns its number.
pub fn make(fs: &FileSystem, dir: u64, name: &[u8]) -> u64 {
    fs.create(dir, name, &FILE, CreateMode::Guarded).unwrap().attr.ino
}

/// Makes a directory; returns its number.
pub fn mkdir(fs: &FileSystem, dir: u64, name: &[u8]) -> u64 {
    fs.mkdir(dir, name, &DIR).unwrap().attr.ino
}

/// Bytes that differ by seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::new(seed).fill(&mut bytes);
    bytes
}

/// All names of a directory with their inodes, without "." and "..".
pub fn names(fs: &FileSystem, dir: u64) -> std::collections::BTreeMap<Vec<u8>, u64> {
    let mut names = std::collections::BTreeMap::new();
    let end = fs.read_dir(dir, efscrypt::fs::COOKIE_DOT_DOT, |entry| {
        assert!(names.insert(entry.name.to_vec(), entry.ino).is_none(), "a name twice");
        true
    });
    assert!(end.unwrap());
    names
}
