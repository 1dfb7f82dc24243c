//! Random operations against a model in memory: names, types, attributes, attributes with names,
//! contents, links, open files; with restarts in between and a check of everything at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::Rng;
use efscrypt::fs::{
    Attr, CreateMode, FileSystem, FileType, ROOT_INO, RenameMode, SetAttr, XattrMode,
};
use efscrypt::{ErrorKind as Kind, Result};

use crate::bed::{DIR, FILE, assert_clean, create, names, open, pattern};

type Name = Vec<u8>;
type Answer = std::result::Result<u64, Kind>;

#[derive(Clone, Default)]
struct Node {
    dir: bool,
    mode: u32,
    nlink: u32,
    opens: u32,
    parent: u64,
    contents: Vec<u8>,
    entries: BTreeMap<Name, u64>,
    xattrs: BTreeMap<Name, Vec<u8>>,
}

struct Model {
    rng: Rng,
    nodes: BTreeMap<u64, Node>,
    /// The last change attribute seen of each inode.
    changes: BTreeMap<u64, u64>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let root = Node { dir: true, mode: 0o755, nlink: 2, parent: ROOT_INO, ..Node::default() };
        Model { rng: Rng::new(seed), nodes: [(ROOT_INO, root)].into(), changes: BTreeMap::new() }
    }

    fn name(&mut self) -> Name {
        let n = self.rng.below(12);
        format!("{n}-{}", "x".repeat(n as usize * 20)).into_bytes()
    }

    fn pick(&mut self, accept: impl Fn(&Node) -> bool) -> u64 {
        let all: Vec<u64> =
            self.nodes.iter().filter(|(_, node)| accept(node)).map(|(ino, _)| *ino).collect();
        all[self.rng.below(all.len() as u64) as usize]
    }

    fn dir(&mut self) -> u64 {
        self.pick(|node| node.dir && node.nlink > 0)
    }

    fn entry(&self, dir: u64, name: &[u8]) -> std::result::Result<u64, Kind> {
        self.nodes[&dir].entries.get(name).copied().ok_or(Kind::NotFound)
    }

    fn add(&mut self, dir: u64, name: Name, ino: u64) {
        self.nodes.get_mut(&dir).unwrap().entries.insert(name, ino);
    }

    /// Takes an entry away, and the inode with its last name unless it is open.
    fn remove(&mut self, dir: u64, name: &[u8]) -> u64 {
        let ino = self.nodes.get_mut(&dir).unwrap().entries.remove(name).unwrap();
        let node = self.nodes.get_mut(&ino).unwrap();
        node.nlink -= if node.dir { 2 } else { 1 };
        let was_dir = node.dir;
        self.settle(ino);
        if was_dir {
            self.nodes.get_mut(&dir).unwrap().nlink -= 1;
        }
        ino
    }

    fn settle(&mut self, ino: u64) {
        if self.nodes[&ino].nlink == 0 && self.nodes[&ino].opens == 0 {
            self.nodes.remove(&ino);
        }
    }

    /// Whether `dir` is `ino` or below it.
    fn is_below(&self, mut dir: u64, ino: u64) -> bool {
        loop {
            if dir == ino || dir == ROOT_INO {
                return dir == ino;
            }
            dir = self.nodes[&dir].parent;
        }
    }

    fn make(&mut self, fs: &FileSystem, directory: bool) {
        let (dir, name) = (self.dir(), self.name());
        let contents = match self.rng.below(3) {
            0 => Vec::new(),
            1 => pattern(self.rng.next_u64(), 1_000),
            _ => pattern(self.rng.next_u64(), 9_000),
        };
        let made = match directory {
            true => fs.mkdir(dir, &name, &DIR),
            false => fs.create_with(dir, &name, &FILE, CreateMode::Guarded, &contents),
        };
        let want = if self.entry(dir, &name).is_ok() { Err(Kind::Exists) } else { Ok(0) };
        assert_eq!(kinds(&made).map(|()| 0), want);
        let Ok(made) = made else { return };
        let node = Node {
            dir: directory,
            mode: made.attr.mode,
            nlink: 1 + u32::from(directory),
            parent: dir,
            contents: if directory { Vec::new() } else { contents },
            ..Node::default()
        };
        assert!(self.nodes.insert(made.attr.ino, node).is_none(), "a number came twice");
        self.add(dir, name, made.attr.ino);
        self.nodes.get_mut(&dir).unwrap().nlink += u32::from(directory);
    }

    fn link(&mut self, fs: &FileSystem) {
        let (dir, name, ino) = (self.dir(), self.name(), self.pick(|_| true));
        let node = &self.nodes[&ino];
        let want = match (node.dir, node.nlink, self.entry(dir, &name)) {
            (true, 0, _) if node.opens == 0 => Err(Kind::Stale),
            (true, ..) => Err(Kind::IsDirectory),
            (_, 0, _) => Err(Kind::NotFound),
            (_, _, Ok(_)) => Err(Kind::Exists),
            _ => Ok(()),
        };
        assert_eq!(kinds(&fs.link(ino, dir, &name)), want);
        if want.is_ok() {
            self.nodes.get_mut(&ino).unwrap().nlink += 1;
            self.add(dir, name, ino);
        }
    }

    fn unlink(&mut self, fs: &FileSystem) {
        let (dir, name, directory) = (self.dir(), self.name(), self.rng.one_in(3));
        let want = self.entry(dir, &name).and_then(|ino| {
            let node = &self.nodes[&ino];
            match (node.dir, directory) {
                (true, false) => Err(Kind::IsDirectory),
                (false, true) => Err(Kind::NotDirectory),
                (true, true) if !node.entries.is_empty() => Err(Kind::NotEmpty),
                _ => Ok(()),
            }
        });
        let done = if directory { fs.rmdir(dir, &name) } else { fs.unlink(dir, &name) };
        assert_eq!(kinds(&done), want);
        if want.is_ok() {
            self.remove(dir, &name);
        }
    }

    fn rename_answer(&self, from: u64, a: &[u8], to: u64, b: &[u8], mode: RenameMode) -> Answer {
        let source = self.entry(from, a)?;
        let target = self.entry(to, b).ok();
        let swaps = mode == RenameMode::Exchange;
        let (node, other) = (&self.nodes[&source], target.map(|ino| &self.nodes[&ino]));
        if from != to && node.dir && self.is_below(to, source) {
            return Err(Kind::Loop);
        }
        if let Some(ino) = target.filter(|_| swaps && other.is_some_and(|node| node.dir))
            && from != to
            && self.is_below(from, ino)
        {
            return Err(Kind::Loop);
        }
        match (other, mode) {
            (Some(_), RenameMode::NoReplace) => Err(Kind::Exists),
            (None, RenameMode::Exchange) => Err(Kind::NotFound),
            (Some(_), _) if target == Some(source) => Ok(0),
            (Some(other), RenameMode::Replace) => match (node.dir, other.dir) {
                (true, false) => Err(Kind::NotDirectory),
                (false, true) => Err(Kind::IsDirectory),
                (true, true) if !other.entries.is_empty() => Err(Kind::NotEmpty),
                _ => Ok(source),
            },
            _ => Ok(source),
        }
    }

    fn rename(&mut self, fs: &FileSystem) {
        let (from, a, to, b) = (self.dir(), self.name(), self.dir(), self.name());
        let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
        let mode = modes[self.rng.below(3) as usize];
        let want = self.rename_answer(from, &a, to, &b, mode);
        assert_eq!(kinds(&fs.rename(from, &a, to, &b, mode)), want.map(|_| ()));
        let Ok(source @ 1..) = want else { return };
        let target = self.entry(to, &b).ok();
        if mode == RenameMode::Exchange {
            let target = target.unwrap();
            self.add(from, a, target);
            self.moved(target, to, from);
        } else {
            if target.is_some() {
                self.remove(to, &b);
            }
            self.nodes.get_mut(&from).unwrap().entries.remove(&a);
        }
        self.add(to, b, source);
        self.moved(source, from, to);
    }

    fn moved(&mut self, ino: u64, from: u64, to: u64) {
        let node = self.nodes.get_mut(&ino).unwrap();
        node.parent = to;
        if node.dir {
            self.nodes.get_mut(&from).unwrap().nlink -= 1;
            self.nodes.get_mut(&to).unwrap().nlink += 1;
        }
    }

    fn contents(&mut self, fs: &FileSystem) {
        let ino = self.pick(|_| true);
        let (offset, len) = (self.rng.below(12_000) as usize, 1 + self.rng.below(5_000) as usize);
        let bytes = pattern(self.rng.next_u64(), len);
        let node = self.nodes.get_mut(&ino).unwrap();
        let want = if node.dir { Err(Kind::IsDirectory) } else { Ok(()) };
        let size = SetAttr { size: Some(offset as u64), ..SetAttr::default() };
        if self.rng.one_in(3) {
            assert_eq!(kinds(&fs.setattr(ino, &size)), want);
            if want.is_ok() {
                node.contents.resize(offset, 0);
                node.mode = without_set_ids(node.mode);
            }
        } else {
            assert_eq!(kinds(&fs.write(ino, offset as u64, &bytes)), want);
            if want.is_ok() {
                node.contents.resize(node.contents.len().max(offset + len), 0);
                node.contents[offset..offset + len].copy_from_slice(&bytes);
                node.mode = without_set_ids(node.mode);
            }
        }
    }

    fn attributes(&mut self, fs: &FileSystem) {
        let (ino, name) = (self.pick(|_| true), self.name());
        let len = [0, 10, 4_000, 20_000][self.rng.below(4) as usize];
        let value = pattern(self.rng.next_u64(), len);
        let modes = [XattrMode::Either, XattrMode::Create, XattrMode::Replace];
        let mode = modes[self.rng.below(3) as usize];
        let node = self.nodes.get_mut(&ino).unwrap();
        let known = node.xattrs.contains_key(&name);
        match self.rng.below(4) {
            0 => {
                node.mode = self.rng.below(0o10000) as u32;
                let set = SetAttr { mode: Some(node.mode), ..SetAttr::default() };
                fs.setattr(ino, &set).unwrap();
            }
            1 => {
                let want = if known { Ok(()) } else { Err(Kind::NoAttribute) };
                assert_eq!(kinds(&fs.remove_xattr(ino, &name)), want);
                node.xattrs.remove(&name);
            }
            _ => {
                let want = match (known, mode) {
                    (true, XattrMode::Create) => Err(Kind::Exists),
                    (false, XattrMode::Replace) => Err(Kind::NoAttribute),
                    _ => Ok(()),
                };
                assert_eq!(kinds(&fs.set_xattr(ino, &name, &value, mode)), want);
                if want.is_ok() {
                    node.xattrs.insert(name, value);
                }
            }
        }
    }

    fn opens(&mut self, fs: &FileSystem) {
        if self.rng.one_in(2) {
            let ino = self.pick(|_| true);
            fs.open(ino).unwrap();
            self.nodes.get_mut(&ino).unwrap().opens += 1;
        } else if self.nodes.values().any(|node| node.opens > 0) {
            let ino = self.pick(|node| node.opens > 0);
            fs.close(ino).unwrap();
            self.nodes.get_mut(&ino).unwrap().opens -= 1;
            self.settle(ino);
        }
    }

    fn step(&mut self, fs: &FileSystem) {
        match self.rng.below(16) {
            0..=3 => self.make(fs, false),
            4 | 5 => self.make(fs, true),
            6 => self.link(fs),
            7 | 8 => self.unlink(fs),
            9 | 10 => self.rename(fs),
            11 | 12 => self.contents(fs),
            13 | 14 => self.attributes(fs),
            _ => self.opens(fs),
        }
    }

    /// The store was left and mounted again: nothing is open any more.
    fn restarted(&mut self) {
        self.nodes.values_mut().for_each(|node| node.opens = 0);
        self.nodes.retain(|_, node| node.nlink > 0);
    }

    /// Compares everything.
    fn verify(&mut self, fs: &FileSystem, what: &str) {
        for (&ino, node) in &self.nodes {
            let attr = fs.getattr(ino).unwrap();
            let kind = if node.dir { FileType::Directory } else { FileType::Regular };
            assert_eq!((attr.kind, attr.nlink, attr.mode), (kind, node.nlink, node.mode), "{what}");
            let last = self.changes.insert(ino, attr.change).unwrap_or(0);
            assert!(attr.change >= last, "{what}: a change attribute went back");
            if node.dir {
                assert_eq!(names(fs, ino), node.entries, "{what}");
                self.verify_dir(fs, ino, node, &attr);
            } else {
                assert_eq!(attr.size, node.contents.len() as u64, "{what}");
                let mut bytes = vec![0; node.contents.len() + 1];
                let read = fs.read(ino, 0, &mut bytes).unwrap();
                assert!(read.eof && bytes[..read.len] == node.contents, "{what}");
            }
            let mut xattrs = BTreeMap::new();
            for name in fs.list_xattrs(ino).unwrap() {
                let value = fs.get_xattr(ino, &name).unwrap();
                xattrs.insert(name, value);
            }
            assert!(xattrs == node.xattrs, "{what}");
        }
    }

    fn verify_dir(&self, fs: &FileSystem, ino: u64, node: &Node, attr: &Attr) {
        assert_eq!(attr.entries, node.entries.len() as u64);
        if node.nlink > 0 {
            assert_eq!(fs.lookup(ino, b"..").unwrap().ino, node.parent);
        }
        for (name, child) in &node.entries {
            assert_eq!(fs.lookup(ino, name).unwrap().ino, *child);
        }
    }
}

