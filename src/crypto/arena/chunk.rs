//! One mapping of an arena: its pages, how they are protected, and which granules are used.
#![allow(unsafe_code, reason = "maps, locks, protects and wipes memory through its address")]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::MmapMut;
use rustix::mm::{Advice, MprotectFlags};

use crate::error::{Error, Object, Result};

/// Bytes of the smallest piece of a chunk; also the strictest alignment of a slot.
pub(super) const GRANULE: usize = 64;
/// Granules of one chunk.
const GRANULES: usize = 1024;
/// Bytes of one chunk between its guard pages.
pub(super) const CHUNK: usize = GRANULE * GRANULES;
/// The canary's value in the process that made the chunk.
const ALIVE: u64 = 0x6566_7363_7279_7074;

/// The protections that some chunk lacks.
#[derive(Default)]
pub(super) struct Gaps {
    pub(super) unlocked: AtomicBool,
    pub(super) dumped: AtomicBool,
    pub(super) unwiped: AtomicBool,
}

/// A run of granules that one slot owns.
pub(super) struct Room {
    pub(super) start: NonNull<u8>,
    pub(super) canary: Canary,
    pub(super) chunk: usize,
    first: usize,
    granules: usize,
}

/// Where a chunk says whether this process made it; valid while the arena lives.
#[derive(Clone, Copy)]
pub(super) struct Canary(NonNull<AtomicU64>);

// SAFETY: the pointee is an atomic, mapped as long as the arena that every holder keeps.
unsafe impl Send for Canary {}

// SAFETY: as above.
unsafe impl Sync for Canary {}

impl Canary {
    pub(super) fn is_alive(self) -> bool {
        // SAFETY: the chunk is mapped while the arena lives, and granule 0, which is aligned,
        // is only ever accessed as this atomic.
        let value = unsafe { self.0.as_ref() };
        value.load(Ordering::Relaxed) == ALIVE
    }

    pub(super) fn set(self, value: u64) {
        // SAFETY: as in `is_alive`.
        let canary = unsafe { self.0.as_ref() };
        canary.store(value, Ordering::Relaxed);
    }
}

/// One mapping and the map of its used granules.
pub(super) struct Chunk {
    start: NonNull<u8>,
    used: [u64; GRANULES / 64],
    /// There is no free run of so many granules: a large arena's full chunks are not searched in
    /// vain.
    lacks: usize,
    /// Owns the pages.
    _map: MmapMut,
}

// SAFETY: `start` points into the mapping that the chunk itself owns; the arena touches a chunk
// only under its lock, and slots own disjoint granules.
unsafe impl Send for Chunk {}

impl Chunk {
    /// Maps and protects a chunk; notes in `gaps` what the system refused, or fails if `strict`.
    pub(super) fn map(strict: bool, gaps: &Gaps) -> Result<Chunk> {
        let page = rustix::param::page_size();
        let fail = |op| move |e: io::Error| Error::io(op, Object::Store, e);
        let mut map = MmapMut::map_anon(CHUNK + 2 * page).map_err(fail("mapping key memory"))?;
        let whole: *mut u8 = map.as_mut_ptr();
        for guard in [whole, whole.wrapping_add(page + CHUNK)] {
            // SAFETY: the page lies inside our own mapping, no reference into it exists, and the
            // arena never touches it again.
            let done = unsafe { rustix::mm::mprotect(guard.cast(), page, MprotectFlags::empty()) };
            done.map_err(|errno| fail("guarding key memory")(errno.into()))?;
        }
        let start = whole.wrapping_add(page);
        // SAFETY: the range is the accessible part of our own mapping.
        let locked = unsafe { rustix::mm::mlock(start.cast(), CHUNK) };
        let protections = [
            (locked, &gaps.unlocked, "locking key memory"),
            (exclude_from_dumps(start.cast()), &gaps.dumped, "hiding key memory from dumps"),
            (wipe_on_fork(start.cast()), &gaps.unwiped, "hiding key memory from forks"),
        ];
        for (done, gap, op) in protections {
            match done {
                Ok(()) => {}
                Err(errno) if strict => return Err(fail(op)(errno.into())),
                Err(_) => gap.store(true, Ordering::Relaxed),
            }
        }
        Chunk::new(map, start)
    }

