//! Stores made through the public API, and what the second reader must find in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{Attr, CreateMode, FileSystem, FileType, NewAttr, Time, XattrMode};
use efscrypt::keys::KeyProvider;
use efscrypt::txn::EngineOptions;
use efscrypt::{Providers, Store, StoreOptions};

use crate::provider::Toy;
use crate::reader::Node;

pub const META: &str = "meta key";
pub const DATA: &str = "data key";
const UNIT: usize = 4096;

pub fn options() -> StoreOptions {
    StoreOptions {
        engine: EngineOptions { log_bytes: 1 << 20, cache_bytes: 8 << 20, read_only: false },
        name: Some("the store's name".into()),
        tags: vec![("team".into(), "storage".into()), ("empty".into(), String::new())],
        ..StoreOptions::default()
    }
}

pub fn create() -> (Arc<MemoryDevice>, Store) {
    let device = Arc::new(MemoryDevice::new());
    let toy = Toy::with(&[META, DATA]);
    let store = Store::create(device.clone(), Providers::same(toy), META, DATA, options());
    (device, store.unwrap())
}

pub fn open(device: &Arc<MemoryDevice>, keys: &[&str]) -> Store {
    let toy: Arc<dyn KeyProvider> = Toy::with(keys);
    Store::open(device.clone(), Providers::same(toy), options()).unwrap()
}

/// Bytes by a seed, in which no two units are alike.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::of(seed, 4711).fill(&mut bytes);
    bytes
}

fn new(mode: u32) -> NewAttr {
    let atime = Some(Time { seconds: -5, nanoseconds: 999_999_999 });
    NewAttr { mode, umask: 0, uid: 1001, gid: 1002, atime, mtime: None }
}

fn file(fs: &FileSystem, dir: u64, name: &[u8], contents: &[u8]) -> u64 {
    let made = fs.create_with(dir, name, &new(0o640), CreateMode::Guarded, contents);
    made.unwrap().attr.ino
}

/// A tree with everything that the format can hold.
pub fn fill(fs: &FileSystem, seed: u64) {
    let top = fs.mkdir_all(format!("/tree {seed}/deep/er").as_bytes(), &new(0o750)).unwrap().ino;
    let sizes = [0, 1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 64 * UNIT, 5 * 64 * UNIT + 77];
    for size in sizes {
        file(fs, top, format!("size {size}").as_bytes(), &pattern(seed + size as u64, size));
    }
    shapes(fs, top, seed);
    others(fs, top);
    attributes(fs, top);
    let many = fs.mkdir(top, b"many", &new(0o755)).unwrap().attr.ino;
    for n in 0..300 {
        file(fs, many, format!("{n:0>200}").as_bytes(), format!("{seed} {n}").as_bytes());
    }
    for n in (0..300).step_by(3) {
        fs.unlink(many, format!("{n:0>200}").as_bytes()).unwrap();
    }
    fs.drop_caches();
}

/// Files that were changed after they were written.
fn shapes(fs: &FileSystem, dir: u64, seed: u64) {
    let bytes = |len| pattern(seed ^ 99, len);
    let rewritten = file(fs, dir, b"rewritten in the middle", &bytes(150 * UNIT));
    fs.write(rewritten, 33 * UNIT as u64 + 5, &bytes(40 * UNIT)).unwrap();
    let holes = file(fs, dir, b"holes", &bytes(100 * UNIT));
    fs.punch_hole(holes, 3 * UNIT as u64, 7 * UNIT as u64).unwrap();
    fs.punch_hole(holes, 50 * UNIT as u64 + 9, UNIT as u64).unwrap();
    let sparse = file(fs, dir, b"inline, then a hole", &bytes(100));
    fs.write(sparse, 1 << 20, &bytes(10)).unwrap();
    let grown = file(fs, dir, b"only a hole", b"");
    let size = |size| efscrypt::fs::SetAttr { size: Some(size), ..Default::default() };
    fs.setattr(grown, &size(3 << 20)).unwrap();
    let cut = file(fs, dir, b"cut inside a unit", &bytes(80 * UNIT));
    fs.setattr(cut, &size(70 * UNIT as u64 + 1000)).unwrap();
    let small = file(fs, dir, b"inline, cut and grown", &bytes(2000));
    fs.setattr(small, &size(700)).unwrap();
    fs.setattr(small, &size(9000)).unwrap();
    let stream = file(fs, dir, b"a little at a time", b"");
    for n in 0..60 {
        fs.append(stream, &pattern(seed + n, 1500)).unwrap();
    }
}

