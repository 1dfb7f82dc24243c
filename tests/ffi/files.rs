//! Files, directories and names through C: what the header says beyond the Rust interface.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

fn store() -> Open {
    Open::on(Arc::new(MemoryDevice::new()))
}

#[test]
fn a_write_of_nothing_looks_at_its_file() {
    let store = store();
    let file = store.make("file").unwrap();
    store.write(file.ino, 0, b"").unwrap();
    assert_eq!(store.getattr(file.ino).unwrap().change, file.change);
    for (ino, offset, wanted) in [
        (99, 0, S::Stale),
        (EFSCRYPT_ROOT, 0, S::IsDirectory),
        (file.ino, u64::MAX, S::FileTooLarge),
    ] {
        assert_eq!(store.write(ino, offset, b"").unwrap_err().status, wanted);
        // SAFETY: NULL with length 0 is empty.
        let null = status(|error| unsafe {
            efscrypt_fs_write(store.0, ino, offset, null(), 0, null_mut(), error)
        });
        assert_eq!(null, wanted);
    }
}

#[test]
fn reads_go_to_memory_that_was_never_written() {
    let store = store();
    let ino = store.make("file").unwrap().ino;
    let bytes: Vec<u8> = (0..3_000_000).map(|at| (at % 253) as u8).collect();
    store.write(ino, 0, &bytes).unwrap();
    assert_eq!(store.read(ino, 0, 4 << 20).unwrap(), (bytes.clone(), true));
    assert_eq!(store.read(ino, 5000, 10).unwrap(), (bytes[5000..5010].to_vec(), false));
    assert_eq!(store.read(ino, 3_000_000, 10).unwrap(), (vec![], true));
    assert_eq!(store.read(ino, u64::MAX, 10).unwrap(), (vec![], true));
    assert_eq!(store.read(EFSCRYPT_ROOT, 0, 10).unwrap_err().status, S::IsDirectory);
    let (mut done, mut byte) = (0, 0);
    for (buf, len) in [(null_mut(), 1), (&raw mut byte, usize::MAX)] {
        // SAFETY: a buffer that cannot be is refused before it is touched.
        let answer = status(|error| unsafe {
            efscrypt_fs_read(store.0, ino, 0, buf, len, &raw mut done, null_mut(), error)
        });
        assert_eq!(answer, S::InvalidArgument);
    }
}

#[test]
fn a_read_of_a_file_that_grows_is_short_at_its_end_only() {
    const STEP: usize = 512;
    const STEPS: usize = 20_000;
    let store = store();
    let ino = store.make("file").unwrap().ino;
    store.write(ino, 0, &[7; STEP]).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 1..STEPS {
                store.write(ino, (step * STEP) as u64, &[7; STEP]).unwrap();
            }
        });
        while !writer.is_finished() {
            let from = store.getattr(ino).unwrap().size - STEP as u64;
            let (bytes, eof) = store.read(ino, from, 4 * STEP).unwrap();
            assert!(eof || bytes.len() == 4 * STEP, "{} bytes, and not the end", bytes.len());
            assert!(bytes.len() >= STEP && bytes.iter().all(|byte| *byte == 7));
        }
    });
}

/// Entries that a callback saw, and the store that it asks about them.
struct Seen<'a> {
    store: &'a Open,
    entries: Vec<(Vec<u8>, u64, u64, Option<u64>)>,
    stop_at: usize,
}

