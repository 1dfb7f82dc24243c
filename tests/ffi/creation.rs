//! Creating is all or nothing, and touches nothing that is not its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
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

#[test]
fn what_another_put_under_the_name_meanwhile_stays() {
    let (dir, path) = scratch();
    let keys = Provider::new(1);
    let (name, away) = (path.clone(), dir.path().join("away"));
    let replace = move || {
        fs::rename(&name, &away).unwrap();
        fs::write(&name, b"another's").unwrap();
    };
    *keys.toy.hook.lock().unwrap() = Some(Box::new(replace));
    keys.toy.wrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::KeyDenied);
    assert_eq!(fs::read(&path).unwrap(), b"another's");
}

#[test]
fn nobody_gets_at_a_store_that_is_being_made() {
    let (_dir, path) = scratch();
    let keys = Provider::new(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (name, noted) = (path.clone(), Arc::clone(&seen));
    let intrude = move || {
        let other = Provider::new(2);
        let opened = Open::existing(&name, &other).err().map(|failure| failure.status);
        let created = Open::create(&name, &other).err().map(|failure| failure.status);
        noted.lock().unwrap().push((opened, created));
    };
    *keys.toy.hook.lock().unwrap() = Some(Box::new(intrude));
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
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let nowhere = dir.path().join("none").join("kms");
    assert_eq!(create_kms(&nowhere, "alias/customer").unwrap_err().status, S::Io);
}
