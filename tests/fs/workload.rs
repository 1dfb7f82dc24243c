//! Random operations of every kind, for what comes after them: crashes, a full store.

use efscrypt::device::sim::Rng;
use efscrypt::fs::{CreateMode, FileSystem, FileType, ROOT_INO, RenameMode, SetAttr, XattrMode};
use efscrypt::{ErrorKind as Kind, Result};

use crate::bed::{DIR, FILE, pattern};

/// What an operation may answer that was made up without looking.
const EXPECTED: &[Kind] = &[
    Kind::NotFound,
    Kind::Exists,
    Kind::NotEmpty,
    Kind::NotDirectory,
    Kind::IsDirectory,
    Kind::Loop,
    Kind::Stale,
    Kind::NoAttribute,
    Kind::NoSpace,
];

/// A source of operations.
pub struct Workload {
    rng: Rng,
    opened: Vec<u64>,
    /// Operations that found no space.
    pub full: u64,
    /// Operations that did something.
    pub done: u64,
}

impl Workload {
    pub fn new(seed: u64) -> Workload {
        Workload { rng: Rng::of(seed, 3), opened: Vec::new(), full: 0, done: 0 }
    }

    /// One operation. Returns the file whose contents it changes in more than one transaction.
    pub fn step(&mut self, fs: &FileSystem) -> Option<u64> {
        let dir = self.dir(fs);
        let name = self.file();
        match self.rng.below(16) {
            0..=10 => {
                self.change_names(fs, dir, &name);
                None
            }
            _ => {
                let Ok(attr) = fs.lookup(dir, &name) else {
                    self.note(fs.create(dir, &name, &FILE, CreateMode::Guarded));
                    return None;
                };
                self.change_contents(fs, attr.ino);
                Some(attr.ino)
            }
        }
    }

    /// Makes a file of up to `most` bytes.
    pub fn fill(&mut self, fs: &FileSystem, most: u64) {
        let name = format!("fill{}", self.rng.below(200));
        let bytes = vec![7; self.rng.below(most) as usize];
        let made = fs.create_with(ROOT_INO, name.as_bytes(), &FILE, CreateMode::Guarded, &bytes);
        self.note(made);
    }

    /// Closes what is open.
    pub fn close_all(&mut self, fs: &FileSystem) {
        self.opened.drain(..).for_each(|ino| fs.close(ino).unwrap());
    }

    /// A random number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn note<T>(&mut self, answer: Result<T>) {
        match answer {
            Ok(_) => self.done += 1,
            Err(error) => {
                assert!(EXPECTED.contains(&error.kind()), "{error}");
                self.full += u64::from(error.kind() == Kind::NoSpace);
            }
        }
    }

    fn file(&mut self) -> [u8; 2] {
        [b'f', b'0' + self.rng.below(4) as u8]
    }

    fn directory(&mut self) -> [u8; 2] {
        [b'd', b'0' + self.rng.below(2) as u8]
    }

    /// A directory somewhere.
    fn dir(&mut self, fs: &FileSystem) -> u64 {
        let mut dir = ROOT_INO;
        for _ in 0..self.rng.below(3) {
            match fs.lookup(dir, &self.directory()) {
                Ok(attr) if attr.kind == FileType::Directory => dir = attr.ino,
                _ => break,
            }
        }
        dir
    }

    fn bytes(&mut self) -> Vec<u8> {
        let sizes = [10, 2_000, 3_000, 9_000, 300_000];
        pattern(self.rng.next_u64(), sizes[self.rng.below(5) as usize])
    }

    fn change_names(&mut self, fs: &FileSystem, dir: u64, file: &[u8]) {
        let (to, other) = (self.dir(fs), self.file());
        let (name, new_name) = (self.directory(), self.directory());
        let modes = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange];
        let mode = modes[self.rng.below(3) as usize];
        let ino = fs.lookup(dir, file).map_or(u64::MAX, |attr| attr.ino);
        match self.rng.below(11) {
            0..=2 => {
                let mut bytes = self.bytes();
                bytes.truncate(2_048);
                self.note(fs.create_with(dir, file, &FILE, CreateMode::Guarded, &bytes));
            }
            3 => self.note(fs.mkdir(dir, &name, &DIR)),
            4 => self.note(fs.unlink(dir, file)),
            5 => self.note(fs.rmdir(dir, &name)),
            6 => self.note(fs.rename(dir, file, to, &other, mode)),
            7 => self.note(fs.rename(dir, &name, to, &new_name, mode)),
            8 => self.note(fs.link(ino, to, &other)),
            9 => {
                let opened = fs.open(ino);
                self.opened.extend(opened.is_ok().then_some(ino));
                self.note(opened);
            }
            _ => {
                if let Some(ino) = self.opened.pop() {
                    self.note(fs.close(ino));
                }
            }
        }
    }

    fn change_contents(&mut self, fs: &FileSystem, ino: u64) {
        let (at, bytes) = (self.rng.below(200_000), self.bytes());
        let name = [b'x', b'0' + self.rng.below(3) as u8];
        match self.rng.below(6) {
            0 => {
                let mode = Some(self.rng.below(512) as u32);
                self.note(fs.setattr(ino, &SetAttr { size: Some(at), mode, ..SetAttr::default() }));
            }
            1 => self.note(fs.remove_xattr(ino, &name)),
            2 => {
                let value = &bytes[..bytes.len().min(60_000)];
                self.note(fs.set_xattr(ino, &name, value, XattrMode::Either));
            }
            3 => self.note(fs.punch_hole(ino, at, bytes.len() as u64)),
            4 => {
                // More extents than one transaction frees.
                for n in 0..40 {
                    self.note(fs.write(ino, n * 2 * 4096, &pattern(n, 4096)));
                }
            }
            _ => self.note(fs.write(ino, at, &bytes)),
        }
    }
}
