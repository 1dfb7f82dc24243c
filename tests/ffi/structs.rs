//! Structs of callers of other versions, and what options do.

use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

/// Options of a version that has more of them.
#[repr(C)]
struct Later {
    now: efscrypt_options,
    more: [u64; 3],
}

#[test]
fn options_of_other_versions_are_understood_or_refused() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    let size = size_of::<Later>();
    let later = |more| Later { now: efscrypt_options { size, ..options() }, more };
    let failure = Open::create_with(&path, &keys, &later([0, 0, 1]).now).err().unwrap();
    assert_eq!(failure.status, S::InvalidArgument);
    assert!(failure.message.contains("later version"), "{failure:?}");
    Open::create_with(&path, &keys, &later([0; 3]).now).unwrap().close().unwrap();
    for size in [0, 1, size_of::<efscrypt_options>() - 1, usize::MAX] {
        let failure = Open::existing_with(&path, &keys, &efscrypt_options { size, ..options() });
        assert_eq!(failure.err().unwrap().status, S::InvalidArgument, "{size}");
    }
}

#[test]
fn no_more_is_read_than_the_size_says() {
    // Only a size, at the very end of what is mapped: a reference to the whole would reach beyond.
    let room = vec![0usize; 1].into_boxed_slice();
    let short = Box::leak(room);
    short[0] = size_of::<usize>();
    let (keys, key, path, mut store) = (Provider::new(1), c("k"), c("/nonexistent"), null_mut());
    // SAFETY: as many bytes are there as the size says.
    let answer = status(|error| unsafe {
        let (options, key, store) = (short.as_ptr().cast(), key.as_ptr(), &raw mut store);
        efscrypt_store_create(path.as_ptr(), options, keys.raw, key, keys.raw, key, store, error)
    });
    assert_eq!(answer, S::InvalidArgument);
    let toy: &'static Toy = Box::leak(Box::default());
    let failure = Provider::of("toy", short.as_ptr().cast(), toy).unwrap_err();
    assert_eq!(failure.status, S::InvalidArgument);
    let smaller = efscrypt_provider_ops { size: OPS.size - 1, ..OPS };
    assert_eq!(Provider::of("toy", &smaller, toy).unwrap_err().status, S::InvalidArgument);
}

#[test]
fn what_callers_receive_has_room_to_stay_as_it_is() {
    assert_eq!(size_of::<efscrypt_time>(), 16);
    assert_eq!(size_of::<efscrypt_attr>(), 192);
    assert_eq!(size_of::<efscrypt_wcc>(), 48 + 192);
    assert_eq!(size_of::<efscrypt_error>(), 8 + 256 + 32);
    assert_eq!(size_of::<efscrypt_statfs>(), 72);
    // What the callers fill in has no hole that nobody sets.
    assert_eq!(size_of::<efscrypt_options>(), 112);
    assert_eq!(size_of::<efscrypt_set_attr>(), 88);
    assert_eq!(size_of::<efscrypt_provider_ops>(), 32);
    assert_eq!(size_of::<efscrypt_rewrap>(), 40);
}

#[test]
fn the_root_directory_of_a_new_store_is_whose_the_options_say() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    let (name, key, value) = (c("a name"), c("tier"), c("gold"));
    let tags = [efscrypt_pair { key: key.as_ptr(), value: value.as_ptr() }];
    let mine = efscrypt_options {
        root_uid: 7,
        root_gid: 8,
        root_mode: 0o1770,
        inode_cache: 100,
        name_cache: 100,
        name: name.as_ptr(),
        tags: tags.as_ptr(),
        tags_len: 1,
        ..options()
    };
    let store = Open::create_with(&path, &keys, &mine).unwrap();
    let root = store.getattr(EFSCRYPT_ROOT).unwrap();
    assert_eq!((root.uid, root.gid, root.mode), (7, 8, 0o041_770));
    // SAFETY: an open store, made by `Box`.
    let inner: &efscrypt_store = unsafe { &*store.0 };
    let described = AsRef::<efscrypt::Store>::as_ref(inner).describe().unwrap();
    assert_eq!(described.name.as_deref(), Some("a name"));
    assert_eq!(described.tags, [("tier".to_owned(), "gold".to_owned())]);
    store.close().unwrap();
    let store = Open::existing(&path, &keys).unwrap();
    assert_eq!(store.getattr(EFSCRYPT_ROOT).unwrap().uid, 7);
    store.close().unwrap();
    for huge in [
        efscrypt_options { name_cache: usize::MAX, ..options() },
        efscrypt_options { inode_cache: usize::MAX, ..options() },
    ] {
        assert_eq!(
            Open::existing_with(&path, &keys, &huge).err().unwrap().status,
            S::InvalidArgument
        );
    }
}

