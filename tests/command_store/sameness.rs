//! What counts as the same: nothing that was exchanged, by whatever way, is taken for what was
//! copied before, and nothing that stayed is read again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use efscrypt::fs::{RenameMode, SetAttr, SetTime, Time};
use serde_json::Value;

use crate::bench::Bench;
use crate::tree::{facts, set_mtime};

/// Two directories with files of the same names, sizes and times, and others beside them.
fn plant(root: &Path) {
    for (dir, text) in [("current", "version-1"), ("next", "version-2")] {
        fs::create_dir_all(root.join(dir).join("deep")).unwrap();
        fs::write(root.join(dir).join("app"), text).unwrap();
        fs::write(root.join(dir).join("deep/large"), text.repeat(1000)).unwrap();
        fs::write(root.join(dir).join("one"), text).unwrap();
        fs::hard_link(root.join(dir).join("one"), root.join(dir).join("two")).unwrap();
    }
    fix_times(root);
}

/// Every time is the same, as where packages and images are made.
fn fix_times(path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| fix_times(&entry.unwrap().path()));
    }
    set_mtime(path, 1, 0);
}

/// Has everything rest for so long that a later change shows.
fn rest() {
    std::thread::sleep(Duration::from_millis(2200));
}

fn swap(root: &Path, one: &str, other: &str) {
    fs::rename(root.join(one), root.join("meanwhile")).unwrap();
    fs::rename(root.join(other), root.join(one)).unwrap();
    fs::rename(root.join("meanwhile"), root.join(other)).unwrap();
}

fn counts(summary: &Value) -> (u64, u64, u64) {
    let count = |name: &str| summary[name].as_u64().unwrap();
    (count("files"), count("unchanged"), count("compared"))
}

/// A tree that is at rest, in a store, in a directory that was made of that, and nothing to do.
fn settled() -> Bench {
    let bench = Bench::with_store();
    plant(&bench.path("in"));
    rest();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out"]);
    assert_eq!(counts(&import(&bench)), (0, 8, 0));
    // Links moved the times of what was exported.
    assert_eq!(counts(&export(&bench)), (0, 8, 18));
    rest();
    assert_eq!(counts(&export(&bench)).0, 0);
    assert_eq!(counts(&export(&bench)), (0, 8, 0));
    bench
}

fn import(bench: &Bench) -> Value {
    bench.json(&["import", "s", "in"])
}

fn export(bench: &Bench) -> Value {
    bench.json(&["export", "s", "out", "--overwrite"])
}

/// Both copies are what the source is.
fn assert_same(bench: &Bench) {
    import(bench);
    export(bench);
    assert_eq!(facts(&bench.path("in")), facts(&bench.path("out")));
}

#[test]
fn what_is_exchanged_in_the_source_is_copied() {
    let bench = settled();
    let root = bench.path("in");
    for (one, other) in [
        ("current", "next"),
        ("current/deep", "next/deep"),
        ("current/app", "next/app"),
        ("current/one", "next/one"),
    ] {
        swap(&root, one, other);
        fix_times(&root);
        assert_same(&bench);
    }
}

#[test]
fn what_is_exchanged_in_the_store_is_copied() {
    let bench = settled();
    let exchange = |one: &str, other: &str| {
        let store = bench.open("s");
        let fs = store.file_system();
        let (from, to) = (fs.at(b"current").unwrap().ino, fs.at(b"next").unwrap().ino);
        let (one, other) = (one.as_bytes(), other.as_bytes());
        let (from, to) = if one == other { (from, to) } else { (1, 1) };
        fs.rename(from, one, to, other, RenameMode::Exchange).unwrap();
        for name in [&b""[..], b"current", b"next"] {
            let mtime = Some(SetTime::At(Time { seconds: 1, nanoseconds: 0 }));
            let ino = fs.at(name).unwrap().ino;
            fs.setattr(ino, &SetAttr { mtime, ..SetAttr::default() }).unwrap();
        }
        store.close().unwrap();
    };
    for (one, other) in [("current", "next"), ("deep", "deep"), ("app", "app")] {
        exchange(one, other);
        export(&bench);
        let of = |file: &str| bench.ok(&["cat", "s", file]);
        for file in ["/current/app", "/next/deep/large"] {
            let there = fs::read_to_string(bench.path("out").join(&file[1..])).unwrap();
            assert_eq!(there, of(file), "{file} after {one}");
        }
        // The source is what it was: all of it has to come back.
        assert_same(&bench);
    }
}