    fn new(map: MmapMut, start: *mut u8) -> Result<Chunk> {
        let start = NonNull::new(start).ok_or(Error::Internal("a mapping at address zero"))?;
        let mut chunk = Chunk { start, used: [0; GRANULES / 64], lacks: usize::MAX, _map: map };
        chunk.take(1);
        chunk.canary().set(ALIVE);
        Ok(chunk)
    }

    pub(super) fn canary(&self) -> Canary {
        Canary(self.start.cast())
    }

    /// Marks the first free run of `count` granules used, and returns its first granule.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        if count >= self.lacks {
            return None;
        }
        let mut run = 0;
        for at in 0..GRANULES {
            run = if self.is_used(at) { 0 } else { run + 1 };
            if run == count {
                let first = at + 1 - count;
                (first..=at).for_each(|g| self.used[g / 64] |= 1 << (g % 64));
                return Some(first);
            }
        }
        self.lacks = count;
        None
    }

    /// Zeroizes a run of granules and marks it unused.
    ///
    /// # Safety
    /// The run is this chunk's, and nothing refers to its bytes any more.
    pub(super) unsafe fn give(&mut self, room: &Room) {
        // SAFETY: the caller vouches that the bytes are the chunk's, hence mapped and writable,
        // and that no reference to them is live.
        unsafe { wipe(room.start, room.granules * GRANULE) };
        (room.first..room.first + room.granules)
            .for_each(|g| self.used[g / 64] &= !(1 << (g % 64)));
        self.lacks = usize::MAX;
    }

    fn is_used(&self, granule: usize) -> bool {
        self.used[granule / 64] & (1 << (granule % 64)) != 0
    }

    pub(super) fn room(&self, chunk: usize, first: usize, granules: usize) -> Room {
        // SAFETY: `take` found the run inside this chunk, so the offset stays in its mapping.
        let start = unsafe { self.start.add(first * GRANULE) };
        Room { start, canary: self.canary(), chunk, first, granules }
    }
}

/// Zeroizes `len` bytes at `start`.
///
/// # Safety
/// The bytes are mapped and writable, and no reference to them is live.
unsafe fn wipe(start: NonNull<u8>, len: usize) {
    for at in 0..len {
        // SAFETY: the caller vouches for the whole range, and `at` is inside it.
        let byte = unsafe { start.add(at) };
        // SAFETY: as above; volatile so that the write is not dropped before the memory is freed.
        unsafe { byte.write_volatile(0) };
    }
}

#[cfg(target_os = "linux")]
fn exclude_from_dumps(start: *mut c_void) -> rustix::io::Result<()> {
    // SAFETY: the range is our own mapping, and the advice does not change its contents here.
    unsafe { rustix::mm::madvise(start, CHUNK, Advice::LinuxDontDump) }
}

#[cfg(target_os = "linux")]
fn wipe_on_fork(start: *mut c_void) -> rustix::io::Result<()> {
    // SAFETY: the range is our own mapping; it stays as it is in this process, and in a child
    // the canary in the same pages keeps anyone from reading values that are gone.
    unsafe { rustix::mm::madvise(start, CHUNK, Advice::LinuxWipeOnFork) }
}

#[cfg(not(target_os = "linux"))]
fn exclude_from_dumps(_start: *mut c_void) -> rustix::io::Result<()> {
    Err(rustix::io::Errno::NOTSUP)
}

#[cfg(not(target_os = "linux"))]
fn wipe_on_fork(_start: *mut c_void) -> rustix::io::Result<()> {
    Err(rustix::io::Errno::NOTSUP)
}
