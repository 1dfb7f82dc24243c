//! `check --repair`: what it says, what it asks, what it exits with, and what it writes.

use std::collections::BTreeSet;
use std::fs;

use crate::bench::{Bench, failure};
use crate::tree::pattern;

const SLOT: usize = 16 << 10;

/// A store with files in it.
fn filled() -> Bench {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/large"), pattern(1, 1 << 20)).unwrap();
    (0..300).for_each(|i| fs::write(bench.path(&format!("in/d/{i}")), format!("{i}")).unwrap());
    bench.ok(&["import", "s", "in"]);
    bench
}

/// Zeros the first block of every node of a level, in use or not.
fn zero_level(bench: &Bench, level: u8) {
    let mut bytes = fs::read(bench.path("s")).unwrap();
    for at in (0..bytes.len()).step_by(4096) {
        if bytes[at..].starts_with(b"EFSNODE\x01") && bytes[at + 69] == level {
            bytes[at..at + 4096].fill(0);
        }
    }
    fs::write(bench.path("s"), bytes).unwrap();
}

/// Zeros one block of the leaf that has the names of most files.
fn zero_names(bench: &Bench) -> String {
    let whole = fs::read(bench.path("s")).unwrap();
    let leaves = (0..whole.len())
        .step_by(4096)
        .filter(|at| whole[*at..].starts_with(b"EFSNODE\x01") && whole[at + 69] == 0);
    for at in leaves.collect::<Vec<_>>() {
        let mut bytes = whole.clone();
        bytes[at + 4096..at + 8192].fill(0);
        fs::write(bench.path("s"), &bytes).unwrap();
        let output = bench.command(&["check", "s", "--repair", "--dry-run"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if text.contains("/lost+found/") {
            return text;
        }
    }
    panic!("no leaf has names");
}

#[test]
fn a_sound_store_needs_no_repair() {
    let bench = filled();
    let before = fs::read(bench.path("s")).unwrap();
    let text = bench.ok(&["check", "s", "--repair"]);
    assert_eq!(text, "nothing to repair\n");
    let report = bench.json(&["check", "s", "--repair", "--yes"]);
    assert_eq!((&report["needed"], &report["repaired"]), (&false.into(), &false.into()));
    assert!(fs::read(bench.path("s")).unwrap() == before);
}

#[test]
fn a_store_that_does_not_open_is_explained_and_repaired() {
    let bench = filled();
    zero_level(&bench, 1);
    let before = fs::read(bench.path("s")).unwrap();
    let (code, message) = bench.fail(&["check", "s"]);
    assert_eq!(code, 91, "{message}");
    assert!(message.contains("check --repair"), "{message}");
    let (code, message) = bench.fail(&["ls", "s"]);
    assert_eq!(code, 54, "{message}");
    assert!(message.contains("efscrypt check"), "{message}");

    // Nobody is there to answer.
    let (code, message) = bench.fail(&["check", "s", "--repair"]);
    assert_eq!(code, 2, "{message}");
    assert!(message.contains("--yes"), "{message}");
    let (code, message) = bench.fail(&["check", "s", "--repair", "--dry-run"]);
    assert_eq!(code, 91, "{message}");
    assert!(fs::read(bench.path("s")).unwrap() == before, "nothing is written so far");

    let output = bench.command(&["check", "s", "--repair", "--yes"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(out.contains("tree node at unit") && out.ends_with("\nclean\n"), "{out}");
    let err = String::from_utf8(err).unwrap();
    // Nothing is, but nothing proves it.
    assert!(out.contains("nothing proves that they are the newest"), "{out}");
    assert!(err.contains("store s is repaired; what is lost, or may be, stands above"), "{err}");
    let report = bench.json(&["check", "s"]);
    assert_eq!((&report["clean"], &report["contents"]["files"]), (&true.into(), &301.into()));
}

#[test]
fn what_is_lost_is_said_file_by_file() {
    let bench = filled();
    let planned = zero_names(&bench);
    assert!(planned.ends_with("nothing was written\n"), "{planned}");
    let output = bench.command(&["check", "s", "--repair", "--yes", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["repaired"], true);
    let notes = report["notes"].as_array().unwrap();
    let paths = notes.iter().filter_map(|note| note["path"].as_str());
    let found = paths.filter_map(|path| path.strip_prefix("/lost+found/"));
    let found: BTreeSet<&str> = found.filter(|name| !name.contains('/')).collect();
    let listed = bench.ok(&["ls", "s", "/lost+found"]);
    assert_eq!(listed.lines().collect::<BTreeSet<_>>(), found, "{report}");
    assert!(!found.is_empty() && found.iter().all(|name| name.starts_with("ino-")));
    assert_eq!(bench.json(&["check", "s"])["contents"]["files"], 301);
}

#[test]
fn superblocks_come_back() {
    let bench = filled();
    let mut bytes = fs::read(bench.path("s")).unwrap();
    let generation = |bytes: &[u8], slot: usize| {
        u64::from_le_bytes(bytes[slot * SLOT + 56..][..8].try_into().unwrap())
    };
    let newest = (0..8).max_by_key(|slot| generation(&bytes, *slot)).unwrap();
    bytes[newest * SLOT + 8192..][..4096].fill(0);
    fs::write(bench.path("s"), bytes).unwrap();
    let (code, message) = failure(bench.command(&["check", "s", "--keyless"]).output().unwrap());
    assert_eq!(code, 91, "{message}");
    bench.ok(&["check", "s", "--repair", "--yes"]);
    assert_eq!(bench.json(&["check", "s", "--keyless"])["clean"], true);
}

#[test]
fn damaged_contents_are_not_repaired_and_named() {
    let bench = Bench::with_store();
    let before = fs::read(bench.path("s")).unwrap();
    fs::create_dir_all(bench.path("in")).unwrap();
    fs::write(bench.path("in/large"), pattern(1, 1 << 20)).unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.flip_contents("s", &before);
    let damaged = fs::read(bench.path("s")).unwrap();
    let output = bench.command(&["check", "s", "--repair", "--yes"]).output().unwrap();
    assert_eq!(output.status.code(), Some(92), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("/large: contents are damaged: bytes "), "{text}");
    assert!(text.ends_with("nothing to repair\n"), "{text}");
    assert!(fs::read(bench.path("s")).unwrap() == damaged);
    assert!(bench.ok(&["check", "s", "--repair", "--metadata-only"]).ends_with("to repair\n"));
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let bench = Bench::with_store();
    for args in [
        &["check", "s", "--keyless", "--repair"][..],
        &["check", "s", "--yes"],
        &["check", "s", "--dry-run"],
        &["check", "s", "--repair", "--yes", "--dry-run"],
    ] {
        assert_eq!(bench.fail(args).0, 2, "{args:?}");
    }
}
