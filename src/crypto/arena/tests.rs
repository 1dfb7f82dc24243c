//! Slots: their room, their values, and what is left of them.

use std::sync::atomic::AtomicU64;

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
    assert_eq!(slot.get().unwrap(), &[0xa5; 100]);
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
        assert!(slot.get().unwrap().iter().all(|&b| b == i as u8));
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
    if arena.status().wiped_on_fork {
        assert!(matches!(arena.check(), Err(Error::Forked)));
    }
}
