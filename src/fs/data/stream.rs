//! Streams: files that are written in order, a little at a time.
//!
//! Many small writes would make as many extents, scattered among those of other writers. From the
//! second write that continues another, a stream reserves a whole run and fills it, and the extent
//! that it has so far grows. Invariants:
//!
//! 1. A stream in `open` has tweaks and units that nothing was sealed under or written to. A write
//!    takes the stream out, and puts it back only when its transaction is committed: a tweak that
//!    sealed something is never met again, whatever fails.
//! 2. Streams live in memory alone: reopening ends them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::RUN_UNITS;
use crate::txn::{Engine, Run};

/// Most units of an extent that grows: its whole row is put again each time.
pub(super) const GROWN: u32 = 16;
/// Most streams: each holds less than one run of free space.
const MAX_OPEN: u64 = 64;
/// All of them hold at most this fraction of the store.
const SHARE: u64 = 32;

/// A file that is written in order.
#[derive(Clone, Copy, Default)]
pub(super) struct Stream {
    /// The unit of the file behind the last write.
    pub next: u64,
    /// Data key that the tweaks are for.
    pub key_id: u64,
    /// Tweak of the first unit that is left.
    pub tweak: u128,
    /// The first unit of the device that is left.
    pub unit: u64,
    /// How many are left: 0 before the second write.
    pub units: u32,
}

/// The streams of all files.
pub(super) struct Streams {
    engine: Arc<Engine>,
    open: Mutex<BTreeMap<u64, Stream>>,
    most: usize,
}

impl Streams {
    pub(super) fn new(engine: Arc<Engine>) -> Streams {
        let share = engine.total() / SHARE / u64::from(RUN_UNITS);
        Streams { engine, open: Mutex::default(), most: share.clamp(1, MAX_OPEN) as usize }
    }

    /// Takes out the stream of a file, if it continues at a unit; else it is over.
    pub(super) fn take(&self, ino: u64, first: u64) -> Option<Held<'_>> {
        let stream = self.open.lock().remove(&ino)?;
        let held = Held { streams: self, stream };
        (stream.next == first).then_some(held)
    }

    /// A stream that starts with its first write.
    pub(super) fn start(&self) -> Held<'_> {
        Held { streams: self, stream: Stream::default() }
    }

    /// Ends the stream of a file.
    pub(super) fn end(&self, ino: u64) {
        let ended = self.open.lock().remove(&ino);
        ended.iter().for_each(|stream| self.release(stream));
    }

    /// Units that all streams hold.
    pub(super) fn parked(&self) -> u64 {
        self.open.lock().values().map(|stream| u64::from(stream.units)).sum()
    }

    /// Ends all streams, and returns whether that made space free.
    pub(super) fn end_all(&self) -> bool {
        let ended = std::mem::take(&mut *self.open.lock());
        ended.values().for_each(|stream| self.release(stream));
        ended.values().any(|stream| stream.units > 0)
    }

    fn release(&self, stream: &Stream) {
        if stream.units > 0 {
            drop(Run::adopt(&self.engine, stream.unit, stream.units));
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// A stream that a write has taken out. Dropped, it is over.
pub(super) struct Held<'a> {
    streams: &'a Streams,
    stream: Stream,
}

impl<'a> Held<'a> {
    /// Takes units and the tweak of the first of them out of the stream, for a data key. `None`
    /// where it has not so many left for it.
    pub(super) fn draw(&mut self, units: u32, key_id: u64) -> Option<(Run<'a>, u128)> {
        let Stream { unit, tweak, .. } = self.stream;
        if self.stream.units < units || self.stream.key_id != key_id {
            return None;
        }
        self.stream.unit += u64::from(units);
        self.stream.units -= units;
        self.stream.tweak = tweak.wrapping_add(u128::from(units));
        Some((Run::adopt(&self.streams.engine, unit, units), tweak))
    }

    /// Replaces what is left by fresh units, whose first has the tweak `tweak`.
    pub(super) fn refill(&mut self, run: Run<'_>, tweak: u128, key_id: u64) {
        self.streams.release(&self.stream);
        let (unit, units) = run.park();
        self.stream = Stream { key_id, tweak, unit, units, ..self.stream };
    }

    /// Keeps the stream for the file's next write, at a unit of the file.
    pub(super) fn keep(mut self, ino: u64, next: u64) {
        let stream = Stream { next, ..std::mem::take(&mut self.stream) };
        let mut open = self.streams.open.lock();
        let other = open.keys().next().copied().filter(|_| open.len() >= self.streams.most);
        let ended = other.and_then(|other| open.remove(&other));
        let replaced = open.insert(ino, stream);
        drop(open);
        ended.iter().chain(&replaced).for_each(|stream| self.streams.release(stream));
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.streams.release(&self.stream);
    }
}
