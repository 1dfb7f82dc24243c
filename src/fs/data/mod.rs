//! Contents of files: sealed units on the device, small files inline in the tree.
//!
//! [`Contents`] maps bytes of a file to DATA rows and back. A *row* stands for a range of units of
//! its file: an extent, or inline bytes for unit 0. Units that no row stands for are holes, and
//! read as zeros. Invariants:
//!
//! 1. No unit is ever written in place: new bytes go to units that were reserved for them, sealed
//!    under tweaks that never sealed anything else, and one transaction puts the rows, takes the
//!    new units and gives the old ones back. A failure or a crash leaves the old contents.
//! 2. Rows of one file do not overlap. None reaches beyond the unit that holds the last byte,
//!    unless the inode is marked [`InodeRow::TRIMMING`]; bytes of the last unit beyond the size
//!    are zeros. So a file grows without looking at what was there.
//! 3. Plaintext is handed out only after it authenticated, under a key whose domain is unlocked.
//!    No plaintext is kept.
//! 4. All data keys of a file are found from its inode: each KEY row names the one before.
//!
//! Callers hold the inode's lock: shared to read, exclusive to change. Each change ends in
//! transactions that hold the inode row too: the caller's [`Finish`] sets what else changes in
//! it, such as times, and puts it.

mod buffer;
mod change;
mod defrag;
mod free;
mod keys;
mod map;
mod read;
mod seek;
mod stream;
mod truncate;
mod unit;
mod write;

use std::sync::Arc;

pub use free::{Freed, owned_units};
pub use keys::DataKeys;

use buffer::Pool;
use stream::Streams;

use crate::format::{Edits, TreeId};
pub use crate::format::{FsKey, InodeRow};
use crate::limits::DATA_KEY_UNITS;
use crate::txn::{Engine, Lsn};

/// Completes a transaction on a file: changes what else is new in the inode row (times, change
/// attribute) and puts the row, and nothing more: at most [`FINISH_EDITS`] edits of
/// [`FINISH_BYTES`] bytes. Called once for each transaction, which may then still fail; the row
/// it is given is then forgotten.
pub type Finish<'a> = dyn FnMut(&mut InodeRow, &mut Edits) + 'a;

/// Most edits of a [`Finish`].
pub const FINISH_EDITS: usize = 2;
/// Most bytes of keys and values of a [`Finish`].
pub const FINISH_BYTES: usize = 8 << 10;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were written, from the first on: fewer than given only where a later part
    /// failed. Repeat with the rest to learn why.
    pub bytes: usize,
    /// The last transaction.
    pub lsn: Lsn,
}

/// Contents of the files of one tree. Thread-safe.
pub struct Contents {
    engine: Arc<Engine>,
    tree: TreeId,
    keys: Arc<DataKeys>,
    /// Units that one data key seals.
    key_units: u64,
    streams: Streams,
    pool: Pool,
}

impl Contents {
    /// The contents of the files of `tree`.
    pub fn new(engine: Arc<Engine>, tree: TreeId, keys: Arc<DataKeys>) -> Contents {
        let streams = Streams::new(Arc::clone(&engine));
        let pool = Pool::default();
        Contents { engine, tree, keys, key_units: DATA_KEY_UNITS, streams, pool }
    }

    /// Says that a file is not written for now, so that what was reserved for its next writes is
    /// free: for its last close.
    pub fn rest(&self, ino: u64) {
        self.streams.end(ino);
    }

    /// Units that are reserved for the next writes of files, and free where others need them.
    pub fn parked(&self) -> u64 {
        self.streams.parked()
    }

    /// As [`Contents::rest`] for all files, when space is short elsewhere; returns whether that
    /// made some free.
    pub fn rest_all(&self) -> bool {
        self.streams.end_all()
    }

    /// The same with another bound on the units that one data key seals: for tests.
    pub fn with_key_units(mut self, units: u64) -> Contents {
        self.key_units = units.max(1);
        self
    }
}
