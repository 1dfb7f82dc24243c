//! What a store says of itself: descriptions, checks, what opening found.

use std::ffi::CStr;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;
use efscrypt::ffi::*;
use efscrypt::fs::data::FsKey;
use efscrypt::txn::{Class, Edits, FIRST_FS_TREE};

use crate::bed::*;

fn text(pointer: *const std::ffi::c_char) -> String {
    // SAFETY: the library gives strings.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
}

fn recovery(store: &Open) -> efscrypt_recovery {
    let mut found = std::mem::MaybeUninit::uninit();
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_recovery(store.0, found.as_mut_ptr(), error) }).unwrap();
    // SAFETY: written on success.
    unsafe { found.assume_init() }
}

fn check(store: &Open) -> efscrypt_check_report {
    let mut report = std::mem::MaybeUninit::uninit();
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_check(store.0, report.as_mut_ptr(), error) }).unwrap();
    // SAFETY: written on success.
    unsafe { report.assume_init() }
}

#[test]
fn a_description_outlives_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Provider::new(1);
    let (name, key, value) = (c("first"), c("team"), c("storage"));
    let tag = efscrypt_pair { key: key.as_ptr(), value: value.as_ptr() };
    let options =
        efscrypt_options { name: name.as_ptr(), tags: &raw const tag, tags_len: 1, ..options() };
    let store = Open::create_with(&dir.path().join("store"), &keys, &raw const options).unwrap();
    let mut shown = null();
    // SAFETY: all pointers are valid.
    call(|error| unsafe { efscrypt_store_describe(store.0, &raw mut shown, error) }).unwrap();
    store.close().unwrap();
    // SAFETY: it lives until it is freed.
    let description = unsafe { &*shown };
    assert_eq!(text(description.name), "first");
    assert_eq!(description.tags_len, 1);
    // SAFETY: there is one.
    let tag = unsafe { *description.tags };
    assert_eq!((text(tag.key), text(tag.value)), ("team".to_owned(), "storage".to_owned()));
    assert!(description.id != [0; 16] && description.created > 0 && description.format == 1);
    for domain in [&description.metadata, &description.data] {
        assert_eq!((&*text(domain.provider), &*text(domain.key_id)), ("toy", "k"));
        assert_eq!((domain.version, domain.key_state), (1, EFSCRYPT_KEY_ENABLED));
    }
    // SAFETY: made by the library, and freed once.
    unsafe { efscrypt_description_free(shown) };
    // SAFETY: NULL is fine.
    unsafe { efscrypt_description_free(null()) };
}

#[test]
fn a_checkpoint_leaves_nothing_to_recover() {
    let device = Arc::new(MemoryDevice::new());
    let store = Open::on(device.clone());
    store.make("first").unwrap();
    store.commit().unwrap();
    let crashed = Arc::new(device.snapshot());
    // SAFETY: an open store.
    call(|error| unsafe { efscrypt_store_checkpoint(store.0, error) }).unwrap();
    store.die();
    let again = Open::again(crashed);
    let found = recovery(&again);
    assert!(found.records > 0 && found.transactions > 0 && found.bytes > 0, "{found:?}");
    let again = Open::again(device);
    assert_eq!((recovery(&again).records, recovery(&again).transactions), (0, 0));
}

#[test]
fn a_check_counts_and_tells_damage() {
    let device = Arc::new(MemoryDevice::new());
    let store = Open::on(device.clone());
    for name in ["a", "b", "c"] {
        store.make(name).unwrap();
    }
    let report = check(&store);
    assert_eq!((report.clean, report.findings, report.nodes_damaged), (1, 0, 0), "{report:?}");
    assert_eq!((report.inodes, report.directories, report.entries), (4, 1, 3));
    assert!(report.nodes > 0 && report.rows >= 7 && report.units > 0);
    // An inode without its row.
    let ino = store.make("d").unwrap().ino;
    // SAFETY: an open store.
    let fs = unsafe { &*store.0 }.as_ref().file_system();
    let mut edits = Edits::new();
    edits.del(FIRST_FS_TREE, &FsKey::Inode(ino).encode());
    fs.engine().commit(&mut edits, Class::Normal).unwrap();
    let report = check(&store);
    assert!(report.clean == 0 && report.findings > 0, "{report:?}");
}

#[cfg(feature = "local-kms")]
#[test]
fn a_key_service_opens_with_a_key_file_and_gets_more_keys() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| c_path(&dir.path().join(name));
    let (file, key, first, second) = (path("kms"), path("key"), c("alias/one"), c("alias/two"));
    let (file, key) = (file.as_ptr(), key.as_ptr());
    let nowhere = path("none/kms");
    // SAFETY: all pointers are valid.
    let create = |file, alias: &std::ffi::CStr| unsafe {
        call(|error| efscrypt_local_kms_create_with_key_file(file, key, alias.as_ptr(), error))
    };
    assert_eq!(create(nowhere.as_ptr(), &first).unwrap_err().status, S::Io);
    assert!(!dir.path().join("key").exists(), "a key file of no service is left behind");
    create(file, &first).unwrap();
    assert_eq!(create(file, &first).unwrap_err().status, S::Exists);
    let mode = std::fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut keys = std::ptr::null_mut();
    // SAFETY: as above.
    call(|error| unsafe {
        efscrypt_provider_open_local_with_key_file(file, key, &raw mut keys, error)
    })
    .unwrap();
    let mut id = [0; EFSCRYPT_KEY_ID_LEN];
    for wanted in [S::Ok, S::Exists] {
        // SAFETY: as above.
        let made = status(|error| unsafe {
            let (alias, id) = (second.as_ptr(), id.as_mut_ptr());
            efscrypt_local_kms_create_key_with_key_file(file, key, alias, id, error)
        });
        assert_eq!(made, wanted);
    }
    assert_eq!(text(id.as_ptr()).len(), 32);
    let keys = Provider { raw: keys, toy: Provider::new(0).toy };
    assert_eq!(keys.toy.wraps.load(Ordering::SeqCst), 0);
    // The provider that was open before knows the key.
    let (store, at) = (path("store"), &mut std::ptr::null_mut());
    // SAFETY: as above.
    call(|error| unsafe {
        let (keys, options) = (keys.raw, options());
        let (one, two, options) = (first.as_ptr(), id.as_ptr(), &raw const options);
        efscrypt_store_create(store.as_ptr(), options, keys, one, keys, two, at, error)
    })
    .unwrap();
    Open(*at).close().unwrap();
}
