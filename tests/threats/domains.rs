//! The META key without the DATA key: names and attributes, and no contents.

use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::{CreateMode, FileSystem, RenameMode, SetAttr, XattrMode};
use efscrypt::{Error, ErrorKind, Providers, Rewrap, Store};

use crate::bed::{DATA, FILE, META, UNIT, create, options, pattern, without_data};
use crate::watch::{Refusal, Watch};

const REFUSALS: [Refusal; 5] = [
    || Error::KeyNotFound("data key".into()),
    || Error::KeyDisabled { id: "data key".into(), state: "disabled" },
    || Error::KeyDenied("not you".into()),
    || Error::KeyUnreachable("no answer".into()),
    // Of another service.
    || Error::WrongKey(efscrypt::Object::WrappedKey),
];

/// Sizes of the files: in the tree, in one unit, in many.
const SIZES: [usize; 3] = [700, UNIT, 70 * UNIT + 5];

fn name(size: usize) -> Vec<u8> {
    format!("file of {size}").into_bytes()
}

/// A store with files and a link, whose last change is in the log alone.
fn make(device: &Arc<MemoryDevice>, watch: &Arc<Watch>) {
    let store = create(device, watch);
    let fs = store.file_system();
    for size in SIZES {
        let bytes = pattern(size as u64, size);
        let made = fs.create_with(1, &name(size), &FILE, CreateMode::Guarded, &bytes).unwrap();
        fs.set_xattr(made.attr.ino, b"user.a", b"value", XattrMode::Create).unwrap();
    }
    fs.symlink(1, b"link", b"target", &FILE).unwrap();
    store.checkpoint().unwrap();
    fs.mkdir(1, b"dir", &FILE).unwrap();
    store.sync().unwrap();
}

