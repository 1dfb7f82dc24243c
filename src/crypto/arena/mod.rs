//! Key memory: slots in locked pages that stay out of dumps and out of forked children.
//!
//! An arena belongs to one store. It grows by chunks: a private anonymous mapping of 64 KiB
//! between two inaccessible guard pages, locked into memory, excluded from core dumps, and wiped
//! by the kernel in a forked child. A chunk is divided into granules of 64 bytes; a slot is a run
//! of granules. Chunks are unmapped when the arena is dropped, not before.
//!
//! Invariants:
//! - granule 0 of every chunk holds the canary, non-zero in the process that made the chunk and
//!   zero in a forked child, where the kernel wiped the pages;
//! - a granule is marked used exactly while a [`Slot`] or the canary owns it;
//! - every unused granule is zero;
//! - a slot's value never moves, and its bytes are zeroized before its granules are given back.
#![allow(unsafe_code, reason = "places values in memory of its own and hands out references")]

mod chunk;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use zeroize::zeroize_stack;

use self::chunk::{CHUNK, Canary, Chunk, GRANULE, Gaps, Room};
use crate::error::{Error, Result};

/// Stack below a key's constructor that is wiped when it returns, bytes.
const STACK_WIPE: usize = 16 * 1024;

/// How well an arena is protected. All fields hold for every chunk mapped so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaStatus {
    /// Bytes mapped for keys, guard pages not counted.
    pub bytes: usize,
    /// The pages cannot be swapped out.
    pub locked: bool,
    /// The pages are left out of core dumps.
    pub excluded_from_dumps: bool,
    /// The pages read as zero in a forked child. Where they do not (Linux before 4.14), only
    /// [`KeyArena::check`] notices a fork.
    pub wiped_on_fork: bool,
}

/// Memory for the keys of one store. Threads may share it.
pub struct KeyArena {
    chunks: Mutex<Vec<Chunk>>,
    strict: bool,
    /// The first chunk's.
    canary: Canary,
    owner: rustix::process::Pid,
    gaps: Gaps,
}

impl KeyArena {
    /// An arena that tolerates a system that refuses to lock or to exclude its pages, and says
    /// so in its [`KeyArena::status`].
    ///
    /// # Errors
    /// [`Error::Io`] if the memory cannot be mapped.
    pub fn new() -> Result<Arc<KeyArena>> {
        KeyArena::with_policy(false)
    }

    /// An arena that refuses to work unless its pages are locked, left out of dumps and wiped
    /// on fork.
    ///
    /// # Errors
    /// [`Error::Io`] if the memory cannot be mapped or protected; raise `RLIMIT_MEMLOCK`.
    pub fn strict() -> Result<Arc<KeyArena>> {
        KeyArena::with_policy(true)
    }

    fn with_policy(strict: bool) -> Result<Arc<KeyArena>> {
        let gaps = Gaps::default();
        let first = Chunk::map(strict, &gaps)?;
        let canary = first.canary();
        let owner = rustix::process::getpid();
        Ok(Arc::new(KeyArena { chunks: Mutex::new(vec![first]), strict, canary, owner, gaps }))
    }

    /// How well the arena is protected.
    pub fn status(&self) -> ArenaStatus {
        ArenaStatus {
            bytes: self.chunks.lock().len() * CHUNK,
            locked: !self.gaps.unlocked.load(Ordering::Relaxed),
            excluded_from_dumps: !self.gaps.dumped.load(Ordering::Relaxed),
            wiped_on_fork: !self.gaps.unwiped.load(Ordering::Relaxed),
        }
    }

    /// Builds a value in a slot.
    ///
    /// The value is written to its slot once and never moves again. What its constructor left on
    /// the stack is wiped.
    ///
    /// # Errors
    /// What `build` returns; [`Error::Forked`] in a forked child; [`Error::Io`] if the arena has
    /// to grow and cannot.
    pub fn place<T>(self: &Arc<Self>, build: impl FnOnce() -> Result<T>) -> Result<Slot<T>> {
        const {
            assert!(align_of::<T>() <= GRANULE);
            assert!(size_of::<T>() <= CHUNK - GRANULE);
        }
        let room = self.reserve(size_of::<T>().div_ceil(GRANULE).max(1))?;
        let value = room.start.cast::<T>();
        let built = build_at(value, build);
        zeroize_stack::<STACK_WIPE>();
        match built {
            Ok(()) => Ok(Slot { value, room, arena: Arc::clone(self), owns: PhantomData }),
            Err(error) => {
                self.release(&room);
                Err(error)
            }
        }
    }

