//! The queue: transactions that are applied but not durable, and who makes them so.
//!
//! Callers that need durability wait here. One of them, the leader, writes what has gathered as
//! log records and flushes once for all. Invariants:
//!
//! 1. Transactions become durable in the order in which they were appended.
//! 2. `parts` holds what is not in the log yet: the part that is being filled, and before it, while
//!    a checkpoint runs, the part that the checkpoint covers.
//! 3. A part that grows beyond its cap *overflows*: its bytes are dropped, and only a checkpoint
//!    can make it durable. Bulk work goes that way and writes no log.
//! 4. While `held`, no record is written: the running checkpoint has dropped a part that is not
//!    durable yet, and a record behind it must not become durable first.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::block::{LogRing, LogTail};
use crate::error::Result;
use crate::format::LOG_HEADER_LEN;
use crate::secret::Wiped;

/// Number of a transaction since the store was opened; 0 is before the first.
pub type Lsn = u64;

/// What a caller that waits for durability does next.
pub(super) enum Turn {
    /// It is durable.
    Done,
    /// Only a checkpoint makes it so.
    Checkpoint,
    /// This caller leads: these bytes, up to this transaction, are to be logged.
    Lead(Wiped, Lsn),
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    cap: usize,
}

struct State {
    appended: Lsn,
    durable: Lsn,
    parts: VecDeque<Part>,
    leading: bool,
    held: bool,
    tail: LogTail,
    /// Sequence number of the last durable record.
    durable_seq: u64,
    /// Offset of the oldest record that recovery would need.
    head: u64,
    /// Last transaction of the newest checkpoint's picture, and the log's tail behind it.
    frozen: Lsn,
    cut: LogTail,
}

#[derive(Default)]
struct Part {
    bytes: Wiped,
    last: Lsn,
    overflow: bool,
}

impl Queue {
    pub fn new(tail: LogTail, cap: usize) -> Queue {
        let state = State {
            appended: 0,
            durable: 0,
            parts: VecDeque::from([Part::default()]),
            leading: false,
            held: false,
            tail,
            durable_seq: tail.seq.saturating_sub(1),
            head: tail.offset,
            frozen: 0,
            cut: tail,
        };
        Queue { state: Mutex::new(state), wake: Condvar::new(), cap }
    }

    /// Appends an encoded transaction; the caller holds the writer lock.
    pub fn append(&self, bytes: &[u8]) -> Lsn {
        let mut state = self.state.lock();
        state.appended += 1;
        let lsn = state.appended;
        if let Some(part) = state.parts.back_mut() {
            part.last = lsn;
            part.overflow |= part.bytes.len() + bytes.len() > self.cap;
            match part.overflow {
                true => part.bytes = Wiped::default(),
                false => part.bytes.extend_from_slice(bytes),
            }
        }
        lsn
    }

    /// The last transaction.
    pub fn appended(&self) -> Lsn {
        self.state.lock().appended
    }

    /// The last durable transaction.
    pub fn durable(&self) -> Lsn {
        self.state.lock().durable
    }

    /// Waits until the transaction is durable or this caller has something to do for it.
    /// `healthy` is asked before each step.
    pub fn turn(&self, lsn: Lsn, ring: &LogRing, healthy: impl Fn() -> Result<()>) -> Result<Turn> {
        let mut state = self.state.lock();
        loop {
            if state.durable >= lsn {
                return Ok(Turn::Done);
            }
            healthy()?;
            if state.leading || state.held {
                self.wake.wait(&mut state);
                continue;
            }
            let covered = state.parts.len() > 1;
            let (head, tail) = (state.head, state.tail);
            let Some(part) = state.parts.front_mut() else { return Ok(Turn::Done) };
            if part.overflow || !fits(ring, head, tail, part.bytes.len()) {
                if covered {
                    // The checkpoint at work will make it durable.
                    self.wake.wait(&mut state);
                    continue;
                }
                return Ok(Turn::Checkpoint);
            }
            let (bytes, last) = (std::mem::take(&mut part.bytes), part.last);
            if covered {
                state.parts.pop_front();
            }
            state.leading = true;
            return Ok(Turn::Lead(bytes, last));
        }
    }

