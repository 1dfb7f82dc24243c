//! Workloads: operations of every kind, made up by a seed.

use std::collections::VecDeque;

use super::caller::COMMON;
use super::lists::List;
use super::model::Model;
use super::operation::{Fill, On, Operation, SLOTS};
use crate::device::sim::Rng;
use crate::fs::{
    AclKind, Beyond, CreateMode, FileType, RenameMode, SetAttr, SetTime, Time, XattrMode,
};

/// A source of operations. It looks at the model, so that most of them find what they work on.
#[derive(Debug, Clone)]
pub struct Workload {
    rng: Rng,
    next: VecDeque<Operation>,
    /// Whether it may close and open the store.
    alone: bool,
    /// How large files get: indexes into `SIZES`.
    smallest: u64,
    largest: u64,
}

/// Sizes of contents: none, inline, the edges of inline and of units, several transactions.
const SIZES: [u64; 14] = [
    0, 10, 700, 2_048, 2_049, 4_096, 4_097, 5_000, 8_192, 12_288, 20_000, 70_000, 150_000, 400_000,
];

impl Workload {
    /// The workload of a seed, for one caller that is alone.
    pub fn new(seed: u64) -> Workload {
        Workload::of(seed, 0, true)
    }

    /// The workload of one caller among several.
    pub(super) fn of(seed: u64, caller: u64, alone: bool) -> Workload {
        let mut rng = Rng::of(seed, 0x77 + caller);
        let largest = [9, 11, 11, 12, 13][rng.below(5) as usize];
        Workload { rng, next: VecDeque::new(), alone, smallest: 0, largest }
    }

    /// Makes large files, for a device that is to be filled.
    pub(super) fn greedy(mut self) -> Workload {
        (self.smallest, self.largest) = (SIZES.len() as u64 / 2, SIZES.len() as u64 - 1);
        self
    }

    /// The next operation.
    pub fn next(&mut self, model: &Model) -> Operation {
        if let Some(operation) = self.next.pop_front() {
            return operation;
        }
        let paths = model.paths();
        let next = self.make_up(&paths);
        use Operation as O;
        let memory = matches!(next, O::Open { .. } | O::Close { .. } | O::DropCaches);
        match memory || next.acknowledges() || !self.rng.one_in(10) {
            true => next,
            false => Operation::Durably(Box::new(next)),
        }
    }

    fn make_up(&mut self, paths: &[(String, FileType)]) -> Operation {
        match self.rng.below(36) {
            0..=5 => self.create(paths),
            6 | 7 => Operation::Mkdir { path: self.dir_name(paths), mode: self.mode() },
            8 => self.special(paths),
            9 | 10 => self.remove(paths),
            11..=13 => self.rename(paths),
            14 => Operation::Link { of: self.some(paths, is_file), path: self.name(paths) },
            15..=18 => self.write(paths),
            19 => {
                let bytes = self.contents();
                Operation::Append { file: self.some(paths, is_file), bytes }
            }
            20 => {
                let size = self.place();
                Operation::Truncate { file: self.some(paths, is_file), size }
            }
            21 => {
                let (at, len) = (self.place(), self.place());
                Operation::PunchHole { file: self.some(paths, is_file), at, len }
            }
            22 => Operation::SetAttr { of: self.some(paths, |_| true), set: self.attributes() },
            23 | 24 => self.xattr(paths),
            25 => self.open(paths),
            26 => self.scatter(paths),
            27 => Operation::Fsync { of: self.some(paths, |_| true) },
            32 => {
                let (at, len, beyond) = (self.place(), self.place(), self.beyond());
                Operation::ZeroRange { file: self.some(paths, is_file), at, len, beyond }
            }
            33 => {
                let (at, len, beyond) = (self.place(), self.place(), self.beyond());
                Operation::Allocate { file: self.some(paths, is_file), at, len, beyond }
            }
            34 | 35 => self.list(paths),
            28 => Operation::Commit { file: self.some(paths, is_file) },
            29 => Operation::Sync,
            30 => [Operation::Maintain, Operation::Checkpoint, Operation::Trim]
                [self.rng.below(3) as usize]
                .clone(),
            _ if self.alone && self.rng.one_in(3) => Operation::Reopen,
            _ => Operation::DropCaches,
        }
    }