/// The mode of a file whose contents changed.
fn without_set_ids(mode: u32) -> u32 {
    mode & !(if mode & 0o010 != 0 { 0o6000 } else { 0o4000 })
}

fn kinds<T>(answer: &Result<T>) -> std::result::Result<(), Kind> {
    answer.as_ref().map(|_| ()).map_err(efscrypt::Error::kind)
}

#[test]
fn random_operations_agree_with_the_model() {
    let seeds = std::env::var("EFSCRYPT_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for seed in 0..seeds {
        let device = Arc::new(MemoryDevice::new());
        let mut fs = create(device.clone(), seed);
        let mut model = Model::new(seed);
        for round in 0..1_500u64 {
            model.step(&fs);
            match (round * 7 + seed) % 211 {
                0 => {
                    model.verify(&fs, &format!("seed {seed}, round {round}"));
                    fs.sync().unwrap();
                    drop(fs);
                    fs = open(device.clone(), seed + round);
                    model.restarted();
                    if round % 2 == 0 {
                        assert!(fs.maintain().unwrap());
                    }
                    model.verify(&fs, &format!("seed {seed}, round {round}, reopened"));
                }
                1 | 2 => fs.drop_caches(),
                3 => fs.sync().unwrap(),
                4 => {
                    assert!(fs.maintain().unwrap());
                }
                _ => {}
            }
        }
        fs.sync().unwrap();
        drop(fs);
        let fs = open(device, seed);
        model.restarted();
        fs.reap(usize::MAX).unwrap();
        model.verify(&fs, &format!("seed {seed}, at the end"));
        assert_clean(&fs, &format!("seed {seed}"));
    }
}