unsafe extern "C" fn visit(userdata: *mut c_void, entry: *const efscrypt_dir_entry) -> i32 {
    // SAFETY: the test's own.
    let seen = unsafe { &mut *userdata.cast::<Seen<'_>>() };
    // SAFETY: valid during the call.
    let entry = unsafe { &*entry };
    if seen.entries.len() == seen.stop_at {
        return 1;
    }
    // SAFETY: as above.
    let name = unsafe { std::slice::from_raw_parts(entry.name, entry.name_len) }.to_vec();
    // SAFETY: as above, or NULL.
    let size = unsafe { entry.attr.as_ref() }.map(|attr| attr.size);
    // The store may be called, also for a change of the directory.
    assert_eq!(seen.store.getattr(entry.ino).unwrap().mode & 0o170_000, entry.kind);
    if !name.starts_with(b".") {
        seen.store.unlink(std::str::from_utf8(&name).unwrap()).unwrap();
    }
    seen.entries.push((name, entry.ino, entry.cookie, size));
    0
}

fn read_dir(seen: &mut Seen<'_>, cookie: u64, plus: bool) -> Result<bool, Failure> {
    let (store, root, mut end) = (seen.store.0, EFSCRYPT_ROOT, false);
    let userdata = std::ptr::from_mut(seen).cast::<c_void>();
    let read = if plus { efscrypt_fs_readdir_plus } else { efscrypt_fs_readdir };
    // SAFETY: all pointers are valid.
    call(|error| unsafe { read(store, root, cookie, Some(visit), userdata, &raw mut end, error) })?;
    Ok(end)
}

#[test]
fn a_visitor_may_call_the_store_and_stop() {
    let store = store();
    let mut inodes: Vec<u64> =
        (0..300).map(|n| store.make(&format!("file {n}")).unwrap().ino).collect();
    let mut seen = Seen { store: &store, entries: Vec::new(), stop_at: 40 };
    assert!(!read_dir(&mut seen, 0, true).unwrap());
    let last = seen.entries.last().unwrap().2;
    seen.stop_at = usize::MAX;
    assert!(read_dir(&mut seen, last, false).unwrap());
    assert_eq!((&seen.entries[0].0[..], seen.entries[0].1), (&b"."[..], EFSCRYPT_ROOT));
    assert_eq!((&seen.entries[1].0[..], seen.entries[1].1), (&b".."[..], EFSCRYPT_ROOT));
    assert!(seen.entries[2..40].iter().all(|entry| entry.3 == Some(0)));
    assert!(seen.entries[40..].iter().all(|entry| entry.3.is_none()));
    let mut found: Vec<u64> = seen.entries[2..].iter().map(|entry| entry.1).collect();
    found.sort_unstable();
    inodes.sort_unstable();
    assert_eq!(found, inodes);
}

#[test]
fn values_fit_or_say_how_long_they_are() {
    let store = store();
    let ino = store.make("file").unwrap().ino;
    let (name, value) = (b"user.a", [7u8; 300]);
    let set = |how| {
        // SAFETY: all pointers are valid.
        status(|error| unsafe {
            let (name, len, none) = (name.as_ptr(), name.len(), null_mut());
            let (value, value_len) = (value.as_ptr(), value.len());
            efscrypt_fs_set_xattr(store.0, ino, name, len, value, value_len, how, none, error)
        })
    };
    assert_eq!(set(EFSCRYPT_XATTR_REPLACE), S::NoAttribute);
    assert_eq!(set(EFSCRYPT_XATTR_CREATE), S::Ok);
    assert_eq!(set(EFSCRYPT_XATTR_CREATE), S::Exists);
    assert_eq!(set(3), S::InvalidArgument);
    let get = |room: usize| {
        let (mut buf, mut len) = ([0u8; 400], usize::MAX);
        // SAFETY: all pointers are valid.
        let answer = status(|error| unsafe {
            let (name, name_len) = (name.as_ptr(), name.len());
            let (buf, len) = (buf.as_mut_ptr(), &raw mut len);
            efscrypt_fs_get_xattr(store.0, ino, name, name_len, buf, room, len, error)
        });
        (answer, len, buf)
    };
    assert_eq!(get(299).0, S::BufferTooSmall);
    assert_eq!(get(299).1, usize::MAX, "an output was written on failure");
    assert_eq!((get(0).0, get(0).1), (S::Ok, 300));
    let (answer, len, buf) = get(400);
    assert_eq!((answer, &buf[..len]), (S::Ok, &value[..]));
    let list = || {
        let (mut buf, mut len) = ([0u8; 64], 0);
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            efscrypt_fs_list_xattrs(store.0, ino, buf.as_mut_ptr(), 64, &raw mut len, error)
        })
        .unwrap();
        buf[..len].to_vec()
    };
    assert_eq!(list(), b"user.a\0");
    // SAFETY: all pointers are valid.
    call(|error| unsafe {
        efscrypt_fs_remove_xattr(store.0, ino, name.as_ptr(), name.len(), null_mut(), error)
    })
    .unwrap();
    assert_eq!(list(), b"");
}

