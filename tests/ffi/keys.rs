//! Key services by callbacks: what the library makes of their answers, and when it believes them.

use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering;

use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;

use crate::bed::*;

fn rewrap(store: &Open, to: &Provider) -> Result<(), Failure> {
    let (key, to) = (c("new"), to.raw);
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_rewrap(store.0, &rewrap_to(to, &key, to, &key), error) })
}

#[test]
fn each_domain_goes_under_the_key_of_its_name_and_the_other_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (old, new, key) = (Provider::new(1), Provider::new(2), c("new"));
    let store = Open::create(&path, &old).unwrap();
    // SAFETY: all pointers are valid, or NULL where that is allowed.
    let to = |to: *const _| call(|error| unsafe { efscrypt_store_rewrap(store.0, to, error) });
    assert_eq!(to(null()).unwrap_err().status, S::InvalidArgument);
    let wrong = efscrypt_rewrap { size: 8, ..rewrap_to(new.raw, &key, null(), &key) };
    assert_eq!(to(&wrong).unwrap_err().status, S::InvalidArgument);
    to(&rewrap_to(null(), &key, null(), &key)).unwrap();
    assert_eq!((calls(&old).1, calls(&new)), (2, (0, 0)), "only those of the creation");
    to(&rewrap_to(null(), &key, new.raw, &key)).unwrap();
    store.close().unwrap();
    // Names under the old key, contents under the new one.
    open(&path, false, &old, new.raw).unwrap().close().unwrap();
    assert!(open(&path, false, &new, old.raw).is_err());
}

fn calls(keys: &Provider) -> (usize, usize) {
    (keys.toy.wraps.swap(0, Ordering::SeqCst), keys.toy.unwraps.swap(0, Ordering::SeqCst))
}

#[test]
fn a_wrap_that_does_not_open_never_replaces_one_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (old, new) = (Provider::new(1), Provider::new(2));
    let store = Open::create(&path, &old).unwrap();
    store.make("file").unwrap();
    // It refuses, it gives another key, it answers what it wrapped does not authenticate.
    new.toy.unwrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
    assert_eq!(rewrap(&store, &new).unwrap_err().status, S::KeyDenied);
    new.toy.unwrap_status.store(S::Corrupt as u32, Ordering::SeqCst);
    assert_eq!(rewrap(&store, &new).unwrap_err().status, S::Corrupt);
    new.toy.unwrap_status.store(0, Ordering::SeqCst);
    new.toy.lies.store(1, Ordering::SeqCst);
    assert_eq!(rewrap(&store, &new).unwrap_err().status, S::WrongKey);
    store.close().unwrap();
    let store = Open::existing(&path, &old).unwrap();
    new.toy.lies.store(0, Ordering::SeqCst);
    calls(&old);
    calls(&new);
    rewrap(&store, &new).unwrap();
    assert_eq!((calls(&old), calls(&new)), ((0, 2), (2, 2)));
    store.close().unwrap();
    assert_eq!(Open::existing(&path, &old).err().unwrap().status, S::Corrupt);
    calls(&old);
    calls(&new);
    Open::existing(&path, &new).unwrap().close().unwrap();
    assert_eq!(calls(&new), (0, 2));
}

#[test]
fn no_store_is_made_of_a_key_that_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    keys.toy.lies.store(1, Ordering::SeqCst);
    assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::WrongKey);
    assert!(!path.exists());
    keys.toy.lies.store(0, Ordering::SeqCst);
    calls(&keys);
    Open::create(&path, &keys).unwrap().close().unwrap();
    assert_eq!(calls(&keys), (2, 2));
}

#[test]
fn statuses_of_callbacks_keep_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    Open::create(&path, &keys).unwrap().close().unwrap();
    for answer in
        [S::KeyNotFound, S::KeyDisabled, S::KeyDenied, S::KeyUnreachable, S::WrongKey, S::Corrupt]
    {
        keys.toy.unwrap_status.store(answer as u32, Ordering::SeqCst);
        assert_eq!(Open::existing(&path, &keys).err().unwrap().status, answer);
    }
    keys.toy.unwrap_status.store(4711, Ordering::SeqCst);
    let failure = Open::existing(&path, &keys).err().unwrap();
    assert_eq!(failure.status, S::KeyDenied);
    assert!(failure.message.contains("4711"), "{failure:?}");
}

