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
#![allow(unsafe_code, reason = "places values in memory that it maps, locks and protects itself")]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::MmapMut;
use parking_lot::Mutex;
use rustix::mm::{Advice, MprotectFlags};
use zeroize::zeroize_stack;

use crate::error::{Error, Object, Result};

/// Bytes of the smallest piece of a chunk; also the strictest alignment of a slot.
const GRANULE: usize = 64;
/// Granules of one chunk.
const GRANULES: usize = 1024;
/// Bytes of one chunk between its guard pages.
const CHUNK: usize = GRANULE * GRANULES;
/// The canary's value in the process that made the chunk.
const ALIVE: u64 = 0x6566_7363_7279_7074;
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
    /// The pages read as zero in a forked child.
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

/// The protections that some chunk lacks.
#[derive(Default)]
struct Gaps {
    unlocked: AtomicBool,
    dumped: AtomicBool,
    unwiped: AtomicBool,
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
        let first = map_chunk(strict, &gaps)?;
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
        let mut chunk = map_chunk(self.strict, &self.gaps)?;
        let first = chunk.take(granules).ok_or(Error::Internal("a new key chunk is full"))?;
        let room = chunk.room(chunks.len(), first, granules);
        chunks.push(chunk);
        Ok(room)
    }

    /// Zeroizes a run of granules and gives it back.
    fn release(&self, room: &Room) {
        let mut chunks = self.chunks.lock();
        let Some(chunk) = chunks.get_mut(room.chunk) else { return };
        // SAFETY: `reserve` gave out these granules of a mapped chunk and nothing else owns them
        // any more; a zeroing volatile write of plain bytes is valid whatever they held.
        unsafe { wipe(room.start, room.granules * GRANULE) };
        chunk.give(room.first, room.granules);
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

/// Maps and protects one chunk; notes in `gaps` what the system refused, or fails if `strict`.
fn map_chunk(strict: bool, gaps: &Gaps) -> Result<Chunk> {
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

/// Where a chunk says whether this process made it; valid while the arena lives.
#[derive(Clone, Copy)]
struct Canary(NonNull<AtomicU64>);

// SAFETY: the pointee is an atomic, mapped as long as the arena that every holder keeps.
unsafe impl Send for Canary {}

// SAFETY: as above.
unsafe impl Sync for Canary {}

impl Canary {
    fn is_alive(self) -> bool {
        // SAFETY: the chunk is mapped while the arena lives, and granule 0, which is aligned,
        // is only ever accessed as this atomic.
        let value = unsafe { self.0.as_ref() };
        value.load(Ordering::Relaxed) == ALIVE
    }

    fn set(self, value: u64) {
        // SAFETY: as in `is_alive`.
        let canary = unsafe { self.0.as_ref() };
        canary.store(value, Ordering::Relaxed);
    }
}

/// One mapping and the map of its used granules.
struct Chunk {
    start: NonNull<u8>,
    used: [u64; GRANULES / 64],
    /// Owns the pages.
    _map: MmapMut,
}

// SAFETY: `start` points into the mapping that the chunk itself owns; the arena touches a chunk
// only under its lock, and slots own disjoint granules.
unsafe impl Send for Chunk {}

impl Chunk {
    fn new(map: MmapMut, start: *mut u8) -> Result<Chunk> {
        let start = NonNull::new(start).ok_or(Error::Internal("a mapping at address zero"))?;
        let mut chunk = Chunk { start, used: [0; GRANULES / 64], _map: map };
        chunk.take(1);
        chunk.canary().set(ALIVE);
        Ok(chunk)
    }

    fn canary(&self) -> Canary {
        Canary(self.start.cast())
    }

    /// Marks the first free run of `count` granules used, and returns its first granule.
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut run = 0;
        for at in 0..GRANULES {
            run = if self.is_used(at) { 0 } else { run + 1 };
            if run == count {
                let first = at + 1 - count;
                (first..=at).for_each(|g| self.used[g / 64] |= 1 << (g % 64));
                return Some(first);
            }
        }
        None
    }

    /// Marks a run of granules unused.
    fn give(&mut self, first: usize, count: usize) {
        (first..first + count).for_each(|g| self.used[g / 64] &= !(1 << (g % 64)));
    }

    fn is_used(&self, granule: usize) -> bool {
        self.used[granule / 64] & (1 << (granule % 64)) != 0
    }

    fn room(&self, chunk: usize, first: usize, granules: usize) -> Room {
        // SAFETY: `take` found the run inside this chunk, so the offset stays in its mapping.
        let start = unsafe { self.start.add(first * GRANULE) };
        Room { start, canary: self.canary(), chunk, first, granules }
    }
}

/// A run of granules that one slot owns.
struct Room {
    start: NonNull<u8>,
    canary: Canary,
    chunk: usize,
    first: usize,
    granules: usize,
}

/// A value in an arena: the handle through which keys are used. Zeroized on drop.
///
/// In a forked child [`Slot::get`] returns [`Error::Forked`], dereferencing panics, and dropping
/// does nothing: the kernel has wiped the value.
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

impl<T> Deref for Slot<T> {
    type Target = T;

    /// # Panics
    /// In a forked child; operations check [`KeyArena::check`] first.
    fn deref(&self) -> &T {
        match self.get() {
            Ok(value) => value,
            Err(_) => panic!("a key was used in a forked child"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a slot's granules, through a pointer taken while it lived.
    fn bytes_at(start: NonNull<u8>, len: usize) -> Vec<u8> {
        // SAFETY: the chunk stays mapped while the arena lives, which every caller keeps.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }.to_vec()
    }

    #[test]
    fn a_slot_holds_its_value_and_leaves_zeros() {
        let arena = KeyArena::new().unwrap();
        let slot = arena.place(|| Ok([0xa5u8; 100])).unwrap();
        assert_eq!(*slot, [0xa5; 100]);
        let start = slot.room.start;
        assert_eq!(bytes_at(start, 100), [0xa5; 100]);
        drop(slot);
        assert_eq!(bytes_at(start, 128), [0; 128]);
    }

    #[test]
    fn slots_are_aligned_disjoint_and_reused() {
        let arena = KeyArena::new().unwrap();
        let slots: Vec<_> = (0..40u8).map(|i| arena.place(|| Ok([i; 3000])).unwrap()).collect();
        assert!(arena.status().bytes >= 2 * CHUNK);
        for (i, slot) in slots.iter().enumerate() {
            assert_eq!(slot.room.start.as_ptr() as usize % GRANULE, 0);
            assert!(slot.iter().all(|&b| b == i as u8));
        }
        let bytes = arena.status().bytes;
        drop(slots);
        let again: Vec<_> = (0..40u8).map(|i| arena.place(|| Ok([i; 3000])).unwrap()).collect();
        assert_eq!(arena.status().bytes, bytes);
        assert_eq!(again.len(), 40);
    }

    #[test]
    fn a_failed_constructor_gives_its_room_back() {
        let arena = KeyArena::new().unwrap();
        for _ in 0..100 {
            let failed = arena.place::<[u8; 60_000]>(|| Err(Error::Internal("test")));
            assert!(matches!(failed, Err(Error::Internal("test"))));
        }
        assert_eq!(arena.status().bytes, CHUNK);
    }

    #[test]
    fn drop_runs_once_and_before_the_wipe() {
        struct Counted(Arc<AtomicU64>, [u8; 32]);
        impl Drop for Counted {
            fn drop(&mut self) {
                assert_eq!(self.1, [7; 32]);
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let arena = KeyArena::new().unwrap();
        let count = Arc::new(AtomicU64::new(0));
        drop(arena.place(|| Ok(Counted(Arc::clone(&count), [7; 32]))).unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_dead_canary_refuses_everything() {
        let arena = KeyArena::new().unwrap();
        let slot = arena.place(|| Ok([1u8; 16])).unwrap();
        arena.check().unwrap();
        arena.chunks.lock()[0].canary().set(0);
        assert!(matches!(slot.get(), Err(Error::Forked)));
        assert!(matches!(arena.place(|| Ok(0u8)), Err(Error::Forked)));
        let deref = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| slot[0]));
        assert!(deref.is_err());
        if arena.status().wiped_on_fork {
            assert!(matches!(arena.check(), Err(Error::Forked)));
        }
    }
}
