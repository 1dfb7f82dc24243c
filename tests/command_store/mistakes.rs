//! What goes wrong has a code of its own, a message that says what to do, and leaves nothing
//! behind.

use std::fs;

use efscrypt::device::FileDevice;

use crate::bench::{Bench, failure};

/// Runs `describe`, which begins as all others do, and expects a code and words of the message.
fn describe(bench: &Bench, store: &str, code: i32, words: &[&str]) {
    let (found, message) = bench.fail(&["describe", store]);
    assert_eq!(found, code, "{message}");
    for word in [&[store], words].concat() {
        assert!(message.contains(word), "{word:?} in {message}");
    }
}

#[test]
fn what_is_no_store_is_told_apart() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("dir")).unwrap();
    fs::write(bench.path("empty"), "").unwrap();
    fs::write(bench.path("text"), "no store\n".repeat(10_000)).unwrap();
    describe(&bench, "missing", 11, &["efscrypt create"]);
    describe(&bench, "s/below", 13, &["Not a directory"]);
    describe(&bench, "dir", 14, &["directory"]);
    describe(&bench, "empty", 51, &["efscrypt create"]);
    describe(&bench, "text", 51, &["efscrypt create"]);
    describe(&bench, "/dev/null", 2, &["regular file"]);
}

#[test]
fn damage_is_told_apart() {
    let bench = Bench::with_store();
    let whole = fs::read(bench.path("s")).unwrap();
    fs::write(bench.path("short"), &whole[..whole.len() - 4096]).unwrap();
    // What is left can be looked at, and nothing changed.
    bench.ok(&["describe", "short"]);
    let (code, message) = bench.fail(&["rewrap", "short", "--data-key", "alias/data"]);
    assert_eq!(code, 53, "{message}");
    assert!(message.contains("truncated") && message.contains("--give-up-unreadable"), "{message}");
    fs::write(bench.path("half"), &whole[..whole.len() / 2]).unwrap();
    bench.ok(&["describe", "half"]);

    // All superblocks of both places but for their magic numbers.
    let mut forged = whole;
    let blocks: Vec<_> =
        (0..forged.len() / 4096).filter(|i| forged[i * 4096..].starts_with(b"\x89EFSC")).collect();
    assert!(blocks.len() > 1, "no superblocks found");
    for block in blocks {
        forged[block * 4096 + 300] ^= 1;
    }
    fs::write(bench.path("forged"), forged).unwrap();
    describe(&bench, "forged", 54, &["backup"]);
}

#[test]
fn keys_that_do_not_open_are_told_apart() {
    let bench = Bench::with_store();
    bench.ok(&["key", "schedule-deletion", "alias/data", "--days", "7"]);
    describe(&bench, "s", 73, &["pending deletion", "cancel-deletion"]);
    bench.ok(&["key", "cancel-deletion", "alias/data"]);
    describe(&bench, "s", 73, &["disabled", "key enable"]);
    bench.ok(&["key", "enable", "alias/data"]);
    bench.ok(&["describe", "s"]);

    let elsewhere = Bench::new();
    let kms = elsewhere.path("kms");
    let (code, message) = bench.fail(&["describe", "s", "--kms", kms.to_str().unwrap()]);
    assert_eq!(code, 70, "a key file that does not open the service: {message}");
    fs::copy(elsewhere.path("key"), bench.path("key")).unwrap();
    let (code, message) = bench.fail(&["describe", "s", "--kms", kms.to_str().unwrap()]);
    assert_eq!(code, 72);
    assert!(message.contains("--kms"), "{message}");

    let mut passphrase = bench.command(&["describe", "s"]);
    let passphrase = passphrase.env("EFSCRYPT_KMS", "none").output().unwrap();
    assert_eq!(failure(passphrase).0, 11);
}

#[test]
fn a_store_has_one_writer() {
    let bench = Bench::with_store();
    let reader = FileDevice::open(bench.path("s"), true).unwrap();
    bench.ok(&["describe", "s"]);
    let (code, message) = bench.fail(&["rewrap", "s", "--data-key", "alias/meta"]);
    assert_eq!(code, 50);
    assert!(message.contains("in use"), "{message}");
    drop(reader);
    let writer = FileDevice::open(bench.path("s"), false).unwrap();
    assert_eq!(bench.fail(&["create", "s", "--data-key", "alias/data"]).0, 12);
    // Who is about to close it is waited for.
    let closing = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(writer);
    });
    let waited = bench.command(&["describe", "s"]).output().unwrap();
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(waited.status.success() && said.contains("in use"), "{said}");
    assert!(said.contains("waiting up to 5 s"), "{said}");
    closing.join().unwrap();
    bench.ok(&["rewrap", "s", "--data-key", "alias/meta"]);
}

#[test]
fn creation_overwrites_nothing_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let create = |path: &str, key: &str| bench.fail(&["create", path, "--data-key", key]);
    let (code, message) = create("s", "alias/none");
    assert_eq!(code, 72);
    assert!(message.contains("alias/none") && message.contains("key list"), "{message}");
    assert!(!bench.path("s").exists());
    fs::write(bench.path("empty"), "").unwrap();
    assert_eq!(create("empty", "alias/none").0, 72);
    assert_eq!(fs::metadata(bench.path("empty")).unwrap().len(), 0);
    let long = "x".repeat(256);
    assert_eq!(bench.fail(&["create", "s", "--data-key", "alias/data", "--name", &long]).0, 2);
    assert!(!bench.path("s").exists());

    fs::write(bench.path("text"), "precious").unwrap();
    let (code, message) = create("text", "alias/data");
    assert_eq!(code, 12);
    assert!(message.contains("not there"), "{message}");
    assert_eq!(fs::read(bench.path("text")).unwrap(), b"precious");
    fs::create_dir(bench.path("dir")).unwrap();
    assert_eq!(create("dir", "alias/data").0, 14);
    let (code, message) = create("none/s", "alias/data");
    assert_eq!(code, 11);
    assert!(message.contains("directory"), "{message}");

    bench.ok(&["create", "empty", "--data-key", "alias/data"]);
    bench.ok(&["describe", "empty"]);
}

#[test]
fn arguments_are_checked_before_anything_is_done() {
    let bench = Bench::new();
    for args in [
        &["create", "s"][..],
        &["create", "s", "--data-key", "alias/data", "--tag", "no-equals-sign"],
        &["create", "s", "--data-key", "alias/data", "--tag", "=no key"],
        &["create", "s", "--data-key", "alias/data", "--context", "efscrypt:domain=DATA"],
        &["create", "s", "--data-key", "alias/data", "--cache", "0"],
        &["create", "s", "--data-key", "alias/data", "--log", "0"],
        &["rewrap", "s"],
        &["rewrap", "s", "--data-key", "alias/data", "--new-kms", "kms"],
        &["rewrap", "s", "--data-key", "alias/data", "--new-key-file", "key"],
    ] {
        assert_eq!(bench.fail(args).0, 2, "{args:?}");
        assert!(!bench.path("s").exists());
    }
}
