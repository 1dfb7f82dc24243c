//! A forked child cannot use, read or reveal the keys of its parent.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "forks, which no safe interface does")]

use std::sync::Arc;

use efscrypt::Error;
use efscrypt::crypto::{DataKey, KeyArena, Rng, Slot};
use efscrypt::secret::Secret;

/// Runs `child` in a forked child; it says what failed by a non-zero number.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only code that takes no lock another thread could hold: the arena's
    // own locks are free, since this test's process has no other user of the arena.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = child();
        // SAFETY: leaves the child without running the test harness's destructors.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for the write, and `pid` is our own child.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(waited, pid);
    assert!(libc::WIFEXITED(status), "the child crashed: {status:#x}");
    libc::WEXITSTATUS(status)
}

fn forked<T>(result: efscrypt::Result<T>) -> bool {
    matches!(result, Err(Error::Forked))
}

/// Whether the pages of a slot's value read as zero.
fn is_wiped(value: &Slot<[u8; 64]>, address: usize) -> bool {
    assert!(forked(value.get()));
    let bytes = address as *const [u8; 64];
    // SAFETY: the parent took the address from a live slot; the child has the same mapping.
    unsafe { bytes.read_volatile() == [0; 64] }
}

#[test]
fn keys_stay_with_the_process_that_made_them() {
    let arena = KeyArena::new().unwrap();
    assert!(arena.status().wiped_on_fork, "this kernel cannot wipe pages on fork");
    let dek = Secret::from_slice(&[1; 32]).unwrap();
    let key = DataKey::derive(&arena, &dek, &[0; 16], 1).unwrap();
    let rng = Rng::new(&arena).unwrap();
    let value = arena.place(|| Ok([0x5au8; 64])).unwrap();
    let address = std::ptr::from_ref(value.get().unwrap()) as usize;

    let code = in_child(|| {
        let checks = [
            forked(arena.check()),
            forked(key.get()),
            forked(rng.nonce()),
            forked(arena.place(|| Ok(0u8))),
            forked(DataKey::derive(&arena, &dek, &[0; 16], 1)),
            is_wiped(&value, address),
        ];
        // Dropping in the child must neither crash nor touch the parent's arena.
        drop((Arc::clone(&arena), rng));
        checks.iter().position(|&passed| !passed).map_or(0, |failed| failed as i32 + 1)
    });
    assert_eq!(code, 0, "number of the check that failed in the child");

    arena.check().unwrap();
    assert_eq!(value.get().unwrap(), &[0x5a; 64]);
}