fn setattr(store: &Open, ino: u64, set: *const efscrypt_set_attr) -> S {
    // SAFETY: all pointers are valid.
    status(|error| unsafe { efscrypt_fs_setattr(store.0, ino, set, null_mut(), error) })
}

#[test]
fn attributes_count_where_their_bit_says_so() {
    let store = Open::on(Arc::new(MemoryDevice::new()));
    let ino = store.make("file").unwrap().ino;
    assert_eq!(store.getattr(ino).unwrap().mode, 0o100_600);
    let time = efscrypt_time { seconds: -5, nanoseconds: 6, reserved: 0 };
    let all = efscrypt_set_attr {
        mode: 0o640,
        uid: 7,
        gid: 8,
        file_size: 99,
        atime: time,
        mtime: time,
        ..set_attr()
    };
    let before = store.getattr(ino).unwrap();
    assert_eq!(setattr(&store, ino, &all), S::Ok);
    assert_eq!(store.getattr(ino).unwrap().change, before.change, "nothing was to be set");
    let valid = EFSCRYPT_SET_MODE | EFSCRYPT_SET_SIZE | EFSCRYPT_SET_MTIME;
    assert_eq!(setattr(&store, ino, &efscrypt_set_attr { valid, ..all }), S::Ok);
    let after = store.getattr(ino).unwrap();
    assert_eq!((after.mode, after.uid, after.size, after.mtime), (0o100_640, 0, 99, time));
    assert_eq!(after.atime, before.atime);
    let guarded =
        |guard| efscrypt_set_attr { valid: EFSCRYPT_SET_UID | EFSCRYPT_SET_GUARD, guard, ..all };
    assert_eq!(setattr(&store, ino, &guarded(before.ctime)), S::NotSync);
    assert_eq!(setattr(&store, ino, &guarded(after.ctime)), S::Ok);
    assert_eq!(store.getattr(ino).unwrap().uid, 7);
    let odd = efscrypt_time { reserved: 1, ..time };
    for refused in [
        efscrypt_set_attr { valid: 512, ..all },
        efscrypt_set_attr { valid: 1024, ..all },
        efscrypt_set_attr { reserved: 1, ..all },
        efscrypt_set_attr { valid: EFSCRYPT_SET_ATIME | EFSCRYPT_SET_ATIME_NOW, ..all },
        efscrypt_set_attr { valid: EFSCRYPT_SET_ATIME, atime: odd, ..all },
        efscrypt_set_attr { size: 8, ..all },
    ] {
        assert_eq!(setattr(&store, ino, &refused), S::InvalidArgument);
    }
    assert_eq!(setattr(&store, ino, null()), S::InvalidArgument);
    let sized = efscrypt_set_attr { valid: EFSCRYPT_SET_SIZE, ..all };
    let name = b"new";
    // SAFETY: all pointers are valid.
    let answer = status(|error| unsafe {
        let (set, none) = (&raw const sized, null_mut());
        efscrypt_fs_mkdir(store.0, EFSCRYPT_ROOT, name.as_ptr(), name.len(), set, none, error)
    });
    assert_eq!(answer, S::InvalidArgument);
}