    /// Writes the records of a leader's bytes. Not durable before the caller's flush.
    pub fn write(&self, ring: &LogRing, bytes: &[u8]) -> Result<LogTail> {
        let (mut tail, durable) = {
            let state = self.state.lock();
            (state.tail, state.durable_seq)
        };
        for payload in records(bytes, ring.max_payload()) {
            let mut record = Vec::with_capacity(LOG_HEADER_LEN + payload.len() + 4096);
            record.resize(LOG_HEADER_LEN, 0);
            record.extend_from_slice(payload);
            tail = ring.append(&tail, durable, &mut record)?;
        }
        Ok(tail)
    }

    /// Ends a leader's turn: on success everything up to `last` is durable.
    pub fn led(&self, last: Lsn, tail: Option<LogTail>) {
        let mut state = self.state.lock();
        state.leading = false;
        if let Some(tail) = tail {
            state.tail = tail;
            state.durable_seq = tail.seq - 1;
            state.durable = state.durable.max(last);
            if last == state.frozen {
                state.cut = tail;
            }
        }
        self.wake.notify_all();
    }

    /// Starts a new part: what was appended so far is the checkpoint's. The caller holds the
    /// writer lock.
    pub fn freeze(&self) -> Lsn {
        let mut state = self.state.lock();
        let last = state.appended;
        state.frozen = last;
        if state.durable == last {
            state.cut = state.tail;
        }
        let empty = state.parts.back().is_none_or(|part| part.bytes.is_empty() && !part.overflow);
        if !empty {
            state.parts.push_back(Part { last, ..Part::default() });
        }
        last
    }

    /// Where the log will start for the checkpoint that covers everything up to `last`. From now
    /// until [`Queue::covered`] no record is written if one would stand behind a gap.
    pub fn hold(&self, last: Lsn) -> LogTail {
        let mut state = self.quiet();
        if state.parts.len() > 1 {
            state.parts.pop_front();
        }
        state.held = state.durable < last;
        if state.held { state.tail } else { state.cut }
    }

    /// Says that a checkpoint is durable which covers everything up to `last` and whose log starts
    /// at `tail`.
    pub fn covered(&self, last: Lsn, tail: &LogTail) {
        let mut state = self.state.lock();
        state.held = false;
        state.head = tail.offset;
        state.durable = state.durable.max(last);
        self.wake.notify_all();
    }

    /// Sets the tail, before any transaction is appended: for recovery and a new epoch.
    pub fn restart(&self, tail: LogTail) {
        let mut state = self.quiet();
        state.tail = tail;
        state.durable_seq = tail.seq.saturating_sub(1);
    }

    /// Wakes everybody, to see that the store is poisoned.
    pub fn wake(&self) {
        let _state = self.state.lock();
        self.wake.notify_all();
    }

    /// The state while no leader is at work.
    fn quiet(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while state.leading {
            self.wake.wait(&mut state);
        }
        state
    }
}

/// Whether the ring has room for all records of `len` bytes of transactions.
fn fits(ring: &LogRing, head: u64, tail: LogTail, len: usize) -> bool {
    // Each record may be cut short by a transaction that did not fit, and padded.
    let most = ring.max_payload();
    let records = len.div_ceil(most / 2).max(1);
    let padded = len + records * 2 * 4096;
    (padded + most) as u64 + 4096 <= ring.len() && ring.has_room(head, &tail, padded + most)
}

/// Cuts encoded transactions into payloads of at most `most` bytes, between transactions.
fn records(bytes: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let mut end = 0;
        while let Some(len) = rest.get(end..).and_then(|tail| tail.first_chunk::<4>()) {
            let next = end + 6 + u32::from_le_bytes(*len) as usize;
            if next > rest.len() || (end > 0 && next > most) {
                break;
            }
            end = next;
        }
        let (record, after) = rest.split_at(end);
        rest = after;
        (!record.is_empty()).then_some(record)
    })
}
