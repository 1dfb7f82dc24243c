//! A directory of which a part is damaged: all the rest of it is shown, checked and copied.

use std::fs;

use efscrypt::fs::{CreateMode, NewAttr, ROOT_INO};

use crate::bench::{Bench, failure};
use crate::tree::{names, pattern};

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
    // Programs need not read prose.
    let (findings, facts) = (&report["findings"], report["facts"].as_array().unwrap());
    assert_eq!(facts.len(), findings.as_array().unwrap().len());
    let node = facts.iter().find(|fact| fact["kind"] == "node").unwrap();
    assert!(node["unit"].as_u64().unwrap() > 0, "{node}");
    let links = facts.iter().find(|fact| fact["kind"] == "links").unwrap();
    assert_eq!((&links["ino"], &links["stored"]), (&2.into(), &NAMES.into()), "{links}");
}

#[test]
fn a_damaged_file_is_copied_with_zeros_if_that_is_asked_for() {
    let bench = Bench::with_store();
    let before = fs::read(bench.path("s")).unwrap();
    let (whole, other) = (pattern(1, 1 << 20), pattern(2, 1 << 20));
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), &whole).unwrap();
    fs::write(bench.path("in/g"), "other").unwrap();
    bench.ok(&["import", "s", "in"]);
    let sound = fs::read(bench.path("s")).unwrap();
    bench.flip_contents("s", &before);

    let args = ["export", "s", "out", "--keep-damaged", "--json"];
    let output = bench.command(&args).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (code, message) = failure(output);
    assert_eq!(code, 54, "{message}");
    assert_eq!((&report["files"], &report["damaged"]), (&2.into(), &1.into()), "{report}");
    let copy = fs::read(bench.path("out/f")).unwrap();
    let differs = |at: &usize| copy[*at..at + 4096] != whole[*at..at + 4096];
    let lost: Vec<_> = (0..whole.len()).step_by(4096).filter(differs).collect();
    assert_eq!((copy.len(), lost.len()), (whole.len(), 1));
    assert!(copy[lost[0]..lost[0] + 4096] == [0; 4096]);
    let range = format!("zeros stand for bytes {}-{}\"", lost[0], lost[0] + 4095);
    assert!(message.contains(&range) && message.contains("out/f"), "{message}");
    assert_eq!(bench.fail(&["cat", "s", "/f"]).0, 54);

    // What has the name already may be the only good copy: it stays.
    fs::write(bench.path("out/f"), &other).unwrap();
    let again = ["export", "s", "out", "--keep-damaged", "--overwrite"];
    assert_eq!(bench.fail(&again).0, 54);
    assert!(fs::read(bench.path("out/f")).unwrap() == other);

    // A copy with zeros is never taken for a good one.
    fs::remove_file(bench.path("out/f")).unwrap();
    assert_eq!(bench.fail(&again).0, 54);
    fs::write(bench.path("s"), sound).unwrap();
    let report = bench.json(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!((&report["replaced"], &report["unchanged"]), (&1.into(), &1.into()), "{report}");
    assert!(fs::read(bench.path("out/f")).unwrap() == whole);
}
