//! Working memory of one operation, reused from one to the next.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::map::Map;
use crate::limits::UNIT;

/// Places for working memory that waits for use, so that threads do not wait for each other.
const SHARDS: usize = 4;
/// Most sets that wait in each.
const IDLE: usize = 2;

/// One unit, aligned for the device and the kernels.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; UNIT]);

/// Aligned bytes of whole units, which grow as they are asked for.
#[derive(Default)]
pub(super) struct Buffer {
    pages: Vec<Page>,
    used: bool,
}

impl Buffer {
    /// The first `units` units, with anything in them.
    pub(super) fn units(&mut self, units: usize) -> &mut [u8] {
        if self.pages.len() < units {
            self.pages.resize(units, Page([0; UNIT]));
        }
        self.used = true;
        self.pages[..units].as_mut_bytes()
    }

    /// Zeros all bytes, if anything was written since the last time.
    fn wipe(&mut self) {
        if std::mem::take(&mut self.used) {
            // Looked at afterwards, as far as the compiler knows, so it cannot leave this out.
            let bytes = self.pages.as_mut_slice().as_mut_bytes();
            bytes.fill(0);
            std::hint::black_box(bytes);
        }
    }
}

/// What one operation works in.
#[derive(Default)]
pub(super) struct Scratch {
    /// Rows that there are.
    pub old: Map,
    /// Rows that replace them.
    pub new: Map,
    /// Plaintext of a first unit that is needed in part.
    pub head: Buffer,
    /// Plaintext of a last unit that is needed in part.
    pub tail: Buffer,
    /// Ciphertext to be written.
    pub cipher: Buffer,
    /// Value of a row that is being made.
    pub value: Vec<u8>,
}

/// Working memory that is not in use.
#[derive(Default)]
pub(super) struct Pool {
    shards: [Shard; SHARDS],
}

/// Sets of working memory. Each has cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<Scratch>>);

impl Pool {
    /// Takes a set, until it is dropped, for work on something that has a number.
    pub(super) fn take(&self, number: u64) -> Lease<'_> {
        let first = number as usize % SHARDS;
        let scratch = self.from(first).find_map(|shard| shard.0.try_lock()?.pop());
        Lease { pool: self, first, scratch: scratch.unwrap_or_default() }
    }

    /// The shards, beginning with one. Whoever finds one in use goes to the next.
    fn from(&self, first: usize) -> impl Iterator<Item = &Shard> {
        self.shards[first..].iter().chain(&self.shards[..first])
    }
}

/// Working memory in use. Plaintext in it is wiped when it goes back.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    first: usize,
    scratch: Scratch,
}

impl Deref for Lease<'_> {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.head.wipe();
        scratch.tail.wipe();
        for shard in self.pool.from(self.first) {
            if let Some(mut idle) = shard.0.try_lock().filter(|idle| idle.len() < IDLE) {
                idle.push(scratch);
                break;
            }
        }
    }
}
