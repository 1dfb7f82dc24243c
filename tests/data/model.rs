//! A model of files as byte vectors, a workload that drives both by a seed, and crashes under it.

use std::collections::BTreeMap;
use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, Recording, Rng, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::{Error, Result};

use crate::bed::Bed;

type State = BTreeMap<u64, Arc<Vec<u8>>>;

/// Files as they are, and as they were after each operation.
pub struct Files {
    rng: Rng,
    most: u64,
    /// States after each operation; operation `n` makes state `n`.
    pub history: Vec<State>,
}

impl Files {
    /// Files of up to about `most` bytes.
    pub fn new(seed: u64, most: u64) -> Files {
        Files { rng: Rng::of(seed, 5), most, history: vec![State::new()] }
    }

    fn state(&self) -> &State {
        &self.history[self.history.len() - 1]
    }

    /// A number of bytes, often at an edge.
    fn size(&mut self, most: u64) -> u64 {
        let edges = [100, 2048, 4096, 8192, 64 * 4096, 128 * 4096];
        let size = match self.rng.below(4) {
            0 => self.rng.below(5000),
            1 => self.rng.below(most),
            _ => edges[self.rng.below(6) as usize] + self.rng.below(5),
        };
        let off = if self.rng.one_in(2) { 2 } else { 0 };
        (size.saturating_sub(off)).min(most)
    }

    /// One random operation on the store and in the model.
    pub fn step(&mut self, bed: &Bed) -> Result<u64> {
        let mark = self.history.len() as u64;
        let ino = 10 + self.rng.below(3);
        let mut state = self.state().clone();
        let Some(old) = state.get(&ino).cloned() else {
            let lsn = bed.make(ino, mark)?;
            state.insert(ino, Arc::default());
            self.history.push(state);
            return Ok(lsn);
        };
        let most = self.most;
        let mut bytes = (*old).clone();
        let (mut size, mut offset) = (self.size(most / 2) as usize, self.size(most) as usize);
        let kind = self.rng.below(12);
        // What the operation leaves is noted first: a part of it may happen.
        match kind {
            0 => drop(state.remove(&ino)),
            1 => bytes.resize(offset, 0),
            2 | 3 => {
                let end = (offset + size).min(bytes.len());
                bytes.get_mut(offset..end).unwrap_or_default().fill(0);
            }
            _ => {
                // Often in order, so that there are streams.
                if kind >= 8 {
                    (offset, size) = (bytes.len().next_multiple_of(4096), size.min(8192));
                }
                let new = crate::bed::pattern(mark, size);
                bytes.resize(bytes.len().max(offset + size), 0);
                bytes[offset..offset + size].copy_from_slice(&new);
            }
        }
        if kind != 0 {
            state.insert(ino, Arc::new(bytes));
        }
        self.history.push(state);
        match kind {
            0 => bed.remove(ino, mark),
            1 => bed.truncate(ino, mark, offset as u64),
            2 | 3 => bed.punch(ino, mark, offset as u64, size as u64),
            _ => self.write(bed, ino, mark, offset, size),
        }
    }

    fn write(&self, bed: &Bed, ino: u64, mark: u64, at: usize, size: usize) -> Result<u64> {
        let new = crate::bed::pattern(mark, size);
        let (mut done, mut lsn) = (0, bed.engine.last());
        if size == 0 {
            // Nothing happens, but for the mark.
            return bed.punch(ino, mark, u64::MAX, 0);
        }
        while done < size {
            let written = bed.write(ino, mark, (at + done) as u64, &new[done..])?;
            (done, lsn) = (done + written.bytes, written.lsn);
        }
        Ok(lsn)
    }

