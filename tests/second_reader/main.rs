//! The format document is enough: a second reader, written from `src/format/FORMAT.md` alone and
//! without the crate's code, finds in stores what the crate says is in them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;
#[path = "../kit/provider.rs"]
mod provider;
mod reader;

use std::collections::BTreeMap;

use bed::{DATA, META, create, fill, open, truth};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::{Rewrap, Store};
use reader::{Node, Reader};

/// Unwraps what the test provider wrapped, by its own means.
fn unwrap(provider: &str, key: &str, blob: &[u8], context: &[u8]) -> reader::Result<[u8; 32]> {
    if provider != "toy" || blob.len() != 60 {
        return Err("a blob of another provider".into());
    }
    let seal = reader::Seal::new(&provider::material(key));
    let mut kek = blob[12..44].to_vec();
    seal.open(&blob[..12], context, &mut kek, &blob[44..])?;
    kek.try_into().map_err(|_| "length of a KEK".into())
}

/// Compares what the second reader finds in an image with what the crate said.
fn compare(image: &[u8], want: &BTreeMap<Vec<u8>, Node>) -> u64 {
    let reader = Reader::open(image, &unwrap).unwrap();
    let found = reader.files().unwrap();
    let names: Vec<_> = found.keys().collect();
    assert_eq!(names, want.keys().collect::<Vec<_>>());
    for (path, node) in want {
        let path_text = String::from_utf8_lossy(path);
        assert!(found[path].contents == node.contents, "contents of {path_text}");
        assert_eq!(found[path], *node, "{path_text}");
    }
    reader.check_space().unwrap();
    reader.records
}

/// Handles and properties, which the second reader makes for itself.
fn compare_store(image: &[u8], store: &Store) {
    let reader = Reader::open(image, &unwrap).unwrap();
    let properties: Vec<_> = reader.properties().into_iter().collect();
    let want = [("n", "the store's name"), ("t:empty", ""), ("t:team", "storage")];
    assert_eq!(properties, want.map(|(key, value)| (key.into(), value.into())));
    let fs = store.file_system();
    for node in truth(fs).values() {
        let handle = reader.handle(node.ino, node.generation);
        assert_eq!(fs.handle_of(node.ino).unwrap(), handle);
        assert_eq!(fs.by_handle(&handle).unwrap(), node.ino);
    }
}

#[test]
fn a_closed_store_is_what_the_document_says() {
    let (device, store) = create();
    fill(store.file_system(), 1);
    let want = truth(store.file_system());
    assert!(want.len() > 220);
    store.close().unwrap();
    assert_eq!(compare(&device.to_vec(), &want), 0, "a closed store has an empty log");

    // Later epochs, over space that was used before.
    for seed in 2..4 {
        let store = open(&device, &[META, DATA]);
        let fs = store.file_system();
        let old = fs.at(format!("/tree {}/deep/er", seed - 1).as_bytes()).unwrap().ino;
        for name in ["size 1310797", "attributes", "short link", "holes"] {
            fs.unlink(old, name.as_bytes()).unwrap();
        }
        fill(fs, seed);
        assert!(fs.maintain().unwrap());
        let want = truth(fs);
        compare_store(&device.to_vec(), &store);
        store.close().unwrap();
        compare(&device.to_vec(), &want);
    }
}

#[test]
fn a_log_is_replayed_as_the_document_says() {
    let (device, store) = create();
    let fs = store.file_system();
    fill(fs, 1);
    store.checkpoint().unwrap();
    let mut most = 0;
    // More than a lap of the ring.
    for n in 0..220 {
        let path = format!("/file {}", n % 50);
        fs.write_file(
            path.as_bytes(),
            &Default::default(),
            &bed::pattern(n, 900 * n as usize % 30_000),
        )
        .unwrap();
        if n % 7 == 0 {
            fs.unlink(1, format!("file {}", n % 50).as_bytes()).unwrap();
        }
        store.sync().unwrap();
        if n % 20 == 19 {
            most = most.max(compare(&device.to_vec(), &truth(fs)));
        }
    }
    assert!(most > 20, "{most} records");
    let want = truth(fs);
    drop(store);
    compare(&device.to_vec(), &want);
    // The crate replays the same.
    let store = open(&device, &[META, DATA]);
    assert!(store.recovery().records > 0);
    assert!(truth(store.file_system()) == want);
}

