//! `check`: a sound store is clean, and damage is found and told apart.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bench::{Bench, changed_blocks};
use crate::tree::pattern;

/// A store with a large file and a few others, and its bytes before it held them.
fn filled() -> (Bench, Vec<u8>) {
    let bench = Bench::with_store();
    let before = fs::read(bench.path("s")).unwrap();
    fs::create_dir_all(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/large"), pattern(1, 1 << 20)).unwrap();
    (0..100).for_each(|i| fs::write(bench.path(&format!("in/d/{i}")), format!("{i}")).unwrap());
    bench.ok(&["import", "s", "in"]);
    (bench, before)
}

#[test]
fn a_sound_store_is_clean() {
    let (bench, _) = filled();
    let report = bench.json(&["check", "s"]);
    assert_eq!(report["clean"], true);
    assert_eq!(report["contents"]["files"], 101);
    assert_eq!(report["contents"]["bytes"], (1 << 20) + 190);
    assert_eq!((&report["directories"], &report["entries"]), (&2.into(), &102.into()));
    for count in ["units_lost", "units_unrecorded", "units_shared", "orphans"] {
        assert_eq!(report[count], 0, "{count}");
    }
    let text = bench.ok(&["check", "s"]);
    assert!(text.ends_with("101 files read, 1.0 MiB\nclean\n"), "{text}");
    let text = bench.ok(&["check", "s", "--metadata-only"]);
    assert!(text.ends_with("contents were left out\nclean\n"), "{text}");
}

#[test]
fn nothing_is_written_not_even_what_the_log_holds() {
    let (bench, before) = filled();
    let store = bench.open("s");
    store.file_system().unlink(1, b"large").unwrap();
    store.sync().unwrap();
    // Not closed: the log is not empty.
    drop(store);
    let bytes = fs::read(bench.path("s")).unwrap();
    fs::set_permissions(bench.path("s"), fs::Permissions::from_mode(0o400)).unwrap();
    let report = bench.json(&["check", "s"]);
    assert_eq!((&report["clean"], &report["contents"]["files"]), (&true.into(), &100.into()));
    assert!(fs::read(bench.path("s")).unwrap() == bytes);

    fs::set_permissions(bench.path("s"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.flip_contents("s", &before);
    let bytes = fs::read(bench.path("s")).unwrap();
    let _ = bench.command(&["check", "s"]).output().unwrap();
    assert!(fs::read(bench.path("s")).unwrap() == bytes);
}

#[test]
fn damaged_contents_are_named() {
    let (bench, before) = filled();
    bench.flip_contents("s", &before);
    let (code, message) = bench.fail(&["check", "s"]);
    assert_eq!(code, 92, "{message}");
    assert!(message.contains("/large") && !message.contains("/d/"), "{message}");
    assert!(message.contains("backup"), "{message}");
    let output = bench.command(&["check", "s", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["clean"], false);
    let contents = &report["contents"];
    assert_eq!((&contents["damaged"], &contents["files"]), (&1.into(), &100.into()));
    assert_eq!((&contents["failed"], &contents["unread"]), (&0.into(), &0.into()));
    bench.ok(&["check", "s", "--metadata-only"]);
}

#[test]
fn damaged_metadata_is_never_clean() {
    let (bench, before) = filled();
    let whole = fs::read(bench.path("s")).unwrap();
    // Of all that was written, what is no contents: the longest piece is those.
    let changed = changed_blocks(&before, &whole);
    let pieces = changed.chunk_by(|a, b| a + 1 == *b);
    let longest = pieces.clone().map(<[usize]>::len).max().unwrap();
    let others: Vec<usize> =
        pieces.filter(|piece| piece.len() < longest).flatten().copied().collect();
    let mut codes = Vec::new();
    for block in others {
        let mut bytes = whole.clone();
        bytes[block * 4096 + 1000] ^= 0x10;
        fs::write(bench.path("s"), bytes).unwrap();
        let output = bench.command(&["check", "s"]).output().unwrap();
        codes.push(output.status.code().unwrap());
    }
    // The log, and what newer superblocks and nodes took the place of, is not needed any more. A
    // piece may hold the rest of the contents.
    assert!(codes.iter().all(|code| [0, 54, 91, 92].contains(code)), "{codes:?}");
    assert!(codes.contains(&91) || codes.contains(&54), "{codes:?}");
    fs::write(bench.path("s"), whole).unwrap();
    bench.ok(&["check", "s"]);
}

#[test]
fn what_is_damaged_does_not_hide_the_rest() {
    let (bench, before) = filled();
    bench.flip_contents("s", &before);
    let (code, message) = bench.fail(&["export", "s", "out"]);
    assert_eq!(code, 54, "{message}");
    assert!(message.contains("out/large"), "{message}");
    assert!(!bench.path("out/large").exists());
    assert_eq!(fs::read_dir(bench.path("out/d")).unwrap().count(), 100);
}
