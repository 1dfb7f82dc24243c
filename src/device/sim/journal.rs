//! What was done to a simulated device, step by step, and what was durable when.
//!
//! Invariants:
//! 1. `entries[i]` is step `first + i`; every step has an entry, one without effect too.
//! 2. `epochs` is never empty and its steps ascend. An epoch's image holds the effect of all
//!    steps before its own; entries from its step on are unsynced.

use std::fmt;
use std::sync::Arc;

use super::crash::Crash;
use super::plan::Op;
use super::rng::Rng;
use crate::device::MemoryDevice;
use crate::device::image::Image;
use crate::device::memory::Limit;

/// One step and what it does to the bytes.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) op: Op,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) change: Change,
}

#[derive(Clone)]
pub(super) enum Change {
    /// A flush, or a step that failed or was lost.
    None,
    /// These bytes at the entry's offset.
    Bytes(Arc<[u8]>),
    /// The device reaches to the end of the entry's range.
    Grow,
    /// Zeros in the entry's range.
    Zero,
    /// The device ends at the entry's offset.
    Shrink,
}

impl Entry {
    pub(super) fn apply(&self, image: &mut Image) {
        match &self.change {
            Change::None => {}
            Change::Bytes(bytes) => image.write(self.offset, bytes),
            Change::Grow => image.grow(self.offset + self.len),
            Change::Zero => image.zero(self.offset, self.len),
            Change::Shrink => image.shrink(self.offset),
        }
    }
}

#[derive(Clone)]
struct Epoch {
    step: u64,
    image: Image,
}

#[derive(Clone)]
pub(super) struct Journal {
    keep: bool,
    first: u64,
    entries: Vec<Entry>,
    epochs: Vec<Epoch>,
}

impl Journal {
    /// An empty journal over a durable image. Without `keep` it forgets what is durable, and
    /// crashes can only be taken at the last step.
    pub(super) fn new(image: Image, keep: bool) -> Journal {
        Journal { keep, first: 0, entries: Vec::new(), epochs: vec![Epoch { step: 0, image }] }
    }

    /// The number of the next step.
    pub(super) fn steps(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// All steps so far become durable.
    pub(super) fn settle(&mut self) {
        self.begin_epoch(self.kept());
    }

    /// What is durable, with all later steps applied: without what a failed flush lost.
    pub(super) fn kept(&self) -> Image {
        let (epoch, pending) = self.at(self.steps());
        let mut image = epoch.image.clone();
        pending.iter().for_each(|entry| entry.apply(&mut image));
        image
    }

    /// The seed decides once and for all what of the unsynced steps is durable.
    pub(super) fn settle_by(&mut self, rng: &mut Rng) {
        let (epoch, pending) = self.at(self.steps());
        let mut image = epoch.image.clone();
        Crash::draw(pending, rng).apply(&mut image);
        self.begin_epoch(image);
    }

    /// Of the unsynced steps those that begin in a range of bytes are lost, the others durable.
    pub(super) fn settle_without(&mut self, range: std::ops::Range<u64>) {
        let (epoch, pending) = self.at(self.steps());
        let mut image = epoch.image.clone();
        let kept = pending.iter().filter(|entry| !range.contains(&entry.offset));
        kept.for_each(|entry| entry.apply(&mut image));
        self.begin_epoch(image);
    }

    fn begin_epoch(&mut self, image: Image) {
        let step = self.steps();
        if !self.keep {
            self.first = step;
            self.entries.clear();
            self.epochs.clear();
        }
        self.epochs.push(Epoch { step, image });
    }

    /// What is on the medium for certain.
    pub(super) fn durable(&self) -> &Image {
        &self.at(self.steps()).0.image
    }

    /// Changes what is on the medium behind the back of the journal.
    pub(super) fn damage(&mut self, damage: impl FnOnce(&mut Image)) {
        if let Some(epoch) = self.epochs.last_mut() {
            damage(&mut epoch.image);
        }
    }

    /// The image after a crash at this step.
    pub(super) fn crash(&self, step: u64, seed: u64) -> Image {
        let (epoch, pending) = self.at(step);
        let mut image = epoch.image.clone();
        Crash::draw(pending, &mut Rng::of(seed, step)).apply(&mut image);
        image
    }

    /// The last epoch that was durable before this step returned, and the unsynced entries up
    /// to and with the step.
    fn at(&self, step: u64) -> (&Epoch, &[Entry]) {
        let later = self.epochs.partition_point(|epoch| epoch.step <= step);
        // Invariant 2: the first epoch stands for steps that were forgotten.
        let epoch = &self.epochs[later.saturating_sub(1)];
        let index = |step: u64| (step.saturating_sub(self.first) as usize).min(self.entries.len());
        let from = index(epoch.step);
        (epoch, &self.entries[from..index(step.saturating_add(1)).max(from)])
    }
}

/// Everything that was done to a [`SimDevice`](super::SimDevice), from its creation on.
///
/// It rebuilds the state after a crash at any step, at a cost that depends on what was unsynced
/// then and not on the size of the device. Shared by threads as it is.
#[derive(Clone)]
pub struct Recording {
    pub(super) journal: Journal,
    pub(super) limit: Limit,
}

impl Recording {
    /// How many steps were recorded. A crash at this step finds all of them returned.
    pub fn steps(&self) -> u64 {
        self.journal.steps()
    }

    /// What a step was: its kind, and its offset and length in bytes. `None` for a step that was
    /// not recorded.
    pub fn step(&self, step: u64) -> Option<(Op, u64, u64)> {
        let index = usize::try_from(step.checked_sub(self.journal.first)?).ok()?;
        let entry = self.journal.entries.get(index)?;
        Some((entry.op, entry.offset, entry.len))
    }

    /// What the medium holds after a crash at this step, by the seed. Steps beyond the last are
    /// taken as the last.
    pub fn crash_image(&self, step: u64, seed: u64) -> MemoryDevice {
        MemoryDevice::from_image(self.journal.crash(step.min(self.steps()), seed), self.limit)
    }

    /// What that crash did, one line for each unsynced step: for the message of a failed test.
    pub fn describe(&self, step: u64, seed: u64) -> String {
        let step = step.min(self.steps());
        let (epoch, pending) = self.journal.at(step);
        let crash = Crash::draw(pending, &mut Rng::of(seed, step));
        format!("crash at step {step}, seed {seed}: {}", crash.describe(epoch.step))
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("steps", &self.steps()).finish_non_exhaustive()
    }
}