#[test]
fn what_is_exchanged_in_the_destination_is_copied() {
    let bench = settled();
    let root = bench.path("out");
    for (one, other) in
        [("current", "next"), ("current/deep", "next/deep"), ("current/app", "next/app")]
    {
        swap(&root, one, other);
        fix_times(&root);
        assert_same(&bench);
    }
    fs::write(root.join("current/app"), "VERSION-1").unwrap();
    set_mtime(&root.join("current/app"), 1, 0);
    assert_same(&bench);
}

#[test]
fn another_source_of_equal_times_is_compared() {
    let bench = settled();
    let other = bench.path("other");
    plant(&other);
    fs::write(other.join("current/app"), "VERSION-1").unwrap();
    fix_times(&other);
    rest();
    let imported = bench.json(&["import", "s", "other", "--verify"]);
    assert_eq!(imported["files"], 1, "{imported}");
    // And back: what is known of one source says nothing of the other.
    assert_eq!(counts(&import(&bench)).0, 1);
    assert_same(&bench);
}

#[test]
fn what_is_restored_elsewhere_is_compared_and_not_copied() {
    let bench = settled();
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").args([bench.path("in"), bench.path("restored")]);
    assert!(copy.status().unwrap().success());
    rest();
    let again = || counts(&bench.json(&["import", "s", "restored"]));
    let bytes = 2 * (9 + 9 + 9000);
    assert_eq!(again(), (0, 8, bytes));
    assert_eq!(again(), (0, 8, 0));
}

#[test]
fn without_a_files_cache_all_is_compared_and_nothing_copied() {
    let bench = settled();
    let bytes = 2 * (9 + 9 + 9000);
    assert_eq!(counts(&bench.json(&["import", "s", "in", "--no-files-cache"])), (0, 8, bytes));
    fs::remove_dir_all(bench.path("caches")).unwrap();
    assert_eq!(counts(&import(&bench)), (0, 8, bytes));
    assert_eq!(counts(&import(&bench)), (0, 8, 0));
    assert_eq!(counts(&export(&bench)), (0, 8, bytes));
    // Garbage is none, and what others may write to is not used.
    let caches = bench.path("caches/efscrypt");
    for entry in fs::read_dir(&caches).unwrap() {
        fs::write(entry.unwrap().path(), "garbage").unwrap();
    }
    assert_eq!(counts(&import(&bench)), (0, 8, bytes));
    crate::tree::set_mode(&caches, 0o777);
    assert_eq!(counts(&import(&bench)), (0, 8, bytes));
    let (code, message) =
        bench.fail(&["import", "s", "in", "--files-cache", caches.to_str().unwrap()]);
    assert_eq!(code, 31, "{message}");
    assert!(message.contains("files cache") && message.contains("--no-files-cache"), "{message}");
}

#[test]
fn a_store_that_went_back_is_compared() {
    let bench = settled();
    // One state of the store goes two ways: the same numbers, other contents.
    fs::copy(bench.path("s"), bench.path("kept")).unwrap();
    fs::write(bench.path("in/current/app"), "version-3").unwrap();
    fix_times(&bench.path("in"));
    rest();
    import(&bench);
    fs::copy(bench.path("kept"), bench.path("s")).unwrap();
    fs::rename(bench.path("in"), bench.path("away")).unwrap();
    plant(&bench.path("in"));
    fs::write(bench.path("in/current/app"), "version-4").unwrap();
    fix_times(&bench.path("in"));
    bench.ok(&["import", "s", "in", "--no-files-cache"]);
    fs::rename(bench.path("in"), bench.path("there")).unwrap();
    fs::rename(bench.path("away"), bench.path("in")).unwrap();
    import(&bench);
    assert_eq!(bench.ok(&["cat", "s", "/current/app"]), "version-3");
}

#[test]
fn an_import_leaves_out_its_own_files_cache() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "x").unwrap();
    let import = |_: u32| {
        let mut command = bench.command(&["import", "s", "in", "--verify", "--json"]);
        let output = command.env("XDG_CACHE_HOME", bench.path("in")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    for run in 0..2 {
        assert_eq!(import(run)["left_out"], 1);
    }
    let made = fs::read_dir(bench.path("in/efscrypt")).unwrap().next().unwrap().unwrap();
    assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(bench.path("in/efscrypt").metadata().unwrap().mode() & 0o7777, 0o700);
}
