//! What provider keys open, and how often they are asked.

use std::sync::Arc;

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::CreateMode;
use efscrypt::{ErrorKind, Providers, Rewrap, Store};

use crate::bed::{DATA, FILE, META, create, open, options};
use crate::watch::Watch;

const SLOT: usize = 16_384;
/// The key slots of a superblock, and one of them.
const KEYS: std::ops::Range<usize> = 128..8576;
const KEY: usize = 2112;

fn device() -> Arc<MemoryDevice> {
    Arc::new(MemoryDevice::new())
}

#[test]
fn opening_takes_two_provider_calls_whatever_the_number_of_files() {
    let mut calls = Vec::new();
    for files in [0, 1, 1500] {
        let (device, watch) = (device(), Watch::with(&[META, DATA]));
        let store = create(&device, &watch);
        assert_eq!(watch.take_calls(), 4, "each KEK is wrapped, and the wrap is tried");
        let fs = store.file_system();
        for n in 0..files {
            let name = format!("{n}");
            fs.create_with(1, name.as_bytes(), &FILE, CreateMode::Guarded, b"text").unwrap();
        }
        store.close().unwrap();
        assert_eq!(watch.take_calls(), 0);
        let store = open(&device, &watch).unwrap();
        calls.push(watch.take_calls());
        for n in 0..files {
            assert_eq!(store.file_system().read_file(format!("/{n}").as_bytes()).unwrap(), b"text");
        }
        store.file_system().write_file(b"/new", &FILE, b"text").unwrap();
        store.close().unwrap();
        assert_eq!(watch.take_calls(), 0);
    }
    assert_eq!(calls, [2; 3]);
}

/// Whether some bytes stand in others.
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

#[test]
fn after_a_rewrap_the_old_keys_open_nothing() {
    let (device, old) = (device(), Watch::with(&[META, DATA]));
    let store = create(&device, &old);
    store.file_system().write_file(b"/file", &FILE, b"text").unwrap();
    // Every slot of the ring holds the old wraps by now.
    for n in 0..10 {
        store.file_system().write_file(b"/file", &FILE, format!("text {n}").as_bytes()).unwrap();
        store.checkpoint().unwrap();
    }
    let copy = device.snapshot();
    let blobs = old.blobs();
    assert!(blobs.len() == 2 && blobs.iter().all(|blob| holds(&copy.to_vec(), blob)));
    let new = Watch::with(&["new meta", "new data"]);
    store
        .rewrap(Rewrap::new().data(new.clone(), "new data").metadata(new.clone(), "new meta"))
        .unwrap();
    assert_eq!((old.take_calls(), new.take_calls()), (6, 4), "wrapped and tried");

    // As it is now, with the store still open, and after it was closed.
    for closing in [false, true] {
        let image = device.to_vec();
        assert!(blobs.iter().all(|blob| !holds(&image, blob)), "an old wrap is left");
        assert!(new.blobs().iter().all(|blob| holds(&image, blob)));
        let now = Arc::new(device.snapshot());
        assert_eq!(open(&now, &old).err().unwrap().kind(), ErrorKind::KeyNotFound);
        let half = Providers::new(new.clone(), old.clone());
        let half = Store::open(now.clone(), half, options());
        assert_eq!(half.err().unwrap().kind(), ErrorKind::KeyNotFound);
        let opened = open(&now, &new).unwrap();
        assert_eq!(opened.file_system().read_file(b"/file").unwrap(), b"text 9");
        if !closing {
            store.file_system().write_file(b"/later", &FILE, b"text").unwrap();
            store.checkpoint().unwrap();
        }
    }
    store.close().unwrap();
    // What a rewrap cannot do: a copy from before is still a store under the old keys.
    let copy = open(&Arc::new(copy), &old).unwrap();
    assert_eq!(copy.file_system().read_file(b"/file").unwrap(), b"text 9");
}

