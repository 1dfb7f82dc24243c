//! Names and attributes in memory that was given back.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::{CreateMode, ROOT_INO, RenameMode, XattrMode};
use zeroize::{Zeroize, Zeroizing};

use crate::bed::{DATA, FILE, META, create, open};
use crate::memory::in_memory;
use crate::watch::Watch;

/// What names and attributes have in common, masked, so that looking for it does not find itself.
struct Sentinel([u8; 16]);

impl Sentinel {
    fn new() -> Sentinel {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).unwrap();
        // Letters, as names have.
        bytes.iter_mut().for_each(|byte| *byte = (b'a' + *byte % 26) ^ 0xa5);
        Sentinel(bytes)
    }

    /// So many copies of it behind a number. Wiped on drop.
    fn text(&self, number: usize, copies: usize) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(16 * copies + 8));
        text.extend_from_slice(format!("{number:08}").as_bytes());
        for _ in 0..copies {
            text.extend(self.0.iter().map(|byte| byte ^ 0xa5));
        }
        text
    }

    fn knows(&self, bytes: &[u8]) -> bool {
        bytes.windows(16).any(|window| window.iter().zip(self.0).all(|(a, b)| *a == b ^ 0xa5))
    }
}

#[test]
fn names_and_attributes_are_gone_from_memory_when_a_store_is_closed() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    let sentinel = Sentinel::new();
    let store = create(&device, &watch);
    let fs = store.file_system();
    let mode = CreateMode::Guarded;
    for number in 0..400 {
        let name = sentinel.text(number, 2);
        let made = fs.create(ROOT_INO, &name, &FILE, mode).unwrap();
        let ino = made.attr.ino;
        for copies in [3, 400] {
            let (name, value) = (sentinel.text(copies, 1), sentinel.text(number, copies));
            fs.set_xattr(ino, &[b"user.", &name[..8]].concat(), &value, XattrMode::Either).unwrap();
        }
        let listed = sentinel.text(number, 1);
        let user = Zeroizing::new([b"user.", &listed[..]].concat());
        fs.set_xattr(ino, &user, b"value", XattrMode::Either).unwrap();
    }
    // In the log, and read back from it.
    store.sync().unwrap();
    drop(store);
    let store = open(&device, &watch).unwrap();
    let fs = store.file_system();
    for number in 0..400 {
        let name = sentinel.text(number, 2);
        let ino = fs.lookup(ROOT_INO, &name).unwrap().ino;
        let value = Zeroizing::new(fs.get_xattr(ino, b"user.00000400").unwrap());
        assert_eq!(value.len(), 8 + 16 * 400);
        fs.list_xattrs(ino).unwrap().iter_mut().for_each(|name| name.zeroize());
        let to = sentinel.text(number + 1000, 9);
        match number % 3 {
            0 => drop(fs.unlink(ROOT_INO, &name).unwrap()),
            1 => drop(fs.rename(ROOT_INO, &name, ROOT_INO, &to, RenameMode::Replace).unwrap()),
            _ => drop(fs.remove_xattr(ino, b"user.00000400").unwrap()),
        }
    }
    let mut names = 0;
    fs.read_dir(ROOT_INO, 0, |_| {
        names += 1;
        true
    })
    .unwrap();
    assert!(names > 200);
    efscrypt::check::check(fs).unwrap();
    assert!(in_memory(|bytes| sentinel.knows(bytes)), "names are in memory while it is open");
    store.close().unwrap();
    assert!(!in_memory(|bytes| sentinel.knows(bytes)), "a name or a value is left");
}
