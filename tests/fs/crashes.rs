//! Crashes under the file system: what comes back is the tree as some operation left it, at or
//! after the last acknowledgement, and everything in it fits together.
//!
//! `EFSCRYPT_CRASH_STATES` sets how many states are tried; a few hundred by default.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{FaultPlan, Recording, SimDevice};
use efscrypt::fs::{FileSystem, FileType, ROOT_INO};

use crate::bed::{assert_clean, create, names, open};
use crate::workload::Workload;

/// Operations of one run.
const OPERATIONS: usize = 60;
/// States of one run that are tried.
const STATES: u64 = 50;

/// What a client sees of an inode.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    ino: u64,
    kind: FileType,
    nlink: u32,
    mode: u32,
    size: u64,
    contents: u32,
    xattrs: BTreeMap<Vec<u8>, u32>,
}

/// All paths, and what they lead to.
type State = BTreeMap<Vec<u8>, Seen>;

fn state(fs: &FileSystem) -> State {
    let (mut state, mut todo) = (State::new(), vec![(ROOT_INO, Vec::new())]);
    while let Some((dir, above)) = todo.pop() {
        for (name, ino) in names(fs, dir) {
            let seen = look(fs, ino);
            let path = [&above[..], b"/", &name].concat();
            if seen.kind == FileType::Directory {
                todo.push((ino, path.clone()));
            }
            state.insert(path, seen);
        }
    }
    state
}

fn look(fs: &FileSystem, ino: u64) -> Seen {
    let attr = fs.getattr(ino).unwrap();
    let mut contents = Vec::new();
    if attr.kind == FileType::Regular {
        contents.resize(attr.size as usize, 0);
        assert_eq!(fs.read(ino, 0, &mut contents).unwrap().len as u64, attr.size);
    }
    let xattrs = fs.list_xattrs(ino).unwrap().into_iter().map(|name| {
        let value = crc32fast::hash(&fs.get_xattr(ino, &name).unwrap());
        (name, value)
    });
    Seen {
        ino,
        kind: attr.kind,
        nlink: attr.nlink,
        mode: attr.mode,
        size: attr.size,
        contents: crc32fast::hash(&contents),
        xattrs: xattrs.collect(),
    }
}

/// Without the contents of one file, which an operation may have left half-way.
fn without(state: &State, ino: u64) -> State {
    let mut state = state.clone();
    for seen in state.values_mut().filter(|seen| seen.ino == ino) {
        (seen.size, seen.contents) = (0, 0);
    }
    state
}

/// What a run did, and what it was told.
struct Story {
    recording: Recording,
    /// The tree after each operation, and the file that it may leave half-way.
    history: Vec<(State, Option<u64>)>,
    /// Step by which a number of operations was acknowledged.
    acks: Vec<(u64, usize)>,
}

impl Story {
    fn acked(&self, step: u64) -> usize {
        self.acks.iter().take_while(|(at, _)| *at <= step).map(|(_, n)| *n).last().unwrap_or(0)
    }

    /// Whether some operation from `least` on left the tree so, or a part of one did.
    fn holds(&self, found: &State, least: usize) -> bool {
        self.history.iter().enumerate().skip(least).any(|(n, (state, half))| {
            let half = half.filter(|_| n > least);
            state == found || half.is_some_and(|ino| without(state, ino) == without(found, ino))
        })
    }
}

fn run(seed: u64) -> Story {
    let base = MemoryDevice::limited(48 << 20);
    let device = Arc::new(SimDevice::recording(base, FaultPlan::new(seed)));
    let fs = create(device.clone(), seed);
    let mut work = Workload::new(seed);
    let mut history = vec![(state(&fs), None)];
    fs.sync().unwrap();
    let mut acks = vec![(device.steps(), 0)];
    for _ in 0..OPERATIONS {
        let half = work.step(&fs);
        history.push((state(&fs), half));
        match work.below(6) {
            0 => assert!(fs.maintain().unwrap()),
            1 | 2 => fs.sync().unwrap(),
            _ => continue,
        }
        acks.push((device.steps(), history.len() - 1));
    }
    assert!(work.done > OPERATIONS as u64 / 4, "most operations came to nothing");
    drop(fs);
    Story { recording: device.take_recording(), history, acks }
}

#[test]
fn every_crash_leaves_the_tree_of_some_operation() {
    let states = std::env::var("EFSCRYPT_CRASH_STATES").ok().and_then(|n| n.parse().ok());
    let (mut left, mut seed) = (states.unwrap_or(400u64), 0);
    while left > 0 {
        seed += 1;
        let story = run(seed);
        let first = story.acks[0].0;
        let stride = ((story.recording.steps() - first) / STATES).max(1) as usize;
        let steps = first + seed % stride as u64..=story.recording.steps();
        for step in steps.step_by(stride).take(left as usize) {
            left -= 1;
            let what = story.recording.describe(step, seed);
            let fs = open(story.recording.crash_image(step, seed), seed);
            let report = check(&fs).unwrap();
            assert!(report.is_clean(), "{what}: {report:?}");
            let found = state(&fs);
            let acked = story.acked(step);
            assert!(story.holds(&found, acked), "{what}: {acked} acknowledged: {found:#?}");
            assert!(fs.reap(usize::MAX).unwrap());
            assert_clean(&fs, &what);
            assert!(state(&fs) == found, "{what}: freeing orphans changed it");
        }
    }
}
