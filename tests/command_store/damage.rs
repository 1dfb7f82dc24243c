//! A directory of which a part is damaged: all the rest of it is shown, checked and copied.

use std::fs;

use efscrypt::fs::{CreateMode, NewAttr, ROOT_INO};

use crate::bench::Bench;
use crate::tree::names;

const NODE: usize = 16 << 10;
/// Where the clear header of a node says its level.
const LEVEL: usize = 69;
/// More than one read of a directory takes, several times.
const NAMES: usize = 3000;
/// More names than these no leaf holds.
const NAMES_OF_A_LEAF: usize = 90;

/// A store whose root directory has so many names that each leaf holds few of them.
fn crowded() -> Bench {
    let bench = Bench::with_store();
    let store = bench.open("s");
    let new = NewAttr { mode: 0o644, ..NewAttr::default() };
    let fs = store.file_system();
    let first = fs.create(ROOT_INO, b"f", &new, CreateMode::Guarded).unwrap().attr.ino;
    for n in 1..NAMES {
        fs.link(first, ROOT_INO, format!("{n:0200}").as_bytes()).unwrap();
    }
    store.close().unwrap();
    bench
}

/// Damages leaves, one after the other, until one is found by whose loss the listing is shorter.
/// Returns how many names are left.
fn damage_a_leaf(bench: &Bench) -> usize {
    let whole = fs::read(bench.path("s")).unwrap();
    let leaf = |at: &usize| whole[*at..].starts_with(b"EFSNODE\x01") && whole[*at + LEVEL] == 0;
    let leaves: Vec<_> = (0..whole.len() - NODE).step_by(4096).filter(leaf).collect();
    // Those at the ends may hold other rows.
    for at in leaves.iter().skip(leaves.len() / 3) {
        let mut bytes = whole.clone();
        bytes[at + 5000] ^= 1;
        fs::write(bench.path("s"), bytes).unwrap();
        let output = bench.command(&["ls", "s"]).output().unwrap();
        let listed = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        if output.status.code() == Some(54) && listed > 0 {
            return listed;
        }
    }
    panic!("no damage was met in {} leaves", leaves.len());
}

#[test]
fn a_damaged_leaf_costs_its_own_names() {
    let bench = crowded();
    let listed = damage_a_leaf(&bench);
    assert!(listed < NAMES && listed + NAMES_OF_A_LEAF > NAMES, "{listed} names were listed");
    let (code, message) = bench.fail(&["ls", "s"]);
    assert_eq!(code, 54);
    assert_eq!(message.matches("cannot list /").count(), 1, "{message}");
    let output = bench.command(&["ls", "s", "-U"]).output().unwrap();
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), listed);

    let (code, message) = bench.fail(&["export", "s", "out"]);
    assert_eq!(code, 54, "{message}");
    assert_eq!(names(&bench.path("out")).len(), listed);
    let output = bench.command(&["check", "s", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(91));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["contents"]["files"], listed);
}