#[test]
fn a_blob_of_no_or_of_too_many_bytes_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    for (len, word) in
        [(0, "blob_len"), (EFSCRYPT_BLOB_LEN + 1, "too long"), (usize::MAX - 1, "too")]
    {
        keys.toy.blob_len.store(len + 1, Ordering::SeqCst);
        let failure = Open::create(&path, &keys).err().unwrap();
        assert_eq!(failure.status, S::InvalidArgument);
        assert!(failure.message.contains(word), "{failure:?}");
    }
}

#[test]
fn the_store_keeps_the_id_that_the_service_gives_not_the_alias() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    Open::create(&path, &keys).unwrap().close().unwrap();
    assert_eq!(*keys.toy.asked.lock().unwrap(), "k");
    let path = dir.path().join("other");
    *keys.toy.id.lock().unwrap() = Some(c("id-of-k"));
    Open::create(&path, &keys).unwrap().close().unwrap();
    Open::existing(&path, &keys).unwrap().close().unwrap();
    assert_eq!(*keys.toy.asked.lock().unwrap(), "id-of-k");
    for bad in ["", "a\nb"] {
        let path = dir.path().join("bad");
        *keys.toy.id.lock().unwrap() = Some(c(bad));
        assert_eq!(Open::create(&path, &keys).err().unwrap().status, S::InvalidArgument);
    }
}

#[test]
fn a_provider_that_cannot_be_is_refused_and_its_userdata_stays_the_callers() {
    let toy: &'static Toy = Box::leak(Box::default());
    let long = "a".repeat(65);
    for name in ["", "Toy", "a b", long.as_str()] {
        let failure = Provider::of(name, &OPS, toy).unwrap_err();
        assert_eq!(failure.status, S::InvalidArgument, "{name}");
    }
    assert_eq!(toy.frees.load(Ordering::SeqCst), 0);
    let raw = Provider::of("toy", &OPS, toy).unwrap();
    // SAFETY: made by the library, and not freed before.
    unsafe { efscrypt_provider_free(raw) };
    assert_eq!(toy.frees.load(Ordering::SeqCst), 1);
}

#[test]
fn a_context_is_needed_again_to_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    let (key, value, other) = (c("tenant"), c("acme"), c("other"));
    let pair = [efscrypt_pair { key: key.as_ptr(), value: value.as_ptr() }];
    let wrong = [efscrypt_pair { key: key.as_ptr(), value: other.as_ptr() }];
    let with = |pairs: &[efscrypt_pair]| efscrypt_options {
        context: pairs.as_ptr(),
        context_len: pairs.len(),
        ..options()
    };
    Open::create_with(&path, &keys, &with(&pair)).unwrap().close().unwrap();
    Open::existing_with(&path, &keys, &with(&pair)).unwrap().close().unwrap();
    for wrong in [options(), with(&wrong)] {
        assert_eq!(Open::existing_with(&path, &keys, &wrong).err().unwrap().status, S::Corrupt);
    }
    let none = efscrypt_options { context: null(), ..with(&pair) };
    assert_eq!(Open::existing_with(&path, &keys, &none).err().unwrap().status, S::InvalidArgument);
}

