//! Extended attributes that the machine does not take, or gives out itself.

use std::fs;

use efscrypt::fs::XattrMode;

use crate::bench::{Bench, failure};
use crate::tree::set_xattrs;

/// A name that a store takes, and no system.
const ODD: &[u8] = b"user.";

/// A store with the files `f` and `g`. The first has an attribute that no system takes.
fn store() -> Bench {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "text").unwrap();
    fs::write(bench.path("in/g"), "other").unwrap();
    bench.ok(&["import", "s", "in"]);
    let store = bench.open("s");
    let fs = store.file_system();
    let ino = fs.at(b"f").unwrap().ino;
    fs.set_xattr(ino, ODD, b"nonsense", XattrMode::Either).unwrap();
    store.close().unwrap();
    bench
}

#[test]
fn what_a_file_does_not_take_does_not_cost_the_file() {
    let bench = store();
    for again in [&[][..], &["--overwrite"]] {
        let args = [&["export", "s", "out", "--json"], again].concat();
        let output = bench.command(&args).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let (code, message) = failure(output);
        assert_eq!(code, 97, "{message}");
        assert!(message.contains("out/f") && !message.contains("out/g"), "{message}");
        assert!(message.contains("attribute user. cannot") && message.contains("--no-xattrs"));
        assert_eq!((&report["failed"], &report["incomplete"]), (&0.into(), &1.into()), "{report}");
        let done = if again.is_empty() { "files" } else { "unchanged" };
        assert_eq!(report[done], 2, "{report}");
        assert_eq!(fs::read(bench.path("out/f")).unwrap(), b"text");
    }
    let (code, message) = bench.fail(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!(code, 97);
    assert!(message.contains("cannot verify") && message.contains("attributes"), "{message}");
    bench.ok(&["export", "s", "out", "--overwrite", "--no-xattrs", "--verify"]);
    bench.ok(&["export", "s", "new", "--no-xattrs", "--verify"]);
}

#[test]
fn attributes_are_left_out_on_both_ways() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "text").unwrap();
    let has = set_xattrs(&bench.path("in/f"), &[("user.one", b"1")]);
    bench.ok(&["import", "s", "in", "--no-xattrs", "--verify"]);
    let store = bench.open("s");
    let fs = store.file_system();
    assert!(fs.list_xattrs(fs.at(b"f").unwrap().ino).unwrap().is_empty());
    store.close().unwrap();
    let report = bench.json(&["import", "s", "in", "--verify"]);
    assert_eq!(report["unchanged"], 1, "{report}");
    let store = bench.open("s");
    let kept = store.file_system().list_xattrs(store.file_system().at(b"f").unwrap().ino);
    assert_eq!(kept.unwrap().len(), usize::from(has));
    store.close().unwrap();
}

#[test]
fn what_the_system_gives_to_a_file_stays() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "text").unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out"]);
    let (path, none) = (bench.path("out/f"), rustix::fs::XattrFlags::empty());
    if rustix::fs::setxattr(&path, "trusted.label", b"x", none).is_err() {
        // Only root of the whole machine may.
        return;
    }
    let report = bench.json(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!(report["unchanged"], 1, "{report}");
    assert_eq!(rustix::fs::getxattr(&path, "trusted.label", &mut [0; 9]), Ok(1));
}
