//! Creating is all or nothing, and touches nothing that is not its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use efscrypt::ffi::efscrypt_status as S;
#[cfg(feature = "local-kms")]
use efscrypt::ffi::*;

use crate::bed::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

#[test]
fn a_failed_creation_leaves_no_file_that_it_made() {
    let (dir, path) = scratch();
    let keys = Provider::new(1);
    keys.toy.wrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::KeyDenied);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    keys.toy.wrap_status.store(0, Ordering::SeqCst);
    Open::create(&path, &keys).unwrap().close().unwrap();
    Open::existing(&path, &keys).unwrap().close().unwrap();
}

#[test]
fn a_failed_creation_leaves_an_empty_file_that_was_there() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    fs::write(&path, b"").unwrap();
    let ino = fs::metadata(&path).unwrap().ino();
    keys.toy.wrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::KeyDenied);
    let left = fs::metadata(&path).unwrap();
    assert_eq!((left.ino(), left.len()), (ino, 0));
}

#[test]
fn a_creation_never_touches_what_is_in_a_file() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    fs::write(&path, b"precious").unwrap();
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::Exists);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(keys.toy.wraps.load(Ordering::SeqCst), 0, "a refused creation called the provider");
}

/// What an opening and a creation were answered.
type Seen = (Option<S>, Option<S>);

/// Opens and makes another store of the same name whenever a provider is called.
fn intrude(keys: &Provider, path: &Path) -> Arc<Mutex<Vec<Seen>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (name, noted) = (path.to_owned(), Arc::clone(&seen));
    *keys.toy.hook.lock().unwrap() = Some(Box::new(move || {
        let other = Provider::new(2);
        let closed = |opened: Result<Open, Failure>| match opened {
            Ok(store) => store.close().err().map(|failure| failure.status),
            Err(failure) => Some(failure.status),
        };
        let opened = closed(Open::existing(&name, &other));
        let created = closed(Open::create(&name, &other));
        noted.lock().unwrap().push((opened, created));
    }));
    seen
}

#[test]
fn what_another_put_under_the_name_meanwhile_stays() {
    for (fails, status) in [(true, S::KeyDenied), (false, S::Exists)] {
        let (dir, path) = scratch();
        let keys = Provider::new(1);
        let name = path.clone();
        *keys.toy.hook.lock().unwrap() =
            Some(Box::new(move || fs::write(&name, b"another's").unwrap()));
        if fails {
            keys.toy.wrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
        }
        assert_eq!(Open::create(&path, &keys).err().unwrap().status, status);
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn of_two_that_make_a_store_of_one_name_the_first_to_end_has_it() {
    let (dir, path) = scratch();
    let keys = Provider::new(1);
    let seen = intrude(&keys, &path);
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::Exists);
    let seen = seen.lock().unwrap();
    // There was nothing until then; the second call of the provider finds the other store.
    assert_eq!(seen.first(), Some(&(Some(S::NotFound), None)), "{seen:?}");
    assert!(seen[1..].iter().all(|seen| *seen == (None, Some(S::Exists))), "{seen:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    Open::existing(&path, &Provider::new(2)).unwrap().close().unwrap();
}

#[test]
fn nobody_gets_at_a_store_that_is_being_made_in_a_file_that_was_there() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    fs::write(&path, b"").unwrap();
    let seen = intrude(&keys, &path);
    Open::create(&path, &keys).unwrap().close().unwrap();
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|seen| *seen == (Some(S::InUse), Some(S::InUse))), "{seen:?}");
}

#[cfg(feature = "local-kms")]
fn create_kms(path: &std::path::Path, alias: &str) -> Result<(), Failure> {
    let (path, alias, phrase) = (c_path(path), c(alias), b"correct horse");
    // SAFETY: all pointers are valid.
    call(|error| unsafe {
        let (path, alias) = (path.as_ptr(), alias.as_ptr());
        efscrypt_local_kms_create(path, phrase.as_ptr(), phrase.len(), alias, error)
    })
}

#[cfg(feature = "local-kms")]
#[test]
fn a_key_service_comes_with_its_key_or_not_at_all() {
    let (dir, path) = scratch();
    // An alias has to begin with "alias/".
    assert_eq!(create_kms(&path, "customer").unwrap_err().status, S::InvalidArgument);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
    create_kms(&path, "alias/customer").unwrap();
    let made = fs::read(&path).unwrap();
    assert_eq!(create_kms(&path, "alias/customer").unwrap_err().status, S::Exists);
    assert_eq!(fs::read(&path).unwrap(), made);
    // The service and the room that it keeps for changes on a full disk.
    let spare = path.with_added_extension("reserve");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert_eq!(names, [path.clone(), spare], "something is left");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let nowhere = dir.path().join("none").join("kms");
    assert_eq!(create_kms(&nowhere, "alias/customer").unwrap_err().status, S::Io);
}