    /// Reads a random part of a random file.
    pub fn probe(&mut self, bed: &Bed) {
        let ino = 10 + self.rng.below(3);
        let (offset, len) = (self.size(self.most) as usize, self.size(self.most) as usize);
        let Some(bytes) = self.state().get(&ino) else { return };
        let from = offset.min(bytes.len());
        let want = &bytes[from..(from + len).min(bytes.len()).max(from)];
        let found = bed.read(ino, offset as u64, len).unwrap();
        assert!(found == want, "inode {ino} at {offset}, {len} bytes");
    }

    /// Fails unless the store holds exactly the last state.
    pub fn verify(&self, bed: &Bed, what: &str) {
        let count = self.history.len() as u64 - 1;
        assert_eq!(self.find(bed, count, what), count, "{what}");
    }

    /// Fails unless the store holds a state from `least` on, or a part of the operation behind
    /// one; returns which operation was the last that left something.
    pub fn find(&self, bed: &Bed, least: u64, what: &str) -> u64 {
        bed.check(what);
        let rows: Vec<_> = (10..13).filter_map(|ino| Some((ino, bed.row(ino).unwrap()?))).collect();
        let marks = rows.iter().map(|(_, row)| row.change.get());
        let newest = marks.max().unwrap_or(0);
        let found: State = rows
            .iter()
            .map(|(ino, _)| {
                let bytes = bed.read_all(*ino);
                (*ino, Arc::new(bytes.unwrap_or_else(|error| panic!("{what}: {error}"))))
            })
            .collect();
        // A removal leaves no mark behind: look further.
        for number in newest.max(least)..self.history.len() as u64 {
            if self.history[number as usize] == found {
                return number;
            }
        }
        assert!(newest >= least, "{what}: operation {newest} of {least} acknowledged");
        let number = newest as usize;
        assert!(number > 0, "{what}: not empty");
        let between = is_between(&self.history[number - 1], &self.history[number], &found);
        assert!(between, "{what}: not a part of operation {number}");
        newest
    }
}

/// Whether a part of an operation may have left `found`: whole units of one file are new.
fn is_between(before: &State, after: &State, found: &State) -> bool {
    let numbers = |state: &State| state.keys().copied().collect::<Vec<_>>();
    if numbers(found) != numbers(after) {
        return false;
    }
    found.iter().all(|(ino, bytes)| {
        let (Some(old), Some(new)) = (before.get(ino), after.get(ino)) else { return false };
        let unit = |bytes: &Vec<u8>, n: usize| {
            let mut unit = bytes.get(n * 4096..).unwrap_or_default().to_vec();
            unit.resize(unit.len().clamp(0, 4096), 0);
            unit.truncate(4096);
            unit.resize(4096, 0);
            unit
        };
        let units = bytes.len().max(old.len()).max(new.len()).div_ceil(4096);
        bytes.len() >= old.len().min(new.len())
            && bytes.len() <= old.len().max(new.len())
            && (0..units).all(|n| {
                let found = unit(bytes, n);
                found == unit(old, n) || found == unit(new, n)
            })
    })
}

/// What a workload did, and what it was told.
struct Story {
    recording: Recording,
    files: Files,
    /// Step by which a number of operations was acknowledged.
    acks: Vec<(u64, u64)>,
}

impl Story {
    fn acked(&self, step: u64) -> u64 {
        self.acks.iter().take_while(|(at, _)| *at <= step).map(|(_, n)| *n).last().unwrap_or(0)
    }
}

fn run(seed: u64, plan: FaultPlan) -> Option<Story> {
    let device = Arc::new(SimDevice::recording(MemoryDevice::limited(32 << 20), plan));
    let mut files = Files::new(seed, 800_000);
    let bed = Bed::create(device.clone(), seed).ok()?;
    let mut acks = vec![(device.steps(), 0)];
    let mut dice = Rng::of(seed, 1);
    for _ in 0..40 {
        let Ok(lsn) = files.step(&bed) else { break };
        let done = match dice.below(6) {
            0 => bed.engine.checkpoint(),
            1..=3 => bed.engine.sync(lsn),
            _ => continue,
        };
        match done {
            Ok(()) => acks.push((device.steps(), files.history.len() as u64 - 1)),
            Err(_) => break,
        }
    }
    drop(bed);
    Some(Story { recording: device.take_recording(), files, acks })
}