#[test]
fn a_repeated_exclusive_creation_is_the_same_file() {
    let store = store();
    let create = |how, verifier: Option<&[u8; 8]>| {
        let mut created = std::mem::MaybeUninit::<efscrypt_created>::uninit();
        let verifier = verifier.map_or(null(), |bytes| bytes.as_ptr());
        // SAFETY: all pointers are valid.
        call(|error| unsafe {
            let (name, created) = (b"file".as_ptr(), created.as_mut_ptr());
            let root = EFSCRYPT_ROOT;
            efscrypt_fs_create(store.0, root, name, 4, null(), how, verifier, created, error)
        })
        .map(|()| {
            // SAFETY: written on success.
            let created = unsafe { created.assume_init() };
            (
                created.attr.ino,
                created.created,
                created.dir.before.change != created.dir.after.change,
            )
        })
        .map_err(|failure| failure.status)
    };
    let (ino, new, moved) = create(EFSCRYPT_CREATE_EXCLUSIVE, Some(&[1; 8])).unwrap();
    assert!(new == 1 && moved);
    assert_eq!(create(EFSCRYPT_CREATE_EXCLUSIVE, Some(&[1; 8])), Ok((ino, 0, false)));
    assert_eq!(create(EFSCRYPT_CREATE_EXCLUSIVE, Some(&[2; 8])), Err(S::Exists));
    assert_eq!(create(EFSCRYPT_CREATE_GUARDED, None), Err(S::Exists));
    assert_eq!(create(EFSCRYPT_CREATE_UNCHECKED, None), Ok((ino, 0, false)));
    assert_eq!(create(EFSCRYPT_CREATE_EXCLUSIVE, None), Err(S::InvalidArgument));
    assert_eq!(create(EFSCRYPT_CREATE_GUARDED, Some(&[1; 8])), Err(S::InvalidArgument));
    assert_eq!(create(3, None), Err(S::InvalidArgument));
}

#[test]
fn writes_are_as_durable_as_asked() {
    use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let store = Open::on(device.clone());
    let ino = store.make("file").unwrap().ino;
    store.commit().unwrap();
    let write = |offset: u64, stability: u32| {
        let (mut committed, mut verifier) = (9, 0);
        let bytes = b"some bytes";
        // SAFETY: all pointers are valid.
        let answer = status(|error| unsafe {
            let (buf, len) = (bytes.as_ptr(), bytes.len());
            let (committed, verifier) = (&raw mut committed, &raw mut verifier);
            let file = null_mut();
            efscrypt_fs_write_stable(
                store.0, ino, offset, buf, len, stability, file, committed, verifier, error,
            )
        });
        (answer, committed, verifier)
    };
    let commit = |ino: u64| {
        let mut verifier = 0;
        // SAFETY: all pointers are valid.
        let answer = status(|error| unsafe {
            efscrypt_fs_commit(store.0, ino, 0, 0, &raw mut verifier, error)
        });
        (answer, verifier)
    };
    let flushes = device.counters().flushes;
    let (answer, committed, verifier) = write(0, EFSCRYPT_STABILITY_UNSTABLE);
    assert_eq!((answer, committed), (S::Ok, EFSCRYPT_STABILITY_UNSTABLE));
    assert_eq!(device.counters().flushes, flushes);
    assert_eq!(commit(ino), (S::Ok, verifier));
    for (n, stability) in [EFSCRYPT_STABILITY_DATA, EFSCRYPT_STABILITY_FILE].iter().enumerate() {
        let answer = write(n as u64 * 5000, *stability);
        assert_eq!(answer, (S::Ok, EFSCRYPT_STABILITY_FILE, verifier));
        assert_eq!(device.counters().flushes, flushes + 2 + n as u64);
    }
    assert_eq!(write(0, 3).0, S::InvalidArgument);
    assert_eq!(commit(EFSCRYPT_ROOT).0, S::IsDirectory);
    assert_eq!(commit(99).0, S::Stale);
    // SAFETY: the store is valid.
    let health = || status(|error| unsafe { efscrypt_store_health(store.0, error) });
    assert_eq!(health(), S::Ok);
    device.set_plan(FaultPlan::new(1).fail(Op::Flush, 0, Failure::Io, Repeat::Once));
    assert_eq!(write(0, EFSCRYPT_STABILITY_FILE).0, S::Io);
    assert_eq!(health(), S::Poisoned);
    assert_eq!(write(0, EFSCRYPT_STABILITY_UNSTABLE).0, S::Poisoned);
    store.die();
    let store = Open::again(device);
    let mut later = 0;
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_write_verifier(store.0, &raw mut later, error) }).unwrap();
    assert_ne!(later, verifier);
}
