//! The log ring: sealed records on the device, one after another.
//!
//! Framing only: which transactions a record carries, and when it must be durable, is decided
//! above. A record is written whole at the tail and never wraps; it starts at offset 0 where the
//! rest of the ring is too short. The reader knows a record by its sequence number and by the tag
//! of the record before it, so records of earlier laps, epochs or branches never verify.

use std::sync::Arc;

use super::{Layout, Sealer};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{LOG_ALIGN, LOG_HEADER_LEN, LogHeader, MAX_RECORD};
use crate::secret::Wiped;

/// Bytes behind the end of the log that are searched for a record that should not be there.
const WINDOW: usize = 256 << 10;
/// The bits of a sequence number above this one are its epoch.
const EPOCH_SHIFT: u32 = 40;

/// Where the next record stands, and what it continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTail {
    /// Byte offset in the ring.
    pub offset: u64,
    /// Sequence number of the next record.
    pub seq: u64,
    /// Tag of the record before it; zero in a new store.
    pub tag: [u8; 16],
}

impl LogTail {
    /// The epoch of the next record.
    pub fn epoch(&self) -> u64 {
        self.seq >> EPOCH_SHIFT
    }
}

/// A record that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it starts, and what it continues.
    pub at: LogTail,
    /// Sequence number of the last record that it knows to be durable.
    pub durable: u64,
    /// The tail behind it.
    pub next: LogTail,
}

/// The ring of one store.
pub struct LogRing {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    base: u64,
    len: u64,
}

impl LogRing {
    /// The ring that a layout describes.
    pub fn new(device: Arc<dyn Device>, sealer: Arc<Sealer>, layout: &Layout) -> LogRing {
        LogRing { device, sealer, base: layout.log_base, len: layout.log_len }
    }

    /// Most payload bytes of one record of this ring: a quarter of it, so that there is always
    /// room for another after one was skipped at the end.
    pub fn max_payload(&self) -> usize {
        MAX_RECORD.min(self.len as usize / 4) - LOG_HEADER_LEN
    }

    /// Bytes of the ring.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where a record of `len` bytes would start.
    fn place(&self, offset: u64, len: u64) -> u64 {
        if offset + len <= self.len { offset } else { 0 }
    }

    /// Bytes from `head` to `tail`, going forward.
    pub fn distance(&self, head: u64, tail: u64) -> u64 {
        (tail + self.len - head) % self.len
    }

    /// Whether a record of `payload` bytes fits behind `tail` without reaching `head`, the oldest
    /// record that recovery may still need.
    pub fn has_room(&self, head: u64, tail: &LogTail, payload: usize) -> bool {
        let len = ((LOG_HEADER_LEN + payload) as u64).next_multiple_of(LOG_ALIGN as u64);
        let skipped = if tail.offset + len <= self.len { 0 } else { self.len - tail.offset };
        // A full ring would look like an empty one: keep one block free.
        self.distance(head, tail.offset) + skipped + len + (LOG_ALIGN as u64) <= self.len
    }

    /// Seals and writes a record, and returns the tail behind it. `record` holds room for the
    /// header and the payload behind it; `durable` is the last durable sequence number. The
    /// record is durable only after the caller's flush.
    pub fn append(&self, tail: &LogTail, durable: u64, record: &mut Vec<u8>) -> Result<LogTail> {
        let tag = self.sealer.seal_log(record, tail.seq, durable, tail.tag)?;
        let offset = self.place(tail.offset, record.len() as u64);
        self.device
            .write_through(self.base + offset, record)
            .map_err(|error| Error::io("write", Object::Log { offset }, error))?;
        let end = offset + record.len() as u64;
        Ok(LogTail { offset: end % self.len, seq: tail.seq + 1, tag })
    }

    /// Reads the record at the tail. `None` where the log ends: nothing there is the record.
    pub fn next(&self, tail: &LogTail) -> Result<Option<(Wiped, LogTail)>> {
        Ok(self.record(tail)?.map(|(_, payload, next)| (payload, next)))
    }

    /// The record at the tail without its payload.
    pub fn next_header(&self, tail: &LogTail) -> Result<Option<LogRecord>> {
        let record = |(header, _, next): (LogHeader, _, _)| LogRecord {
            at: *tail,
            durable: header.durable.get(),
            next,
        };
        Ok(self.record(tail)?.map(record))
    }