#[test]
fn contents_that_are_missing_end_the_log_as_the_document_says() {
    let (device, store) = create();
    let fs = store.file_system();
    fs.write_file(b"/first", &Default::default(), &bed::pattern(1, 30_000)).unwrap();
    store.sync().unwrap();
    let (before, want) = (device.to_vec(), truth(fs));
    fs.write_file(b"/second", &Default::default(), &bed::pattern(2, 30_000)).unwrap();
    store.sync().unwrap();
    let after = device.to_vec();
    assert!(truth(fs).len() > want.len());
    drop(store);

    // The record reached the medium, the contents did not, and no flush returned.
    let pool = 512 * 1024 + (1 << 20);
    let mut torn = after.clone();
    for (at, unit) in after.chunks(4096).enumerate().map(|(n, unit)| (n * 4096, unit)) {
        if at >= pool && before.get(at..at + 4096) != Some(unit) {
            torn[at..at + 4096].fill(0);
        }
    }
    // What was created and cut to nothing before its contents is there; the contents are not.
    let reader = Reader::open(&torn, &unwrap).unwrap();
    let found = reader.files().unwrap();
    assert_eq!(found[&b"/first"[..]], want[&b"/first"[..]]);
    assert!(found.get(&b"/second"[..]).is_none_or(|node| node.contents.is_empty()));
    let device = std::sync::Arc::new(MemoryDevice::from_bytes(&torn));
    let store = open(&device, &[META, DATA]);
    assert!(truth(store.file_system()) == found);
}

#[test]
fn a_log_with_a_gap_is_refused_by_both_readers() {
    let (device, store) = create();
    let fs = store.file_system();
    store.checkpoint().unwrap();
    let before = device.to_vec();
    for n in 0..5 {
        fs.write_file(format!("/{n}").as_bytes(), &Default::default(), b"small").unwrap();
        store.sync().unwrap();
    }
    drop(store);
    let mut image = device.to_vec();
    let log = 512 * 1024..512 * 1024 + (1 << 20);
    let changed: Vec<usize> =
        log.step_by(4096).filter(|&at| before[at..at + 4096] != image[at..at + 4096]).collect();
    assert_eq!(changed.len(), 5);
    assert!(Reader::open(&image, &unwrap).is_ok());
    image[changed[2] + 100] ^= 1;
    assert!(Reader::open(&image, &unwrap).is_err());
    let device = std::sync::Arc::new(MemoryDevice::from_bytes(&image));
    let toy = provider::Toy::with(&[META, DATA]);
    let opened = Store::open(device, efscrypt::Providers::same(toy), bed::options());
    assert_eq!(opened.err().unwrap().kind(), efscrypt::ErrorKind::Corrupt);
}

#[test]
fn a_rewrapped_store_is_read_under_its_new_keys() {
    let (device, store) = create();
    store.file_system().write_file(b"/file", &Default::default(), &bed::pattern(1, 9000)).unwrap();
    let new = provider::Toy::with(&["new meta", "new data"]);
    let want = truth(store.file_system());
    store.rewrap(Rewrap::new().data(new.clone(), "new data").metadata(new, "new meta")).unwrap();
    store.close().unwrap();
    compare(&device.to_vec(), &want);
    let store = open(&device, &["new meta", "new data"]);
    assert!(truth(store.file_system()) == want);
    store.close().unwrap();
    compare(&device.to_vec(), &want);
}

#[test]
fn the_meta_key_alone_shows_names_and_no_contents() {
    let (device, store) = create();
    let fs = store.file_system();
    let contents = b"contents of a small file, which are kept in the tree";
    fs.write_file(b"/a name that META shows", &Default::default(), contents).unwrap();
    fs.symlink(1, b"link", b"/the target of a link", &Default::default()).unwrap();
    store.close().unwrap();
    let image = device.to_vec();
    let reader = Reader::open(&image, &unwrap).unwrap();
    let shows = |text: &[u8]| reader.rows().any(|row| memchr::memmem::find(row, text).is_some());
    assert!(shows(b"a name that META shows"));
    for text in [&contents[..8], &contents[30..40], b"the target", b"of a link"] {
        assert!(!shows(text), "{}", String::from_utf8_lossy(text));
    }
    let files = reader.files().unwrap();
    assert_eq!(files[&b"/a name that META shows"[..]].contents, contents);
    assert_eq!(files[&b"/link"[..]].contents, b"/the target of a link");
}

#[test]
fn the_second_reader_refuses_what_was_changed() {
    let (device, store) = create();
    store.file_system().write_file(b"/file", &Default::default(), &bed::pattern(1, 9000)).unwrap();
    let want = truth(store.file_system());
    store.close().unwrap();
    let image = device.to_vec();
    let pool = 512 * 1024 + (1 << 20);
    let mut refused = 0;
    let live = (pool..image.len()).step_by(997).filter(|&at| image[at] != 0);
    for at in live {
        let mut changed = image.clone();
        changed[at] ^= 0x20;
        match Reader::open(&changed, &unwrap).and_then(|reader| reader.files()) {
            Ok(found) => assert!(found == want, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{refused}");
    assert!(device.len().unwrap() == image.len() as u64);
}
