//! What a file system holds, inode by inode, and what may differ after a repair.

use std::collections::{BTreeMap, BTreeSet};

use efscrypt::check::{Mending, RepairReport};
use efscrypt::fs::{COOKIE_DOT_DOT, FileSystem, FileType, ROOT_INO, Time};

use crate::bed::UNIT;

/// What a client sees of an inode, and the names that lead to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    kind: FileType,
    nlink: u32,
    mode: u32,
    uid: u32,
    size: u64,
    mtime: Time,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    names: BTreeSet<(u64, Vec<u8>)>,
    /// Each unit of the contents, or `None` where it cannot be read.
    units: Vec<Option<Vec<u8>>>,
}

impl Seen {
    /// Leaves out the time, which each repair makes anew where it is lost.
    pub fn forget_mtime(&mut self) {
        self.mtime = Time { seconds: 0, nanoseconds: 0 };
    }

    /// Units of the contents of a regular file.
    pub fn units_len(&self) -> usize {
        if self.kind == FileType::Regular { self.units.len() } else { 0 }
    }

    /// Whether a unit of the contents is this.
    pub fn has(&self, unit: usize, bytes: &[u8]) -> bool {
        self.units[unit].as_deref() == Some(bytes)
    }
}

pub type Picture = BTreeMap<u64, Seen>;

/// Everything that can be read from the root directory.
pub fn picture(fs: &FileSystem) -> Picture {
    let mut names = BTreeMap::<u64, BTreeSet<(u64, Vec<u8>)>>::new();
    let mut todo = vec![ROOT_INO];
    let mut picture = Picture::new();
    while let Some(dir) = todo.pop() {
        let end = fs.read_dir(dir, COOKIE_DOT_DOT, |entry| {
            names.entry(entry.ino).or_default().insert((dir, entry.name.to_vec()));
            if entry.kind == FileType::Directory {
                todo.push(entry.ino);
            }
            true
        });
        assert!(end.unwrap());
    }
    names.entry(ROOT_INO).or_default();
    for (ino, names) in names {
        picture.insert(ino, look(fs, ino, names));
    }
    picture
}

fn look(fs: &FileSystem, ino: u64, names: BTreeSet<(u64, Vec<u8>)>) -> Seen {
    let attr = fs.getattr(ino).unwrap();
    let xattrs = fs.list_xattrs(ino).unwrap();
    let units = match attr.kind {
        FileType::Regular => (0..attr.size.div_ceil(UNIT as u64))
            .map(|unit| {
                let mut bytes = vec![0; UNIT];
                let read = fs.read(ino, unit * UNIT as u64, &mut bytes);
                read.ok().map(|_| bytes)
            })
            .collect(),
        FileType::Symlink => vec![fs.readlink(ino).ok()],
        _ => Vec::new(),
    };
    Seen {
        kind: attr.kind,
        nlink: attr.nlink,
        mode: attr.mode,
        uid: attr.uid,
        size: attr.size,
        mtime: attr.mtime,
        xattrs: xattrs
            .into_iter()
            .map(|name| (name.clone(), fs.get_xattr(ino, &name).unwrap()))
            .collect(),
        names,
        units,
    }
}

/// Inodes that a report says something about.
pub fn mentioned(report: &RepairReport) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for note in &report.notes {
        inodes.insert(note.ino);
        match note.what {
            Mending::NameDropped { target, .. } => inodes.insert(target),
            Mending::NameMoved { dir, .. } => inodes.insert(dir),
            _ => false,
        };
    }
    inodes
}

/// Fails unless all that is not mentioned is as it was, and nothing that is mentioned reads as
/// something that it never was.
pub fn compare(before: &Picture, after: &Picture, mentioned: &BTreeSet<u64>, what: &str) {
    for (ino, old) in before {
        let new = after.get(ino);
        if !mentioned.contains(ino) {
            let new = new.unwrap_or_else(|| panic!("{what}: inode {ino} is gone unsaid"));
            assert!(old == new, "{what}: inode {ino} differs unsaid: {}", differs(old, new));
            continue;
        }
        let Some(new) = new.filter(|new| new.kind == old.kind) else { continue };
        for (n, (was, is)) in old.units.iter().zip(&new.units).enumerate() {
            assert!(is.is_none() || is == was, "{what}: inode {ino}, unit {n} is a lie");
        }
    }
}

fn differs(old: &Seen, new: &Seen) -> String {
    let plain = |seen: &Seen| Seen { units: Vec::new(), xattrs: BTreeMap::new(), ..seen.clone() };
    let units: Vec<usize> = (0..old.units.len().max(new.units.len()))
        .filter(|n| old.units.get(*n) != new.units.get(*n))
        .collect();
    format!("{:?} and {:?}, units {units:?}", plain(old), plain(new))
}
