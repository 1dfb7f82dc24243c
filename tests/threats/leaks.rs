//! Leak scan: nothing that is secret stands in what was ever written to the device.

use efscrypt::fs::{FileSystem, ROOT_INO, XattrMode};
use efscrypt::{Providers, Rewrap, Store, StoreOptions};

use crate::bed::{DATA, FILE, META, UNIT, open, options, pattern};
use crate::provider::material;
use crate::secrets::Secrets;
use crate::tap::Tap;
use crate::watch::Watch;

/// Secrets that are made as they are needed.
#[derive(Default)]
struct Sentinels {
    count: usize,
    secrets: Secrets,
}

impl Sentinels {
    fn add(&mut self, secret: &[u8]) {
        assert!(self.secrets.add(self.count, secret), "it would not be found");
        self.count += 1;
    }

    /// Where a part of a secret stands.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.secrets.find(bytes).next().map(|(at, _)| at)
    }

    /// A name or text that is looked for.
    fn text(&mut self, kind: &str, n: u64) -> Vec<u8> {
        let random: String = pattern(n, 12).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{kind} {n} {random}").into_bytes();
        self.add(&text);
        text
    }

    fn bytes(&mut self, n: u64, len: usize) -> Vec<u8> {
        let bytes = pattern(n, len);
        // The head, the tail and what lies around the end of the first unit are enough.
        let middle = UNIT.min(len / 2);
        for at in [0, middle.saturating_sub(32), len.saturating_sub(64)] {
            self.add(&bytes[at..len.min(at + 64)]);
        }
        bytes
    }
}

/// Files with a secret in every place where one can be.
fn fill(fs: &FileSystem, secrets: &mut Sentinels) {
    for n in 0..160 {
        let name = secrets.text("name", n);
        let len = [30, 500, 2048, 2049, 9000, 70 * UNIT + 5][n as usize % 6];
        let contents = secrets.bytes(1000 + n, len);
        let dir = match n % 4 {
            0 => fs.mkdir(ROOT_INO, &secrets.text("directory", n), &FILE).unwrap().attr.ino,
            _ => ROOT_INO,
        };
        let ino = fs.create(dir, &name, &FILE, efscrypt::fs::CreateMode::Guarded).unwrap().attr.ino;
        fs.write(ino, 0, &contents).unwrap();
        let (key, value) = (secrets.text("user.attribute", n), secrets.bytes(2000 + n, 3000));
        fs.set_xattr(ino, &key, &value, XattrMode::Create).unwrap();
        let target = secrets.text("target", n);
        fs.symlink(dir, &secrets.text("link", n), &target, &FILE).unwrap();
        if n % 5 == 0 {
            let new = secrets.text("renamed", n);
            fs.rename(dir, &name, dir, &new, efscrypt::fs::RenameMode::Replace).unwrap();
            fs.write(ino, 100, &secrets.bytes(3000 + n, 5000)).unwrap();
            fs.fsync(ino).unwrap();
        }
        if n % 7 == 0 {
            fs.unlink(dir, &name).or_else(|_| fs.remove_xattr(ino, &key)).unwrap();
        }
    }
}

#[test]
fn a_thousand_sentinels_are_nowhere_in_what_was_written() {
    let (device, watch) = (Tap::new(), Watch::with(&[META, DATA]));
    let mut secrets = Sentinels::default();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let named = StoreOptions {
        name: Some(text(secrets.text("store", 1))),
        tags: vec![(text(secrets.text("tag", 2)), text(secrets.text("value", 3)))],
        ..options()
    };
    let providers = Providers::same(watch.clone());
    let store = Store::create(device.clone(), providers, META, DATA, named).unwrap();
    fill(store.file_system(), &mut secrets);
    store.sync().unwrap();
    drop(store);
    // The log is replayed, its rows become nodes, and orphans are freed.
    let store = open(&device, &watch).unwrap();
    while !store.file_system().maintain().unwrap() {}
    store.close().unwrap();

    assert!(secrets.count > 1000, "{} secrets", secrets.count);
    let written = device.writes();
    let bytes: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes > 10 << 20, "{bytes} bytes were written");
    for (offset, bytes) in &written {
        let found = secrets.find(bytes);
        assert!(found.is_none(), "a secret at byte {} of a write at {offset}", found.unwrap());
    }
    assert_eq!(secrets.find(&device.image()), None);
    // The scan is able to find what it looks for.
    let mut planted = device.image();
    planted[700_001..700_017].copy_from_slice(&pattern(1000, 30)[5..21]);
    assert_eq!(secrets.find(&planted), Some(700_001));
}

#[test]
fn no_key_of_a_provider_and_no_kek_is_in_what_was_written() {
    let (device, watch) = (Tap::new(), Watch::with(&[META, DATA, "other"]));
    let store = crate::bed::create(&device, &watch);
    fill(store.file_system(), &mut Sentinels::default());
    store
        .rewrap(Rewrap::new().data(watch.clone(), "other").metadata(watch.clone(), "other"))
        .unwrap();
    store.close().unwrap();
    open(&device, &watch).unwrap().close().unwrap();
    let mut secrets = Sentinels::default();
    [META, DATA, "other"].iter().for_each(|key| secrets.add(&material(key)));
    // Two were made and tried, unwrapped for the rewrap and tried again, and unwrapped to open.
    assert_eq!(watch.keks(), 10);
    for (offset, bytes) in device.writes() {
        assert_eq!(secrets.find(&bytes), None, "write at {offset}");
        assert!(!watch.knows(&bytes), "write at {offset}");
    }
}