    fn beyond(&mut self) -> Beyond {
        if self.rng.one_in(2) { Beyond::Grow } else { Beyond::Keep }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn number<const N: usize>(&mut self, numbers: [u64; N]) -> u64 {
        numbers[self.below(N as u64) as usize]
    }

    fn contents(&mut self) -> Fill {
        let len = self.size() as usize;
        Fill { seed: self.rng.below(1 << 32), len }
    }

    fn size(&mut self) -> u64 {
        let choice = self.smallest + self.rng.below(self.largest + 1 - self.smallest);
        SIZES[choice as usize]
    }

    /// An offset or a size.
    fn place(&mut self) -> u64 {
        let size = self.size();
        if self.rng.one_in(3) { self.rng.below(size + 5_000) } else { size }
    }

    fn mode(&mut self) -> u32 {
        self.number([0o644, 0o755, 0o6755, 0o2755, 0o2644, 0o1777, 0]) as u32
    }

    /// A path that leads to something of a kind, mostly; else one of a slot.
    fn some(&mut self, paths: &[(String, FileType)], kind: fn(FileType) -> bool) -> On {
        if self.rng.one_in(8) {
            return On::Slot(self.rng.below(SLOTS as u64) as usize);
        }
        On::Path(self.existing(paths, kind).unwrap_or_else(|| self.name(paths)))
    }

    fn existing(
        &mut self,
        paths: &[(String, FileType)],
        kind: fn(FileType) -> bool,
    ) -> Option<String> {
        let fitting: Vec<&String> =
            paths.iter().filter(|path| kind(path.1)).map(|path| &path.0).collect();
        if fitting.is_empty() || self.rng.one_in(16) {
            return None;
        }
        Some(fitting[self.rng.below(fitting.len() as u64) as usize].clone())
    }

    /// A directory up to two deep; the root often.
    fn dir(&mut self, paths: &[(String, FileType)]) -> String {
        if !self.alone && self.rng.one_in(4) {
            return format!("/{COMMON}");
        }
        let shallow = |path: &String| path.matches('/').count() < 3;
        match self.rng.below(5) {
            0..=2 => String::new(),
            _ => self.existing(paths, is_dir).filter(shallow).unwrap_or_default(),
        }
    }

    /// A path for a file.
    fn name(&mut self, paths: &[(String, FileType)]) -> String {
        let dir = self.dir(paths);
        match self.rng.below(6) {
            5 => format!("{dir}/{}", ["l~", "m~"][self.rng.below(2) as usize]),
            n => format!("{dir}/f{}", n % 5),
        }
    }

    /// A path for a directory.
    fn dir_name(&mut self, paths: &[(String, FileType)]) -> String {
        format!("{}/d{}", self.dir(paths), self.rng.below(3))
    }

    fn create(&mut self, paths: &[(String, FileType)]) -> Operation {
        let verifier = [self.rng.below(2) as u8; 8];
        let how = match self.rng.below(8) {
            0 => CreateMode::Exclusive(verifier),
            1 => CreateMode::Unchecked,
            _ => CreateMode::Guarded,
        };
        let (mode, contents) = (self.mode(), self.contents());
        Operation::Create { path: self.name(paths), mode, how, contents }
    }

    fn special(&mut self, paths: &[(String, FileType)]) -> Operation {
        let path = self.name(paths);
        let kinds = [FileType::Fifo, FileType::Socket, FileType::CharDevice, FileType::BlockDevice];
        match self.rng.below(8) {
            n @ 0..=3 => {
                Operation::Mknod { path, kind: kinds[n as usize], rdev: self.rng.below(1 << 40) }
            }
            _ => {
                let len = self.number([1, 60, 2_048, 2_049, 4_095]) as usize;
                Operation::Symlink { path, target: Fill { seed: self.rng.below(100), len } }
            }
        }
    }

    fn remove(&mut self, paths: &[(String, FileType)]) -> Operation {
        if self.rng.one_in(4) {
            let path = self.existing(paths, is_dir).unwrap_or_else(|| self.dir_name(paths));
            return Operation::Rmdir { path };
        }
        let path = self.existing(paths, |kind| !is_dir(kind));
        Operation::Unlink { path: path.unwrap_or_else(|| self.name(paths)) }
    }

    fn rename(&mut self, paths: &[(String, FileType)]) -> Operation {
        let kind = self.rng.below(6);
        let mode = match kind {
            0 => RenameMode::NoReplace,
            1 => RenameMode::Exchange,
            _ => RenameMode::Replace,
        };
        let from = self.existing(paths, |_| true).unwrap_or_else(|| self.name(paths));
        let fresh = match paths.iter().find(|path| path.0 == from) {
            Some((_, FileType::Directory)) => self.dir_name(paths),
            _ => self.name(paths),
        };
        let to = match self.rng.below(2) {
            0 => self.existing(paths, |_| true).unwrap_or(fresh),
            _ => fresh,
        };
        match kind {
            2 => Operation::Whiteout { from, to, mode },
            _ => Operation::Rename { from, to, mode },
        }
    }

    fn write(&mut self, paths: &[(String, FileType)]) -> Operation {
        let (at, bytes) = (self.place(), self.contents());
        let file = self.some(paths, is_file);
        match self.rng.below(6) {
            0 => Operation::PrivilegedWrite { file, at, bytes },
            _ => Operation::Write { file, at, bytes },
        }
    }

    fn attributes(&mut self) -> SetAttr {
        let mut set = SetAttr::default();
        let time = Time { seconds: self.rng.below(1 << 40) as i64 - (1 << 39), nanoseconds: 9 };
        match self.rng.below(5) {
            0 => set.mode = Some(self.mode()),
            1 => (set.uid, set.gid) = (Some(self.rng.below(99) as u32), Some(5)),
            2 => (set.atime, set.mtime) = (Some(SetTime::At(time)), Some(SetTime::Now)),
            3 => (set.size, set.mode) = (Some(self.place()), Some(self.mode())),
            _ => (set.mtime, set.gid) = (Some(SetTime::At(time)), Some(6)),
        }
        set
    }

    fn xattr(&mut self, paths: &[(String, FileType)]) -> Operation {
        let (of, name) = (self.some(paths, |_| true), format!("user.{}", self.rng.below(3)));
        if self.rng.one_in(4) {
            return Operation::RemoveXattr { of, name };
        }
        let len = self.number([0, 10, 300, 3_900, 9_000, 65_536]) as usize;
        let value = Fill { seed: self.rng.below(1 << 32), len };
        let mode = match self.rng.below(5) {
            0 => XattrMode::Create,
            1 => XattrMode::Replace,
            _ => XattrMode::Either,
        };
        Operation::SetXattr { of, name, value, mode }
    }

    fn list(&mut self, paths: &[(String, FileType)]) -> Operation {
        let kind = if self.rng.one_in(2) { AclKind::Access } else { AclKind::Default };
        let of = match kind {
            AclKind::Default if !self.rng.one_in(6) => self.some(paths, is_dir),
            _ => self.some(paths, |_| true),
        };
        let mut perm = || self.rng.below(8) as u8;
        let mut list = List { owner: perm(), group: perm(), other: perm(), named: None };
        let named = [perm(), perm(), perm()];
        list.named = (!self.rng.one_in(4)).then_some(named);
        Operation::SetAcl { of, kind, list: (!self.rng.one_in(4)).then_some(list) }
    }

    fn open(&mut self, paths: &[(String, FileType)]) -> Operation {
        let slot = self.rng.below(SLOTS as u64) as usize;
        if self.rng.one_in(3) {
            return Operation::Close { slot };
        }
        let path = self.existing(paths, |_| true).unwrap_or_default();
        if !path.is_empty() && self.rng.one_in(2) {
            self.next.push_back(Operation::Unlink { path: path.clone() });
        }
        Operation::Open { path, slot }
    }

    /// More extents in one file than one transaction frees, and then something that frees them.
    fn scatter(&mut self, paths: &[(String, FileType)]) -> Operation {
        let file = self.some(paths, is_file);
        if !self.rng.one_in(3) {
            return Operation::Append { file, bytes: self.contents() };
        }
        let bytes = |rng: &mut Rng| Fill { seed: rng.below(1 << 32), len: 4_096 };
        for n in 1..30 {
            let (file, bytes) = (file.clone(), bytes(&mut self.rng));
            self.next.push_back(Operation::Write { file, at: n * 8_192, bytes });
        }
        let last = match (self.rng.below(4), file.clone()) {
            (0, On::Path(path)) => Operation::Unlink { path },
            (1, file) => Operation::PunchHole { file, at: 4_000, len: 200_000 },
            (2, file) => Operation::Write { file, at: 100, bytes: self.contents() },
            (_, file) => Operation::Truncate { file, size: 5_000 },
        };
        self.next.push_back(last);
        Operation::Write { file, at: 0, bytes: bytes(&mut self.rng) }
    }
}

fn is_file(kind: FileType) -> bool {
    kind == FileType::Regular
}

fn is_dir(kind: FileType) -> bool {
    kind == FileType::Directory
}