#[test]
fn every_call_of_an_audited_provider_leaves_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (path, log) = (dir.path().join("store"), c_path(&dir.path().join("audit")));
    let inner = Provider::new(1);
    let (who, mut raw) = (c("uid 7"), null_mut());
    // SAFETY: all pointers are valid.
    call(|error| unsafe {
        let raw = &raw mut raw;
        efscrypt_provider_audit(inner.raw, log.as_ptr(), who.as_ptr(), raw, error)
    })
    .unwrap();
    let toy = inner.toy;
    let audited = Provider { raw, toy };
    // The inner one may go: the other keeps what it needs.
    drop(inner);
    assert_eq!(toy.frees.load(Ordering::SeqCst), 0);
    Open::create(&path, &audited).unwrap().close().unwrap();
    toy.unwrap_status.store(S::KeyDisabled as u32, Ordering::SeqCst);
    assert_eq!(Open::existing(&path, &audited).err().unwrap().status, S::KeyDisabled);
    let verify = || {
        let mut records = u64::MAX;
        // SAFETY: all pointers are valid.
        let answer =
            call(|error| unsafe { efscrypt_audit_verify(log.as_ptr(), &raw mut records, error) });
        answer.map(|()| records)
    };
    // Made and unwrapped for each domain, and one refusal.
    assert_eq!(verify(), Ok(5));
    let text = std::fs::read_to_string(dir.path().join("audit")).unwrap();
    assert_eq!(text.matches("uid 7").count(), 5, "{text}");
    std::fs::write(dir.path().join("audit"), text.replacen("uid 7", "uid 8", 1)).unwrap();
    assert_eq!(verify().unwrap_err().status, S::Corrupt);
    // What cannot be recorded is not done.
    toy.unwrap_status.store(0, Ordering::SeqCst);
    std::fs::write(dir.path().join("audit"), "").unwrap();
    assert_eq!(Open::existing(&path, &audited).err().unwrap().status, S::Corrupt);
    drop(audited);
    assert_eq!(toy.frees.load(Ordering::SeqCst), 1);
}

/// Opens a store with a provider for names, and one for contents or none.
fn open(
    path: &std::path::Path,
    optional: bool,
    metadata: &Provider,
    data: *const efscrypt_provider,
) -> Result<Open, Failure> {
    let (path, mut store) = (c_path(path), null_mut());
    let options = efscrypt_options { data_optional: u8::from(optional), ..options() };
    // SAFETY: all pointers are valid.
    call(|error| unsafe {
        let store = &raw mut store;
        efscrypt_store_open(path.as_ptr(), &raw const options, metadata.raw, data, store, error)
    })?;
    Ok(Open(store))
}

fn has_data_key(store: &Open) -> bool {
    let mut available = false;
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_has_data_key(store.0, &raw mut available, error) })
        .unwrap();
    available
}

#[test]
fn whoever_has_only_the_key_of_names_opens_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let keys = Provider::new(1);
    let store = Open::create(&path, &keys).unwrap();
    let file = store.make("file").unwrap().ino;
    store.write(file, 0, b"text").unwrap();
    assert!(has_data_key(&store));
    store.close().unwrap();

    let other = Provider { raw: Provider::of("other", &OPS, keys.toy).unwrap(), toy: keys.toy };
    for (data, required) in [(null(), S::InvalidArgument), (other.raw.cast_const(), S::WrongKey)] {
        assert_eq!(open(&path, false, &keys, data).err().unwrap().status, required);
        let store = open(&path, true, &keys, data).unwrap();
        assert!(!has_data_key(&store));
        assert_eq!(store.getattr(file).unwrap().size, 4);
        assert_eq!(store.read(file, 0, 4).unwrap_err().status, S::KeyUnavailable);
        store.close().unwrap();
    }
}

#[test]
fn contents_are_locked_and_unlocked() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Provider::new(1);
    let store = Open::create(&dir.path().join("store"), &keys).unwrap();
    let file = store.make("file").unwrap().ino;
    store.write(file, 0, b"text").unwrap();
    // SAFETY: an open store.
    call(|error| unsafe { efscrypt_store_lock_data(store.0, error) }).unwrap();
    assert!(!has_data_key(&store));
    assert_eq!(store.read(file, 0, 4).unwrap_err().status, S::KeyUnavailable);
    // SAFETY: as above.
    let unlock = || call(|error| unsafe { efscrypt_store_unlock_data(store.0, error) });
    keys.toy.unwrap_status.store(S::KeyDenied as u32, Ordering::SeqCst);
    assert_eq!(unlock().unwrap_err().status, S::KeyDenied);
    assert!(!has_data_key(&store));
    keys.toy.unwrap_status.store(0, Ordering::SeqCst);
    unlock().unwrap();
    assert_eq!(store.read(file, 0, 9).unwrap(), (b"text".to_vec(), true));
    store.close().unwrap();
}
