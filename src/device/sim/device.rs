//! The simulated device itself.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::journal::{Change, Entry, Journal, Recording};
use super::plan::{Effect, Failure, FaultPlan, OPS, Op, Rot};
use super::rng::Rng;
use crate::device::image::Image;
use crate::device::memory::Limit;
use crate::device::{Device, MemoryDevice, end_of};

/// Largest discarded range that may be overwritten with random bytes.
const MAX_SCRIBBLE: u64 = 256 * 1024;

/// Offsets of misdirected writes are multiples of this, or of the write's own alignment where
/// that is smaller.
const MISDIRECT_GRAIN: u64 = 4096;

/// A [`Device`] whose power can be cut and whose every operation can fail.
///
/// It holds a durable image, the unsynced steps after it, and what reads see: both together.
/// Operations are atomic to one another, in the order in which they come. Share it by `Arc`.
pub struct SimDevice {
    state: Mutex<State>,
}

/// How often each operation was called, and the bytes that were read and written well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Calls of `read_at`.
    pub reads: u64,
    /// Calls of `write_at` and `write_many`.
    pub writes: u64,
    /// Calls of `flush`.
    pub flushes: u64,
    /// Calls of `allocate`.
    pub allocates: u64,
    /// Calls of `discard` and `shrink`.
    pub discards: u64,
    /// Bytes returned by reads.
    pub bytes_read: u64,
    /// Bytes taken by writes.
    pub bytes_written: u64,
}

/// One operation of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpRecord {
    /// Its kind.
    pub op: Op,
    /// Its offset, bytes; 0 for a flush.
    pub offset: u64,
    /// Its length, bytes; 0 for a flush.
    pub len: u64,
    /// Whether it returned well.
    pub ok: bool,
}

struct State {
    limit: Limit,
    /// The durable image with every unsynced step applied.
    view: Image,
    journal: Journal,
    stopped: bool,
    plan: FaultPlan,
    /// The step at which the plan was set, and operations of each kind since.
    plan_from: u64,
    seen: [u64; OPS],
    counters: Counters,
    trace: Option<Vec<OpRecord>>,
}

/// What the plan says about an operation.
enum Verdict {
    Normal,
    PowerCut,
    Fault(Effect),
}

impl SimDevice {
    /// A device on which all bytes of `base` are durable.
    pub fn new(base: MemoryDevice, plan: FaultPlan) -> SimDevice {
        SimDevice::build(base, plan, false)
    }

    /// The same, keeping all that is done for [`SimDevice::take_recording`]. Costs the memory of
    /// every byte written.
    pub fn recording(base: MemoryDevice, plan: FaultPlan) -> SimDevice {
        SimDevice::build(base, plan, true)
    }

    fn build(base: MemoryDevice, plan: FaultPlan, keep: bool) -> SimDevice {
        let (image, limit) = base.into_parts();
        let state = State {
            limit,
            view: image.clone(),
            journal: Journal::new(image, keep),
            stopped: false,
            plan,
            plan_from: 0,
            seen: [0; OPS],
            counters: Counters::default(),
            trace: None,
        };
        SimDevice { state: Mutex::new(state) }
    }

    /// What the medium holds when the power fails now, by the seed; after a stop, when it failed.
    /// The device goes on as it was.
    pub fn crash_image(&self, seed: u64) -> MemoryDevice {
        let state = self.state.lock();
        let step = state.journal.steps() - u64::from(state.stopped);
        MemoryDevice::from_image(state.journal.crash(step, seed), state.limit)
    }

    /// What is durable for certain: the image of a crash that drops all that it may.
    pub fn durable_image(&self) -> MemoryDevice {
        let state = self.state.lock();
        MemoryDevice::from_image(state.journal.durable().clone(), state.limit)
    }

    /// What reads see: the image after a clean shutdown.
    pub fn live_image(&self) -> MemoryDevice {
        let state = self.state.lock();
        MemoryDevice::from_image(state.view.clone(), state.limit)
    }

    /// Replaces the plan; its numbers count from here. A device that was stopped stays so: what
    /// comes after a power cut is a new device over a crash image.
    pub fn set_plan(&self, plan: FaultPlan) {
        let mut state = self.state.lock();
        state.plan = plan;
        state.plan_from = state.journal.steps();
        state.seen = [0; OPS];
    }

    /// Whether the power is off.
    pub fn stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Writes, flushes, allocations and discards so far: the number of the next one. What was
    /// acknowledged when this returned n must survive every crash at step n or later.
    pub fn steps(&self) -> u64 {
        self.state.lock().journal.steps()
    }

    /// Calls and bytes since the device was made.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Starts a trace of all operations, reads too, or ends it.
    pub fn set_trace(&self, on: bool) {
        self.state.lock().trace = on.then(Vec::new);
    }