fn states() -> u64 {
    std::env::var("EFSCRYPT_CRASH_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

#[test]
fn every_crash_leaves_a_prefix_of_the_contents() {
    let (mut left, mut seed, mut opened) = (states(), 0, 0u64);
    while left > 0 {
        seed += 1;
        let story = run(seed, FaultPlan::new(seed)).unwrap();
        let made = story.acks[0].0;
        for step in made..=story.recording.steps() {
            if left == 0 {
                break;
            }
            left -= 1;
            let what = story.recording.describe(step, seed);
            let image = story.recording.crash_image(step, seed);
            let device = Arc::new(SimDevice::recording(image, FaultPlan::new(seed)));
            let bed =
                Bed::open(device.clone(), seed).unwrap_or_else(|error| panic!("{what}: {error}"));
            opened += 1;
            let first = story.files.find(&bed, story.acked(step), &what);
            // A crash while the mount worked.
            let recovered = device.take_recording();
            let again = (step * 31 + seed) % (recovered.steps() + 1);
            let bed = Bed::open(recovered.crash_image(again, step), seed)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let second = story.files.find(&bed, first.min(story.acked(step)), &what);
            assert_eq!(first, second, "{what}: recovery cut short at {again}");
        }
    }
    assert!(opened > 0);
}

#[test]
fn large_writes_survive_a_crash_once_they_are_acknowledged() {
    let bytes = crate::bed::pattern(1, 3 << 20);
    for seed in 0..4 {
        let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(seed)));
        let bed = Bed::create(device.clone(), seed).unwrap();
        bed.make(7, 0).unwrap();
        let lsn = bed.write_all(7, 0, &bytes).unwrap();
        bed.engine.sync(lsn).unwrap();
        let bed = Bed::open(device.crash_image(seed), seed).unwrap();
        assert!(bed.read_all(7).unwrap() == bytes);
        bed.check("large");
    }
}

#[test]
fn a_failing_device_costs_only_what_it_failed() {
    use efscrypt::device::sim::{Failure, Op, Repeat};
    for seed in 0..40u64 {
        for op in [Op::Write, Op::Flush, Op::Read, Op::Allocate] {
            let plan = FaultPlan::new(seed).fail(op, 3 + seed / 2, Failure::Io, Repeat::Once);
            let Some(story) = run(seed, plan) else { continue };
            let step = story.recording.steps();
            let what = format!("seed {seed}, failing {op:?}");
            let bed = Bed::open(story.recording.crash_image(step, seed), seed)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            story.files.find(&bed, story.acked(step), &what);
        }
    }
}

#[test]
fn a_failed_write_leaves_old_contents_and_the_store_usable() {
    use efscrypt::device::sim::{Failure, Op, Repeat};
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let bed = Bed::create(device.clone(), 1).unwrap();
    bed.make(7, 0).unwrap();
    let (old, new) = (crate::bed::pattern(1, 50_000), crate::bed::pattern(2, 50_000));
    bed.write_all(7, 0, &old).unwrap();
    device.set_plan(FaultPlan::new(1).fail(Op::Write, 0, Failure::Io, Repeat::Once));
    assert!(matches!(bed.write(7, 0, 0, &new), Err(Error::Io { .. })));
    assert!(bed.read_all(7).unwrap() == old);
    bed.write_all(7, 0, &new).unwrap();
    assert!(bed.read_all(7).unwrap() == new);
    device.set_plan(FaultPlan::new(1).fail(Op::Read, 0, Failure::Io, Repeat::Sticky));
    assert!(matches!(bed.read_all(7), Err(Error::Io { .. })));
    device.set_plan(FaultPlan::new(1));
    assert!(bed.read_all(7).unwrap() == new);
    assert!(device.len().unwrap() > 0);
}