    /// Marks a run of granules used, in the first chunk that has one.
    fn reserve(&self, granules: usize) -> Result<Room> {
        let mut chunks = self.chunks.lock();
        for (index, chunk) in chunks.iter_mut().enumerate() {
            if !chunk.canary().is_alive() {
                return Err(Error::Forked);
            }
            if let Some(first) = chunk.take(granules) {
                return Ok(chunk.room(index, first, granules));
            }
        }
        let mut chunk = Chunk::map(self.strict, &self.gaps)?;
        let first = chunk.take(granules).ok_or(Error::Internal("a new key chunk is full"))?;
        let room = chunk.room(chunks.len(), first, granules);
        chunks.push(chunk);
        Ok(room)
    }

    /// Zeroizes a run of granules and gives it back.
    fn release(&self, room: &Room) {
        let mut chunks = self.chunks.lock();
        let Some(chunk) = chunks.get_mut(room.chunk) else { return };
        // SAFETY: `reserve` gave out these granules of this chunk, and their owner is gone.
        unsafe { chunk.give(room) };
    }

    /// Fails in a child that was forked after the arena was made; every operation on a store
    /// starts with this.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn check(&self) -> Result<()> {
        // Where the kernel cannot wipe pages on fork, only the process id tells; that costs a
        // system call, and only there.
        if self.gaps.unwiped.load(Ordering::Relaxed) {
            let same = rustix::process::getpid() == self.owner;
            return if same { Ok(()) } else { Err(Error::Forked) };
        }
        if self.canary.is_alive() { Ok(()) } else { Err(Error::Forked) }
    }
}

/// Runs `build` and writes its value to `place`. Never inlined, so that the frames of the
/// constructor lie below the caller's, in the stack that the caller wipes.
#[inline(never)]
fn build_at<T>(place: NonNull<T>, build: impl FnOnce() -> Result<T>) -> Result<()> {
    let value = build()?;
    // SAFETY: `place` points to reserved granules that are large and aligned enough for a `T`
    // (asserted at compile time) and that hold no value yet.
    unsafe { place.write(value) };
    Ok(())
}

/// A value in an arena: the handle through which keys are used. Zeroized on drop.
///
/// In a forked child, where the kernel has wiped the value, [`Slot::get`] returns
/// [`Error::Forked`], and dropping does nothing. There is no other way to the value, so no use of a
/// key goes without that check.
pub struct Slot<T> {
    value: NonNull<T>,
    room: Room,
    arena: Arc<KeyArena>,
    owns: PhantomData<T>,
}

// SAFETY: a slot owns its value like a `Box`; the arena it gives the granules back to is `Sync`,
// and the canary is an atomic.
unsafe impl<T: Send> Send for Slot<T> {}

// SAFETY: a shared slot gives out only shared references to its value, like a `Box`.
unsafe impl<T: Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// The value.
    ///
    /// # Errors
    /// [`Error::Forked`] in a forked child.
    pub fn get(&self) -> Result<&T> {
        if !self.room.canary.is_alive() {
            return Err(Error::Forked);
        }
        // SAFETY: `place` initialized the value, it lives until the slot is dropped, and the
        // canary of its chunk shows that this process still sees its bytes.
        Ok(unsafe { self.value.as_ref() })
    }

    /// The arena that the value lives in.
    pub fn arena(&self) -> &Arc<KeyArena> {
        &self.arena
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if !self.room.canary.is_alive() {
            return;
        }
        // SAFETY: the value is initialized, alive, and never used after this.
        unsafe { self.value.drop_in_place() };
        self.arena.release(&self.room);
    }
}
