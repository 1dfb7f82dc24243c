//! What one thread of a writer does, as both it and its judge know it: a list of changes that
//! follows from a seed, and the files after each of them.

use std::collections::BTreeMap;

use efscrypt::Result;
use efscrypt::device::sim::Rng;
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, RenameMode, SetAttr};

const UNIT: usize = 4096;
/// Names that a thread uses.
const NAMES: u64 = 12;
/// Units of the largest write: more than one transaction takes.
const LARGE: u64 = 300;

/// The contents of a file, by the marks that its units bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Fewer bytes than a unit.
    Small { mark: u64, len: usize },
    /// Whole units.
    Units(Vec<u64>),
}

/// Names and contents of the files of a thread.
pub type Files = BTreeMap<Vec<u8>, Contents>;

/// A change. All but a write of several units are done in one step.
#[derive(Debug, Clone)]
pub enum Change {
    Create { name: Vec<u8>, mark: u64, len: usize },
    Write { name: Vec<u8>, mark: u64, unit: usize, units: usize },
    Cut { name: Vec<u8>, units: usize },
    Remove { name: Vec<u8> },
    Rename { from: Vec<u8>, to: Vec<u8> },
}

/// The changes of a thread, and the files after `done` of them.
#[derive(Clone)]
pub struct Plan {
    seed: u64,
    thread: u64,
    pub done: u64,
    pub files: Files,
}

impl Plan {
    pub fn new(seed: u64, thread: u64) -> Plan {
        Plan { seed, thread, done: 0, files: Files::new() }
    }

    /// The next change.
    pub fn next(&self) -> Change {
        let mut rng = Rng::of(self.seed, self.thread << 40 | self.done);
        let mark = self.thread << 48 | (self.done + 1);
        let mut name = || format!("{}", rng.below(NAMES)).into_bytes();
        let (name, to) = (name(), name());
        let Some(contents) = self.files.get(&name) else {
            return Change::Create { name, mark, len: 16 + rng.below(2033) as usize };
        };
        let len = match contents {
            Contents::Small { .. } => 0,
            Contents::Units(marks) => marks.len() as u64,
        };
        match rng.below(16) {
            0..3 => Change::Remove { name },
            3..5 if to != name => Change::Rename { from: name, to },
            5..7 if len > 0 => Change::Cut { name, units: rng.below(len) as usize },
            7..12 => Change::Write { name, mark, unit: rng.below(len + 1) as usize, units: 1 },
            kind => {
                let most = if kind == 15 { LARGE } else { 40 };
                let (unit, units) = (rng.below(len + 1) as usize, 1 + rng.below(most) as usize);
                Change::Write { name, mark, unit, units }
            }
        }
    }

    /// Counts the next change as done.
    pub fn step(&mut self) {
        match self.next() {
            Change::Create { name, mark, len } => {
                self.files.insert(name, Contents::Small { mark, len });
            }
            Change::Write { name, mark, unit, units } => {
                let written = written(&self.files[&name], mark, unit, units);
                self.files.insert(name, written);
            }
            Change::Cut { name, units } => {
                if let Some(Contents::Units(marks)) = self.files.get_mut(&name) {
                    marks.truncate(units);
                }
            }
            Change::Remove { name } => drop(self.files.remove(&name)),
            Change::Rename { from, to } => {
                let moved = self.files.remove(&from).unwrap();
                self.files.insert(to, moved);
            }
        }
        self.done += 1;
    }

    /// Whether these are the files after `done` changes, perhaps with a part of the next.
    pub fn fits(&self, found: &Files) -> bool {
        if self.files == *found {
            return true;
        }
        let Change::Write { name, mark, unit, units } = self.next() else { return false };
        let mut files = self.files.clone();
        (1..units).any(|part| {
            files.insert(name.clone(), written(&self.files[&name], mark, unit, part));
            files == *found
        })
    }
}

/// Contents after a write of units from `unit` on.
fn written(before: &Contents, mark: u64, unit: usize, units: usize) -> Contents {
    let mut marks = match before {
        Contents::Small { .. } => Vec::new(),
        Contents::Units(marks) => marks.clone(),
    };
    marks.resize(marks.len().max(unit + units), 0);
    marks[unit..unit + units].fill(mark);
    Contents::Units(marks)
}

impl Change {
    /// Makes the change in a directory.
    pub fn make(&self, fs: &FileSystem, dir: u64) -> Result<()> {
        let ino = |name: &[u8]| Ok::<_, efscrypt::Error>(fs.lookup(dir, name)?.ino);
        match self {
            Change::Create { name, mark, len } => {
                let contents = &unit_of(*mark, 0)[..*len];
                fs.create_with(dir, name, &NewAttr::default(), CreateMode::Guarded, contents)?;
            }
            Change::Write { name, mark, unit, units } => {
                let bytes: Vec<u8> =
                    (*unit..unit + units).flat_map(|unit| unit_of(*mark, unit)).collect();
                let (ino, mut done) = (ino(name)?, 0);
                while done < bytes.len() {
                    let at = (unit * UNIT + done) as u64;
                    done += fs.write(ino, at, &bytes[done..])?.len;
                }
            }
            Change::Cut { name, units } => {
                let size = Some((units * UNIT) as u64);
                fs.setattr(ino(name)?, &SetAttr { size, ..SetAttr::default() })?;
            }
            Change::Remove { name } => drop(fs.unlink(dir, name)?),
            Change::Rename { from, to } => {
                fs.rename(dir, from, dir, to, RenameMode::Replace)?;
            }
        }
        Ok(())
    }
}

/// The bytes of a unit of a file.
fn unit_of(mark: u64, unit: usize) -> [u8; UNIT] {
    let mut bytes = [0; UNIT];
    Rng::of(mark, unit as u64).fill(&mut bytes);
    bytes[..8].copy_from_slice(&mark.to_le_bytes());
    bytes
}

/// What a directory holds; panics at bytes that no writer wrote there.
pub fn read(fs: &FileSystem, path: &str) -> Files {
    let mut names = Vec::new();
    let dir = fs.at(path.as_bytes()).unwrap().ino;
    fs.read_dir(dir, efscrypt::fs::COOKIE_DOT_DOT, |entry| {
        names.push(entry.name.to_vec());
        true
    })
    .unwrap();
    let contents = |name: &[u8]| {
        let path = format!("{path}/{}", String::from_utf8_lossy(name));
        let bytes = fs.read_file(path.as_bytes()).unwrap();
        parse(&bytes).unwrap_or_else(|unit| panic!("{path}: unit {unit} was never written"))
    };
    names.into_iter().map(|name| (name.clone(), contents(&name))).collect()
}

/// Fails with the unit that does not have the bytes of its mark.
fn parse(bytes: &[u8]) -> std::result::Result<Contents, usize> {
    let mut marks = Vec::new();
    for (unit, bytes) in bytes.chunks(UNIT).enumerate() {
        let mark = bytes.first_chunk().map(|mark| u64::from_le_bytes(*mark)).ok_or(unit)?;
        if unit_of(mark, unit)[..bytes.len()] != *bytes {
            return Err(unit);
        }
        marks.push(mark);
    }
    match (bytes.len() % UNIT, marks.first()) {
        (0, _) => Ok(Contents::Units(marks)),
        (len, Some(mark)) if bytes.len() < UNIT => Ok(Contents::Small { mark: *mark, len }),
        _ => Err(marks.len()),
    }
}