    /// The trace so far; it starts again empty. Empty too where no trace was started.
    pub fn take_trace(&self) -> Vec<OpRecord> {
        self.state.lock().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A copy of everything recorded so far. On a device that was not made with
    /// [`SimDevice::recording`] only what followed the last flush is known, and a crash before
    /// that is taken as one right after it.
    pub fn take_recording(&self) -> Recording {
        let state = self.state.lock();
        Recording { journal: state.journal.clone(), limit: state.limit }
    }

    /// Runs one operation: asks the plan, acts, counts and traces.
    fn run(
        &self,
        op: Op,
        offset: u64,
        len: u64,
        act: impl FnOnce(&mut State, Verdict) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let result = match state.judge(op) {
            Ok(verdict) => act(&mut state, verdict),
            Err(error) => Err(error),
        };
        state.count(op, if result.is_ok() { len } else { 0 });
        if let Some(trace) = &mut state.trace {
            trace.push(OpRecord { op, offset, len, ok: result.is_ok() });
        }
        result
    }

    fn write(&self, offset: u64, bytes: Arc<[u8]>) -> io::Result<()> {
        let len = bytes.len() as u64;
        end_of(offset, len)?;
        self.run(Op::Write, offset, len, |state, verdict| {
            let mut entry = Entry { op: Op::Write, offset, len, change: Change::Bytes(bytes) };
            match verdict {
                Verdict::Normal => state.take(entry),
                Verdict::PowerCut => state.cut(entry),
                Verdict::Fault(Effect::Short) => {
                    state.shorten(&mut entry);
                    state.take(entry)?;
                    Err(Failure::Io.error())
                }
                Verdict::Fault(Effect::Misdirect) => {
                    state.misdirect(&mut entry);
                    state.take(entry)
                }
                Verdict::Fault(Effect::Fail(failure)) => state.refuse(entry, failure.error()),
                Verdict::Fault(
                    Effect::Lose | Effect::Lie | Effect::Rot { .. } | Effect::Drop { .. },
                ) => {
                    entry.change = Change::None;
                    state.take(entry)
                }
            }
        })
    }
}

impl fmt::Debug for SimDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimDevice")
            .field("len", &state.view.len())
            .field("steps", &state.journal.steps())
            .field("stopped", &state.stopped)
            .field("plan", &state.plan)
            .finish_non_exhaustive()
    }
}