/// The offsets of all slots of the ring that were ever written.
fn slots(device: &MemoryDevice) -> Vec<u64> {
    let places = [0u64, 256 << 10].into_iter();
    let all = places.flat_map(|place| (0..8).map(move |slot| place + slot * SLOT as u64));
    let written = |at: &u64| {
        let mut magic = [0; 8];
        device.read_at(*at, &mut magic).unwrap();
        magic[0] == 0x89
    };
    all.filter(written).collect()
}

/// Changes the key slots of every superblock, and sets the checksums right.
fn forge(device: &MemoryDevice, change: impl Fn(&mut [u8])) {
    for at in slots(device) {
        let mut slot = vec![0; SLOT];
        device.read_at(at, &mut slot).unwrap();
        change(&mut slot[KEYS]);
        slot[124..128].fill(0);
        let crc = crc32fast::hash(&slot);
        slot[124..128].copy_from_slice(&crc.to_le_bytes());
        device.write_at(at, &slot).unwrap();
    }
}

#[test]
fn another_stores_wrapped_keys_do_not_open_this_one() {
    let (ours, theirs) = (device(), device());
    // A provider that binds the context, and one that does not: then the commitment tells.
    for (watch, kind) in [
        (Watch::with(&[META, DATA]), ErrorKind::Corrupt),
        (Watch::careless(&[META, DATA]), ErrorKind::WrongKey),
    ] {
        let (ours, theirs) = (Arc::new(ours.snapshot()), Arc::new(theirs.snapshot()));
        create(&ours, &watch).close().unwrap();
        create(&theirs, &watch).close().unwrap();
        let mut foreign = vec![0; SLOT];
        theirs.read_at(slots(&theirs)[0], &mut foreign).unwrap();
        forge(&ours, |keys| keys.copy_from_slice(&foreign[KEYS]));
        assert_eq!(open(&ours, &watch).err().unwrap().kind(), kind);
        open(&theirs, &watch).unwrap().close().unwrap();
    }
}

#[test]
fn wrapped_keys_of_the_two_domains_cannot_trade_places() {
    for (watch, kind) in [
        (Watch::with(&[META, DATA]), ErrorKind::Corrupt),
        (Watch::careless(&[META, DATA]), ErrorKind::WrongKey),
    ] {
        let device = device();
        create(&device, &watch).close().unwrap();
        forge(&device, |keys| {
            let (meta, data) = keys.split_at_mut(KEY);
            meta.swap_with_slice(&mut data[..KEY]);
            (meta[0], data[0]) = (1, 2);
        });
        assert_eq!(open(&device, &watch).err().unwrap().kind(), kind);
    }
}

#[test]
fn a_wrapped_key_that_was_exchanged_for_an_older_one_is_refused() {
    let (device, watch) = (device(), Watch::with(&[META, DATA, "new"]));
    let store = create(&device, &watch);
    let mut old = vec![0; SLOT];
    device.read_at(slots(&device)[0], &mut old).unwrap();
    store.rewrap(Rewrap::new().data(watch.clone(), "new")).unwrap();
    store.close().unwrap();
    open(&Arc::new(device.snapshot()), &watch).unwrap();
    // The same KEK, wrapped by a key that was replaced: it unwraps, and is no part of this store.
    forge(&device, |keys| keys.copy_from_slice(&old[KEYS]));
    assert_eq!(open(&device, &watch).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn handles_of_another_store_are_refused() {
    let watch = Watch::with(&[META, DATA]);
    let (one, two) = (create(&device(), &watch), create(&device(), &watch));
    let handle = one.file_system().handle_of(1).unwrap();
    assert_eq!(one.file_system().by_handle(&handle).unwrap(), 1);
    let refused = |handle: &[u8]| two.file_system().by_handle(handle).unwrap_err().kind();
    assert_eq!(refused(&handle), ErrorKind::BadHandle);
    // With the other store's id put in, the MAC tells.
    let mut forged = handle;
    forged[8..16].copy_from_slice(&two.file_system().handle_of(1).unwrap()[8..16]);
    assert_eq!(refused(&forged), ErrorKind::BadHandle);
    assert_eq!(refused(&handle[..47]), ErrorKind::BadHandle);
    assert_eq!(refused(&[]), ErrorKind::BadHandle);
}
