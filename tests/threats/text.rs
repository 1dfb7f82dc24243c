//! What a program may print holds no key bytes.

use std::fmt::Debug;
use std::sync::Arc;

use efscrypt::check::check;
use efscrypt::crypto::KeyArena;
use efscrypt::device::MemoryDevice;
use efscrypt::keys::{AuditPolicy, Audited, MemoryAudit};
use efscrypt::{Error, Providers, Store};

use crate::bed::{DATA, FILE, META, create, open, options};
use crate::provider::material;
use crate::secrets::{Secrets, WINDOW};
use crate::watch::Watch;

/// Texts, as a program may write them to a log.
#[derive(Default)]
struct Texts(String);

impl Texts {
    fn add(&mut self, value: &impl Debug) {
        self.0 += &format!("{value:?}\n{value:#?}\n");
    }

    fn error(&mut self, error: &Error) {
        self.add(error);
        self.0 += &format!("{error}\n{:?} {}\n", error.kind(), error.errno());
    }

    /// Whether 16 bytes of a key stand in the texts: as bytes, in decimal or hexadecimal.
    fn show(&self, key: &[u8; 32]) -> bool {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
        let mut secrets = Secrets::default();
        assert!(secrets.add(0, key));
        let written = key.windows(WINDOW).any(|part| {
            let (hex, list) = (hex(part), list(part));
            self.0.to_lowercase().contains(&hex)
                || self.0.contains(&list)
                || self.0.contains(&list.replace(", ", ",\n    "))
        });
        written || secrets.find(self.0.as_bytes()).next().is_some()
    }
}

#[test]
fn debug_and_display_show_no_key_bytes() {
    let mut texts = Texts::default();
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    let sink = Arc::new(MemoryAudit::new());
    let audited = Audited::new(watch.clone(), sink.clone(), AuditPolicy::FailClosed);
    let providers = Providers::same(Arc::new(audited));
    let store = Store::create(device.clone(), providers, META, DATA, options()).unwrap();
    let fs = store.file_system();
    texts.add(&fs.write_file(b"/file", &FILE, b"text").unwrap());
    texts.add(&fs.statfs());
    texts.add(&store.describe().unwrap());
    texts.add(&store.recovery());
    texts.add(&check(fs).unwrap());
    texts.add(&fs.engine().usage());
    texts.add(&KeyArena::new().unwrap().status());
    texts.error(&fs.at(b"/none").unwrap_err());
    store.close().unwrap();
    texts.add(&sink.take());
    texts.add(&device);
    texts.add(&options().engine);
    texts.add(&options().context);

    watch.refuse(Some(|| Error::KeyDenied("not you".into())));
    texts.error(&open(&device, &watch).err().unwrap());
    texts.error(&open(&device, &Watch::with(&[])).err().unwrap());
    texts.error(&open(&device, &Watch::careless(&[META, DATA])).err().unwrap());
    let other = Arc::new(MemoryDevice::new());
    let careless = Watch::careless(&[META, DATA]);
    create(&other, &careless).close().unwrap();

    assert!(texts.0.len() > 4000, "{}", texts.0);
    for key in [META, DATA] {
        assert!(!texts.show(&material(key)), "a provider key is shown");
    }
    for part in texts.0.as_bytes().chunks(1 << 16) {
        assert!(!watch.knows(part), "a KEK is shown");
    }
    watch.unmask(|kek| assert!(!texts.show(kek), "a KEK is shown"));
    // The search is able to find what it looks for.
    texts.add(&material(META)[3..21].to_vec());
    assert!(texts.show(&material(META)));
}