impl Device for SimDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().view.len())
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        let state = self.state.lock();
        Ok(state.limit.capacity(state.view.len()))
    }

    fn room(&self) -> io::Result<Option<u64>> {
        let state = self.state.lock();
        Ok(state.limit.room(state.view.len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.run(Op::Read, offset, buf.len() as u64, |state, verdict| {
            if let Verdict::Fault(Effect::Fail(failure)) = verdict {
                return Err(failure.error());
            }
            state.view.read(offset, buf)?;
            if let Verdict::Fault(Effect::Rot { bits, rot }) = verdict {
                state.rot(offset, buf, bits, rot);
            }
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.write(offset, buf.into())
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
        self.write(offset, bytes.into())
    }

    fn flush(&self) -> io::Result<()> {
        self.run(Op::Flush, 0, 0, |state, verdict| {
            let entry = Entry { op: Op::Flush, offset: 0, len: 0, change: Change::None };
            match verdict {
                Verdict::PowerCut => state.cut(entry),
                Verdict::Fault(Effect::Fail(failure)) => {
                    let mut rng = state.rng();
                    state.journal.push(entry);
                    state.journal.settle_by(&mut rng);
                    Err(failure.error())
                }
                Verdict::Fault(Effect::Drop { from, to }) => {
                    state.journal.push(entry);
                    state.journal.settle_without(from..to);
                    Err(Failure::Io.error())
                }
                Verdict::Fault(Effect::Lie) => state.take(entry),
                Verdict::Fault(_) | Verdict::Normal => {
                    state.journal.push(entry);
                    state.journal.settle();
                    Ok(())
                }
            }
        })
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.view = state.journal.kept();
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        end_of(offset, len)?;
        self.run(Op::Allocate, offset, len, |state, verdict| {
            let entry = Entry { op: Op::Allocate, offset, len, change: Change::Grow };
            match verdict {
                Verdict::PowerCut => state.cut(entry),
                Verdict::Fault(Effect::Fail(failure)) => state.refuse(entry, failure.error()),
                Verdict::Fault(_) | Verdict::Normal => state.take(entry),
            }
        })
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_of(offset, len)?;
        self.run(Op::Discard, offset, len, |state, verdict| {
            let len = end.min(state.view.len()).saturating_sub(offset);
            let change = state.discarded(len);
            state.let_go(Entry { op: Op::Discard, offset, len, change }, verdict)
        })
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.run(Op::Discard, len, 0, |state, verdict| {
            if state.limit == Limit::Fixed {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let change = if len < state.view.len() { Change::Shrink } else { Change::None };
            state.let_go(Entry { op: Op::Discard, offset: len, len: 0, change }, verdict)
        })
    }
}

impl State {
    /// What the plan says about the next operation of this kind; an error once the power is off.
    fn judge(&mut self, op: Op) -> io::Result<Verdict> {
        if self.stopped {
            return Err(Failure::Io.error());
        }
        let nth = self.seen[op as usize];
        self.seen[op as usize] += 1;
        if op != Op::Read && self.plan.stops_at(self.journal.steps() - self.plan_from) {
            return Ok(Verdict::PowerCut);
        }
        Ok(self.plan.effect(op, nth).map_or(Verdict::Normal, Verdict::Fault))
    }

    fn count(&mut self, op: Op, bytes: u64) {
        let counters = &mut self.counters;
        match op {
            Op::Read => {
                counters.reads += 1;
                counters.bytes_read += bytes;
            }
            Op::Write => {
                counters.writes += 1;
                counters.bytes_written += bytes;
            }
            Op::Flush => counters.flushes += 1,
            Op::Allocate => counters.allocates += 1,
            Op::Discard => counters.discards += 1,
        }
    }

    /// The step happens, where there is room for it.
    fn take(&mut self, entry: Entry) -> io::Result<()> {
        if let Err(error) = self.check_room(&entry) {
            return self.refuse(entry, error);
        }
        entry.apply(&mut self.view);
        self.journal.push(entry);
        Ok(())
    }

    /// The step fails without effect.
    fn refuse(&mut self, mut entry: Entry, error: io::Error) -> io::Result<()> {
        entry.change = Change::None;
        self.journal.push(entry);
        Err(error)
    }

    /// The power goes off with the step in flight: it may still reach the medium.
    fn cut(&mut self, mut entry: Entry) -> io::Result<()> {
        if self.check_room(&entry).is_err() {
            entry.change = Change::None;
        }
        self.journal.push(entry);
        self.stopped = true;
        Err(Failure::Io.error())
    }

    /// A discard, or the end of the device cut off.
    fn let_go(&mut self, entry: Entry, verdict: Verdict) -> io::Result<()> {
        match verdict {
            Verdict::PowerCut => self.cut(entry),
            Verdict::Fault(Effect::Fail(failure)) => self.refuse(entry, failure.error()),
            Verdict::Fault(_) | Verdict::Normal => self.take(entry),
        }
    }

    fn check_room(&self, entry: &Entry) -> io::Result<()> {
        match entry.change {
            Change::None | Change::Zero | Change::Shrink => Ok(()),
            Change::Bytes(_) | Change::Grow => {
                self.limit.check(self.view.len(), entry.offset + entry.len)
            }
        }
    }

    /// The numbers that belong to the next step.
    fn rng(&self) -> Rng {
        Rng::of(self.plan.seed(), self.journal.steps())
    }

    fn shorten(&self, entry: &mut Entry) {
        if let Change::Bytes(bytes) = &entry.change {
            let keep = self.rng().below(entry.len) as usize;
            entry.change = Change::Bytes(bytes[..keep].into());
            entry.len = keep as u64;
        }
    }

    fn misdirect(&self, entry: &mut Entry) {
        let alignment = 1 << (entry.offset | MISDIRECT_GRAIN).trailing_zeros();
        let last = self.view.len().saturating_sub(entry.len) / alignment;
        let here = entry.offset / alignment;
        // Draw from the places other than its own, which only counts when it is among them.
        let places = last + u64::from(here > last);
        if places == 0 {
            entry.change = Change::None;
            return;
        }
        let place = self.rng().below(places);
        entry.offset = (place + u64::from(place >= here)) * alignment;
    }

    /// What is left of a discarded range: the old bytes, zeros, or random ones.
    fn discarded(&self, len: u64) -> Change {
        let mut rng = self.rng();
        match rng.below(3) {
            0 => Change::None,
            1 if len <= MAX_SCRIBBLE => {
                let mut noise = vec![0; len as usize];
                rng.fill(&mut noise);
                Change::Bytes(noise.into())
            }
            _ => Change::Zero,
        }
    }

    /// Flips bits in what a read returns, and on the medium where the rot is lasting.
    fn rot(&mut self, offset: u64, buf: &mut [u8], bits: u32, rot: Rot) {
        let mut rng = Rng::of(self.plan.seed(), !self.counters.reads);
        let total = buf.len() as u64 * 8;
        let mut flipped = std::collections::BTreeSet::new();
        while (flipped.len() as u64) < u64::from(bits).min(total) {
            flipped.insert(rng.below(total));
        }
        for bit in flipped {
            let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
            buf[byte] ^= mask;
            if rot == Rot::Lasting {
                let flip = |image: &mut Image| flip(image, offset + byte as u64, mask);
                flip(&mut self.view);
                self.journal.damage(flip);
            }
        }
    }
}

/// Flips bits of one byte, where the image has it.
fn flip(image: &mut Image, offset: u64, mask: u8) {
    let mut byte = [0];
    if image.read(offset, &mut byte).is_ok() {
        image.write(offset, &[byte[0] ^ mask]);
    }
}
