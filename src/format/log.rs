//! Log record: the clear header in front of a sealed batch of transactions.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the clear header.
pub const LOG_HEADER_LEN: usize = 80;
/// Records start at multiples of this, bytes.
pub const LOG_ALIGN: usize = 4096;
/// Largest record with its header, bytes. A record never wraps around the end of the ring.
pub const MAX_RECORD: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"EFSL";

/// The clear header of a log record. Nothing of it is believed before the payload's tag verified
/// with the expected sequence number and the tag of the record before it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct LogHeader {
    magic: [u8; 4],
    /// Bytes of the sealed payload.
    pub len: U32,
    /// `epoch << 40 | n`, one more than in the record before.
    pub seq: U64,
    /// Sequence number of the last record that was durable before this one was written: what a
    /// record before that says was acknowledged, and may not be missing.
    pub durable: U64,
    /// GCM-SIV nonce, random.
    pub nonce: [u8; 12],
    /// GCM-SIV tag of the payload; the next record's associated data.
    pub tag: [u8; 16],
    /// Tag of the record before, which the seal binds: a reader that follows the log has it from
    /// there; salvage, which goes on behind a lost record, from here.
    pub previous: [u8; 16],
    reserved: [u8; 12],
}

const _: () = assert!(size_of::<LogHeader>() == LOG_HEADER_LEN);

impl LogHeader {
    /// A header without nonce and tag, which the seal makes.
    pub fn new(len: usize, seq: u64, durable: u64, previous: [u8; 16]) -> LogHeader {
        LogHeader {
            magic: MAGIC,
            len: U32::new(len as u32),
            seq: U64::new(seq),
            durable: U64::new(durable),
            nonce: [0; 12],
            tag: [0; 16],
            previous,
            reserved: [0; 12],
        }
    }

    /// Reads a header that may be the record `seq`; `None` where it cannot be.
    pub fn parse(bytes: &[u8], seq: u64) -> Option<LogHeader> {
        Self::parse_any(bytes).filter(|header| header.seq.get() == seq)
    }

    /// Reads a header that may be of any record; `None` where it cannot be.
    pub fn parse_any(bytes: &[u8]) -> Option<LogHeader> {
        let (header, _) = LogHeader::read_from_prefix(bytes).ok()?;
        let plausible = header.magic == MAGIC
            && header.reserved == [0; 12]
            && (1..=MAX_RECORD - LOG_HEADER_LEN).contains(&(header.len.get() as usize));
        plausible.then_some(header)
    }

    /// Bytes of the whole record, padded to the alignment.
    pub fn record_len(&self) -> usize {
        (LOG_HEADER_LEN + self.len.get() as usize).next_multiple_of(LOG_ALIGN)
    }
}