/// What works without contents.
fn work(fs: &FileSystem) {
    let mut names = Vec::new();
    let end = fs.read_dir(1, 2, |entry| {
        names.push(entry.name.to_vec());
        true
    });
    assert!(end.unwrap() && names.len() == SIZES.len() + 2);
    for size in SIZES {
        let attr = fs.lookup(1, &name(size)).unwrap();
        assert_eq!((attr.size, attr.mode, attr.uid), (size as u64, 0o640, 7));
        assert_eq!(fs.get_xattr(attr.ino, b"user.a").unwrap(), b"value");
        fs.set_xattr(attr.ino, b"user.b", b"new", XattrMode::Create).unwrap();
        fs.setattr(attr.ino, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
        assert_eq!(fs.seek_hole(attr.ino, 0).unwrap(), Some(size as u64));
    }
    let dir = fs.lookup(1, b"dir").unwrap().ino;
    fs.rename(1, &name(SIZES[0]), dir, b"moved", RenameMode::NoReplace).unwrap();
    let second = fs.lookup(1, &name(SIZES[1])).unwrap().ino;
    fs.link(second, dir, b"linked").unwrap();
    fs.unlink(1, &name(SIZES[1])).unwrap();
    let third = fs.lookup(1, &name(SIZES[2])).unwrap().ino;
    fs.setattr(third, &SetAttr { size: Some(10 * UNIT as u64), ..SetAttr::default() }).unwrap();
    fs.unlink(1, b"link").unwrap();
    fs.create(1, b"empty", &FILE, CreateMode::Guarded).unwrap();
    assert!(fs.maintain().unwrap());
}

/// What needs contents.
fn contents(fs: &FileSystem) {
    let refused = |kind: ErrorKind| assert_eq!(kind, ErrorKind::KeyUnavailable);
    for path in [&b"/dir/moved"[..], b"/dir/linked", &[b"/", &name(SIZES[2])[..]].concat()] {
        let ino = fs.at(path).unwrap().ino;
        let mut buf = vec![0xee; 6000];
        refused(fs.read(ino, 0, &mut buf).unwrap_err().kind());
        let len = fs.getattr(ino).unwrap().size.min(6000) as usize;
        assert!(buf[..len].iter().all(|byte| *byte == 0), "bytes of {path:?} were given out");
        refused(fs.write(ino, 0, b"x").unwrap_err().kind());
    }
    let empty = fs.at(b"/empty").unwrap().ino;
    refused(fs.write(empty, 0, b"x").unwrap_err().kind());
    refused(fs.symlink(1, b"new link", b"target", &FILE).unwrap_err().kind());
    let made = fs.create_with(1, b"with contents", &FILE, CreateMode::Guarded, b"text");
    refused(made.unwrap_err().kind());
    for gone in [&b"new link"[..], b"with contents"] {
        assert_eq!(fs.lookup(1, gone).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn without_the_data_key_names_work_and_contents_do_not() {
    for refusal in REFUSALS {
        let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
        make(&device, &watch);
        let refusing = Watch::with(&[META, DATA]);
        refusing.refuse(Some(refusal));
        let providers = Providers::new(watch.clone(), refusing);
        let needed = Store::open(device.clone(), providers.clone(), options());
        assert_eq!(needed.err().unwrap().kind(), refusal().kind());
        // The log is replayed without the contents key, too.
        let store = Store::open(device.clone(), providers, without_data()).unwrap();
        assert!(store.recovery().transactions > 0);
        work(store.file_system());
        contents(store.file_system());
        let report = check(store.file_system()).unwrap();
        assert!(report.is_clean(), "{report:?}");
        store.rewrap(Rewrap::new().metadata(watch.clone(), META)).unwrap();
        store.close().unwrap();

        let store = crate::bed::open(&device, &watch).unwrap();
        let fs = store.file_system();
        assert!(fs.read_file(b"/dir/moved").unwrap() == pattern(SIZES[0] as u64, SIZES[0]));
        assert!(fs.read_file(b"/dir/linked").unwrap() == pattern(SIZES[1] as u64, SIZES[1]));
        let cut = fs.read_file(&[b"/", &name(SIZES[2])[..]].concat()).unwrap();
        assert!(cut == pattern(SIZES[2] as u64, SIZES[2])[..10 * UNIT]);
    }
}

#[test]
fn without_the_meta_key_nothing_opens() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    make(&device, &watch);
    let before = device.to_vec();
    for refusal in REFUSALS {
        let refusing = Watch::with(&[META, DATA]);
        refusing.refuse(Some(refusal));
        let providers = Providers::new(refusing, watch.clone());
        let opened = Store::open(device.clone(), providers, without_data());
        assert_eq!(opened.err().unwrap().kind(), refusal().kind());
    }
    assert!(device.to_vec() == before, "an open that failed wrote something");
}

#[test]
fn nobody_need_be_asked_for_the_data_key() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    make(&device, &watch);
    let providers = || Providers::metadata_only(watch.clone());
    let needed = Store::open(device.clone(), providers(), options());
    assert_eq!(needed.err().unwrap().kind(), ErrorKind::KeyUnavailable);
    let empty = Arc::new(MemoryDevice::new());
    let made = Store::create(empty.clone(), providers(), META, DATA, without_data());
    assert_eq!(made.err().unwrap().kind(), ErrorKind::KeyUnavailable);
    assert!(empty.to_vec().iter().all(|byte| *byte == 0));

    let store = Store::open(device.clone(), providers(), without_data()).unwrap();
    assert!(!store.has_data_key());
    assert!(store.describe().unwrap().data.key.is_none());
    work(store.file_system());
    contents(store.file_system());
    for refused in [store.unlock_data(), store.rewrap(Rewrap::new().data(watch.clone(), DATA))] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }
    store.close().unwrap();
    crate::bed::open(&device, &watch).unwrap();
}

#[test]
fn an_open_store_is_locked_and_unlocked() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    make(&device, &watch);
    let store = crate::bed::open(&device, &watch).unwrap();
    let fs = store.file_system();
    let whole = [&b"/"[..], &name(SIZES[2])].concat();
    assert!(fs.read_file(&whole).unwrap() == pattern(SIZES[2] as u64, SIZES[2]));
    for _ in 0..2 {
        store.lock_data().unwrap();
        assert!(!store.has_data_key());
        assert_eq!(fs.read_file(&whole).unwrap_err().kind(), ErrorKind::KeyUnavailable);
    }
    work(fs);
    contents(fs);
    // A service that refuses leaves it locked.
    watch.refuse(Some(REFUSALS[2]));
    assert_eq!(store.unlock_data().unwrap_err().kind(), ErrorKind::KeyDenied);
    assert!(!store.has_data_key());
    watch.refuse(None);
    store.unlock_data().unwrap();
    assert!(store.has_data_key());
    let cut = fs.read_file(&whole).unwrap();
    assert!(cut == pattern(SIZES[2] as u64, SIZES[2])[..10 * UNIT]);
    fs.write_file(b"/new", &FILE, b"text").unwrap();
    store.close().unwrap();
}
