//! Inode numbers and handles: neither leads to another file, through restarts and crashes.

use std::ptr::null_mut;
use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

fn handle_of(store: &Open, ino: u64) -> efscrypt_handle {
    let mut handle = efscrypt_handle { len: 0, bytes: [0; EFSCRYPT_HANDLE_LEN] };
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_fs_handle(store.0, ino, &raw mut handle, error) }).unwrap();
    handle
}

fn by_handle(store: &Open, handle: &efscrypt_handle) -> S {
    let (bytes, len) = (handle.bytes.as_ptr(), handle.len as usize);
    // SAFETY: all pointers are valid.
    status(|error| unsafe { efscrypt_fs_by_handle(store.0, bytes, len, null_mut(), error) })
}

#[test]
fn a_number_is_never_given_to_another_file() {
    let device = Arc::new(MemoryDevice::new());
    let mut seen = std::collections::BTreeSet::from([EFSCRYPT_ROOT]);
    let mut store = Open::on(device.clone());
    for round in 0..6 {
        let mut last = 0;
        for file in 0..3 {
            last = store.make(&format!("{file}")).unwrap().ino;
            assert!(seen.insert(last), "round {round}: number {last} again");
        }
        let handle = handle_of(&store, last);
        match round % 3 {
            // Removed, and closed.
            0 => {
                (0..3).for_each(|file| store.unlink(&format!("{file}")).unwrap());
                store.close().unwrap();
            }
            // Made durable, removed, and the process died before that was durable.
            1 => {
                store.commit().unwrap();
                (0..3).for_each(|file| store.unlink(&format!("{file}")).unwrap());
                store.die();
            }
            // Never durable, but a client may have seen the numbers.
            _ => store.die(),
        }
        store = Open::again(device.clone());
        let left = if round % 3 == 1 { S::Ok } else { S::Stale };
        assert_eq!(store.getattr(last).err().map_or(S::Ok, |failure| failure.status), left);
        assert_eq!(by_handle(&store, &handle), left);
        for file in 0..3 {
            let _not_there = store.unlink(&format!("{file}"));
        }
        store.make("new").unwrap();
        let new = store.getattr(store.make("newer").unwrap().ino).unwrap().ino;
        assert!(seen.insert(new), "round {round}: number {new} again");
        store.unlink("new").unwrap();
        store.unlink("newer").unwrap();
        assert_eq!(by_handle(&store, &handle_of(&store, EFSCRYPT_ROOT)), S::Ok);
    }
}

#[test]
fn numbers_stay_dense_where_a_store_is_closed() {
    let device = Arc::new(MemoryDevice::new());
    let store = Open::on(device.clone());
    let first = store.make("a").unwrap().ino;
    store.close().unwrap();
    let store = Open::again(device);
    assert_eq!(store.make("b").unwrap().ino, first + 1);
}

#[test]
fn more_numbers_than_one_promise_are_given_out() {
    let device = Arc::new(MemoryDevice::new());
    let store = Open::on(device.clone());
    let (mut last, mut generation) = (0, 0);
    for _ in 0..70_000 {
        let made = store.make("file").unwrap();
        assert!(made.ino > last && made.generation > generation);
        (last, generation) = (made.ino, made.generation);
        store.unlink("file").unwrap();
    }
    store.die();
    let next = Open::again(device).make("file").unwrap().ino;
    assert!(next > last, "{next} after {last}");
}

#[test]
fn handles_of_others_are_bad() {
    let store = Open::on(Arc::new(MemoryDevice::new()));
    let other = Open::on(Arc::new(MemoryDevice::new()));
    let ino = store.make("file").unwrap().ino;
    let handle = handle_of(&store, ino);
    assert_eq!(size_of::<efscrypt_handle>(), 64);
    assert!(handle.len <= 48 && handle.bytes[handle.len as usize..].iter().all(|byte| *byte == 0));
    assert_eq!(by_handle(&store, &handle), S::Ok);
    assert_eq!(by_handle(&other, &handle), S::BadHandle);
    for len in [0, 1, handle.len - 1, handle.len + 1, 60] {
        assert_eq!(by_handle(&store, &efscrypt_handle { len, ..handle }), S::BadHandle, "{len}");
    }
    store.unlink("file").unwrap();
    assert_eq!(by_handle(&store, &handle), S::Stale);
}
