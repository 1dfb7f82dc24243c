//! The example that a newcomer runs first, on trees that hold what real ones do.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../examples/quickstart.rs"]
mod quickstart;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use quickstart::sample::Sample;
use quickstart::show;

/// The program itself is not run: it would take the arguments of this one.
const _: fn() -> std::process::ExitCode = quickstart::main;

/// Files whose bytes stand in any store, or in none; names and things that are hard to store.
fn make(root: &Path) {
    let put = |name: &[u8], bytes: &[u8]| fs::write(root.join(OsStr::from_bytes(name)), bytes);
    for n in 0..40u8 {
        put(format!("zeros and five {n}").as_bytes(), b"\0\0\0\0\0\0\x005").unwrap();
        put(format!("zeros {n}").as_bytes(), &vec![0; 1 << (n % 14)]).unwrap();
        put(format!("tiny {n}").as_bytes(), &[n]).unwrap();
        put(format!("empty file number {n}").as_bytes(), b"").unwrap();
        put(format!("the same in each {n}").as_bytes(), b"a text that stands in each").unwrap();
        put(&[b"not a text \xff\xfe ", &[0x80 + n][..]].concat(), &[n, 0].repeat(3000)).unwrap();
        symlink(format!("a target of link {n}"), root.join(format!("link {n}"))).unwrap();
    }
    put(b"node", b"EFSNODE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    put(b"keys", b"alias/customer alias/service efscrypt:filesystem:id efscrypt:domain").unwrap();
    put(b"large", &(0..3u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    fs::create_dir_all(root.join("deep/er/and empty")).unwrap();
    symlink("..", root.join("deep/loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), 0o600.into()).unwrap();
}

#[test]
fn trees_of_all_kinds_come_back_and_nothing_of_them_shows() {
    let place = tempfile::tempdir().unwrap();
    make(place.path());
    assert!(show(place.path()).unwrap());
}

#[test]
fn a_store_inside_the_tree_is_no_leak() {
    use efscrypt::keys::{LocalKms, Passphrase, Unlock};
    use efscrypt::{Providers, Store, StoreOptions};
    let place = tempfile::tempdir().unwrap();
    let unlock = Unlock::Passphrase(Passphrase::new(b"passphrase".to_vec()).unwrap());
    let kms = LocalKms::init(&place.path().join("kms"), &unlock).unwrap();
    kms.create_key(Some("alias/customer")).unwrap();
    let providers = Providers::same(std::sync::Arc::new(kms));
    let (key, options) = ("alias/customer", StoreOptions::default());
    let store = Store::create_file(place.path().join("store"), providers, key, key, options);
    store.unwrap().close().unwrap();
    assert!(show(place.path()).unwrap());
}

#[test]
fn what_is_no_directory_is_said() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a file");
    let said = |path: &Path| show(path).err().unwrap().to_string();
    assert!(said(&file).contains("a file\": No such file"), "{}", said(&file));
    fs::write(&file, b"text").unwrap();
    assert!(said(&file).contains("a file\" is not a directory"), "{}", said(&file));
}

#[test]
fn what_stands_in_clear_is_found_and_named() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut sample = Sample::default();
    sample.offer("name", Path::new("a/secret"), b"a name of 16 bytes or more");
    sample.offer("contents", Path::new("b"), b"\0\0\0\0\0\0\x005");
    sample.offer("contents", Path::new("c"), &[0; 100]);
    sample.offer("contents", Path::new("d"), b"stands in each store");
    assert_eq!(sample.untold, 2);
    // It lies across the end of a part.
    let mut store = vec![0; 3 << 20];
    store[100..120].copy_from_slice(b"stands in each store");
    store[(1 << 20) - 7..][..26].copy_from_slice(b"a name of 16 bytes or more");
    fs::write(path("store"), &store).unwrap();
    fs::write(path("empty"), &store[..1000]).unwrap();
    let theft = sample.search(&path("store"), &path("empty")).unwrap();
    assert_eq!(theft.bytes, 3 << 20);
    assert!(theft.found >= 1);
    assert_eq!(theft.places[0], "byte 1048569 of store.efs: name of \"a/secret\"");
    assert!(!theft.places.iter().any(|place| place.contains("\"d\"")), "{:?}", theft.places);
}

#[test]
fn a_sample_has_a_bound_and_takes_from_all() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let name = |n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut sample = Sample::default();
    for n in 0..250_000 {
        sample.offer(
            "name",
            Path::new(if n < 1000 { "early" } else { "late" }),
            name(n).as_bytes(),
        );
    }
    File::create(path("empty")).unwrap();
    let names = (0..1000).chain(249_000..250_000);
    fs::write(path("store"), names.map(|n| name(n) + " ").collect::<String>()).unwrap();
    let theft = sample.search(&path("store"), &path("empty")).unwrap();
    assert!((99_000..=100_000).contains(&theft.searched) && theft.offered > 249_000);
    // Two in five of 2,000.
    assert!((700..900).contains(&theft.found), "{}", theft.found);
}