    /// Whether the log was cut at the tail: a record not far behind it says that the record there,
    /// or one after it, was durable. It says so in the clear, for its seal needs what is lost; so
    /// this serves to report damage, and nothing is done on its word.
    pub fn is_cut(&self, tail: &LogTail) -> bool {
        let mut window = vec![0; WINDOW.min((self.len - tail.offset) as usize)];
        let base = self.base + tail.offset;
        if self.device.read_at(base, &mut window).is_err() {
            // No record is needed from there: what cannot be read says nothing.
            for (n, block) in window.chunks_exact_mut(LOG_ALIGN).enumerate() {
                if self.device.read_at(base + (n * LOG_ALIGN) as u64, block).is_err() {
                    block.fill(0);
                }
            }
        }
        window.chunks_exact(LOG_ALIGN).any(|block| {
            let header = LogHeader::parse_any(block);
            header.is_some_and(|header| {
                header.seq.get() > tail.seq
                    && header.seq.get() >> EPOCH_SHIFT == tail.epoch()
                    && (tail.seq..header.seq.get()).contains(&header.durable.get())
            })
        })
    }

    /// Whether a byte of the device may be of the log from one tail to another, or of a record that
    /// follows it. `true` outside of the ring.
    pub fn may_reach(&self, head: &LogTail, end: &LogTail, byte: u64) -> bool {
        let Some(at) = byte.checked_sub(self.base).filter(|at| *at < self.len) else { return true };
        let next = self.distance(head.offset, end.offset) + MAX_RECORD as u64;
        let wraps = end.offset + MAX_RECORD as u64 > self.len;
        self.distance(head.offset, at) < next || (wraps && at < MAX_RECORD as u64)
    }

    /// The records that follow the tail by their numbers alone, those of `epochs` more epochs among
    /// them, in that order: for salvage, which goes on behind what is lost. Each is of this store,
    /// and opens with the tag of the record before it that its own header says.
    pub fn survivors(&self, tail: &LogTail, epochs: u64) -> Vec<LogRecord> {
        let mut block = vec![0; LOG_ALIGN];
        let mut found = Vec::new();
        for offset in (0..self.len).step_by(LOG_ALIGN) {
            if self.device.read_at(self.base + offset, &mut block).is_err() {
                continue;
            }
            let Some(header) = LogHeader::parse_any(&block) else { continue };
            let seq = header.seq.get();
            let at = LogTail { offset, seq, tag: header.previous };
            let follows = seq > tail.seq && at.epoch() - tail.epoch() <= epochs;
            if follows && let Ok(Some((header, _, next))) = self.read(&at, offset) {
                found.push(LogRecord { at, durable: header.durable.get(), next });
            }
        }
        found.sort_by_key(|record| record.at.seq);
        found
    }

    fn record(&self, tail: &LogTail) -> Result<Option<(LogHeader, Wiped, LogTail)>> {
        if let Some(found) = self.read(tail, tail.offset)? {
            return Ok(Some(found));
        }
        let wraps = tail.offset != 0 && tail.offset + MAX_RECORD as u64 > self.len;
        if wraps { self.read(tail, 0) } else { Ok(None) }
    }

    fn read(&self, tail: &LogTail, offset: u64) -> Result<Option<(LogHeader, Wiped, LogTail)>> {
        let object = Object::Log { offset };
        let read = |at: u64, buf: &mut [u8]| {
            self.device
                .read_at(self.base + at, buf)
                .map_err(|error| Error::io("read", object, error))
        };
        let mut record = vec![0; LOG_ALIGN];
        read(offset, &mut record)?;
        let Some(header) = LogHeader::parse(&record, tail.seq) else { return Ok(None) };
        let len = header.record_len();
        if offset + len as u64 > self.len {
            return Ok(None);
        }
        record.resize(len, 0);
        if len > LOG_ALIGN {
            read(offset + LOG_ALIGN as u64, &mut record[LOG_ALIGN..])?;
        }
        record.truncate(LOG_HEADER_LEN + header.len.get() as usize);
        if !self.sealer.open_log(&header, tail.tag, &mut record[LOG_HEADER_LEN..]) {
            return Ok(None);
        }
        record.drain(..LOG_HEADER_LEN);
        let end = (offset + len as u64) % self.len;
        let next = LogTail { offset: end, seq: tail.seq + 1, tag: header.tag };
        Ok(Some((header, record.into(), next)))
    }
}