/// Inodes that are not regular files, and more names of one.
fn others(fs: &FileSystem, dir: u64) {
    fs.symlink(dir, b"short link", b"../size 1", &new(0o777)).unwrap();
    fs.symlink(dir, b"long link", &[b'l'; 4095], &new(0o777)).unwrap();
    fs.mknod(dir, b"pipe", FileType::Fifo, 0, &new(0o600)).unwrap();
    fs.mknod(dir, b"device", FileType::CharDevice, 0x0103, &new(0o600)).unwrap();
    fs.mknod(dir, b"socket", FileType::Socket, 0, &new(0o600)).unwrap();
    let linked = file(fs, dir, b"first name", b"one file");
    fs.link(linked, dir, b"second name").unwrap();
    fs.rename(dir, b"first name", dir, b"other name", efscrypt::fs::RenameMode::Replace).unwrap();
    file(fs, dir, &[0xff; 255], b"the longest name");
    file(fs, dir, b"\x01\n \xc3\x28", b"no text");
}

fn attributes(fs: &FileSystem, dir: u64) {
    let ino = file(fs, dir, b"attributes", b"has some");
    for len in [0, 1, 3949, 3950, 3951, 3960, 7918, 7919, 65_536] {
        let name = format!("user.len {len}");
        let value = pattern(len as u64, len);
        fs.set_xattr(ino, name.as_bytes(), &value, XattrMode::Create).unwrap();
    }
    fs.set_xattr(ino, &[b'n'; 255], b"long name", XattrMode::Either).unwrap();
    fs.set_xattr(ino, b"user.len 7919", b"shorter", XattrMode::Replace).unwrap();
    fs.remove_xattr(ino, b"user.len 3960").unwrap();
    fs.set_xattr(dir, b"user.dir", b"on a directory", XattrMode::Either).unwrap();
}

/// Everything that a file system holds, by its own account.
pub fn truth(fs: &FileSystem) -> BTreeMap<Vec<u8>, Node> {
    let mut found = BTreeMap::new();
    let mut open = vec![(Vec::new(), 1, 0)];
    while let Some((path, ino, cookie)) = open.pop() {
        let node = node(fs, ino, cookie);
        if node.kind == FileType::Directory as u8 {
            let end = fs.read_dir(ino, efscrypt::fs::COOKIE_DOT_DOT, |entry| {
                open.push(([&path[..], b"/", entry.name].concat(), entry.ino, entry.cookie));
                true
            });
            assert!(end.unwrap());
        }
        found.insert(if path.is_empty() { b"/".to_vec() } else { path }, node);
    }
    found
}

fn node(fs: &FileSystem, ino: u64, cookie: u64) -> Node {
    let attr = fs.getattr(ino).unwrap();
    let contents = match attr.kind {
        FileType::Regular => {
            let mut bytes = vec![0; attr.size as usize];
            assert_eq!(fs.read(ino, 0, &mut bytes).unwrap().len, bytes.len());
            bytes
        }
        FileType::Symlink => fs.readlink(ino).unwrap(),
        _ => Vec::new(),
    };
    let names = fs.list_xattrs(ino).unwrap().into_iter();
    let xattrs = names.map(|name| (name.clone(), fs.get_xattr(ino, &name).unwrap())).collect();
    Node { contents, xattrs, ..of_attr(&attr, cookie) }
}

fn of_attr(attr: &Attr, cookie: u64) -> Node {
    let time = |time: Time| (time.seconds, time.nanoseconds);
    Node {
        ino: attr.ino,
        cookie,
        kind: attr.kind as u8,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        generation: attr.generation,
        change: attr.change,
        times: [time(attr.atime), time(attr.mtime), time(attr.ctime), time(attr.btime)],
        rdev: attr.rdev,
        entries: attr.entries,
        units: attr.space / UNIT as u64,
        ..Node::default()
    }
}
