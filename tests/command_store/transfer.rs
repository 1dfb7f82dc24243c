//! Trees go in and come out as they were.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::Mode;

use crate::bench::Bench;
use crate::tree::{facts, names, set_mtime, set_xattrs, xattrs};

/// A tree with one of everything. Returns whether it has extended attributes.
fn plant(root: &Path) -> bool {
    let name = |bytes: &[u8]| root.join("odd").join(OsStr::from_bytes(bytes));
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir_all(root.join("odd")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for len in [0, 1, 100, 2047, 2048, 2049, 4095, 4096, 4097, 70_000, 1 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        fs::write(root.join(format!("a/b/{len}")), bytes).unwrap();
    }
    fs::write(name(b"\xff\xfe\n not text"), "x").unwrap();
    fs::write(name(&[b'n'; 255]), "long").unwrap();
    fs::hard_link(root.join("a/b/4097"), name(b"other name")).unwrap();
    fs::hard_link(root.join("a/b/4097"), root.join("a/third name")).unwrap();
    symlink("../a/b/100", name(b"link")).unwrap();
    symlink("/nowhere/at/all", name(b"dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, name(b"pipe"), Mode::RUSR).unwrap();
    // Who is not root could not import what he may not read.
    let shut = if rustix::process::geteuid().is_root() { 0 } else { 0o400 };
    for (file, mode) in [("a/b/1", 0o4755), ("a/b/100", shut), ("a/b/0", 0o640)] {
        fs::set_permissions(root.join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"in the middle", 40 << 20).unwrap();
    sparse.set_len(64 << 20).unwrap();
    let has = set_xattrs(&root.join("a/b/70000"), &[("user.one", b"1"), ("user.none", b"")])
        && set_xattrs(&root.join("a/b/0"), &[("user.large", &[7; 3000])])
        && set_xattrs(&root.join("empty"), &[("user.of a directory", b"\0\xff")]);
    set_mtime(&root.join("a/b/0"), -5, 123_456_789);
    set_mtime(&root.join("odd/link"), 4_000_000_000, 1);
    set_mtime(&root.join("a"), 1, 999_999_999);
    has
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let bench = Bench::with_store();
    let has_xattrs = plant(&bench.path("in"));
    let before = facts(&bench.path("in"));
    let imported = bench.json(&["import", "s", "in", "/from here", "--verify"]);
    assert_eq!(imported["hard_links"], 2);
    assert_eq!(imported["failed"], 0);
    bench.ok(&["check", "s"]);
    let exported = bench.json(&["export", "s", "out", "--from", "/from here", "--verify"]);
    assert_eq!(exported["files"], imported["files"]);

    let after = facts(&bench.path("out"));
    for (path, facts) in &before {
        assert_eq!(Some(facts), after.get(path), "{}", path.display());
    }
    assert_eq!(before.len(), after.len());
    let kept = after.values().map(|facts| facts.xattrs.len()).sum::<usize>();
    assert_eq!(kept, if has_xattrs { 4 } else { 0 });
    let blocks = fs::metadata(bench.path("out/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "the hole became {blocks} blocks");
    assert!(fs::metadata(bench.path("s")).unwrap().len() < 32 << 20, "a hole takes space");
}

#[test]
fn a_repeated_import_copies_what_changed() {
    let bench = Bench::with_store();
    let has_xattrs = plant(&bench.path("in"));
    let first = bench.json(&["import", "s", "in"]);
    let again = bench.json(&["import", "s", "in"]);
    assert_eq!((again["files"].as_u64(), again["bytes"].as_u64()), (Some(0), Some(0)));
    assert!(again["unchanged"].as_u64() >= first["files"].as_u64(), "{again}");

    // Contents, permissions, attributes, a name that goes elsewhere, and another type.
    fs::write(bench.path("in/a/b/2048"), "new").unwrap();
    set_xattrs(&bench.path("in/a/b/4096"), &[("user.new", b"value")]);
    let mode = fs::Permissions::from_mode(0o444);
    fs::set_permissions(bench.path("in/a/b/4096"), mode).unwrap();
    fs::remove_file(bench.path("in/odd/other name")).unwrap();
    fs::write(bench.path("in/odd/other name"), "by itself").unwrap();
    fs::remove_dir(bench.path("in/empty")).unwrap();
    fs::write(bench.path("in/empty"), "a file now").unwrap();
    let changed = bench.json(&["import", "s", "in", "--verify"]);
    assert_eq!(changed["files"], 3, "{changed}");
    bench.ok(&["export", "s", "out"]);
    assert_eq!(facts(&bench.path("in")), facts(&bench.path("out")));
    let new = xattrs(&bench.path("out/a/b/4096")).len();
    assert_eq!(new, usize::from(has_xattrs));
}

#[test]
fn what_cannot_be_replaced_is_left_and_told() {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/d/below")).unwrap();
    fs::write(bench.path("in/other"), "x").unwrap();
    bench.ok(&["import", "s", "in"]);
    fs::remove_dir_all(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/d"), "a file").unwrap();
    let (code, message) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 15, "{message}");
    assert!(message.contains("in/d"), "{message}");
    assert!(bench.ok(&["ls", "s", "/d"]).contains("below"));
}

#[test]
fn types_change_both_ways() {
    let bench = Bench::with_store();
    let inside = |name: &str| bench.path("in").join(name);
    fs::create_dir_all(inside("from dir")).unwrap();
    fs::write(inside("from file"), "x").unwrap();
    fs::write(inside("to link"), "x").unwrap();
    symlink("x", inside("from link")).unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out"]);
    fs::remove_dir_all(bench.path("in")).unwrap();
    fs::create_dir_all(inside("from file/below")).unwrap();
    fs::create_dir_all(inside("from link/below")).unwrap();
    fs::write(inside("from dir"), vec![7; 10_000]).unwrap();
    symlink("y", inside("to link")).unwrap();
    let imported = bench.json(&["import", "s", "in", "--verify"]);
    assert_eq!(imported["replaced"], 4, "{imported}");
    bench.ok(&["check", "s"]);
    assert_eq!(bench.ok(&["ls", "s"]), "from dir\nfrom file\nfrom link\nto link\n");
    let exported = bench.json(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!(exported["replaced"], 4, "{exported}");
    assert_eq!(facts(&bench.path("in")), facts(&bench.path("out")));
    assert_eq!(names(&bench.path("out")).len(), 4);
}

#[test]
fn few_open_files_are_enough() {
    let bench = Bench::with_store();
    for dir in 0..300 {
        fs::create_dir_all(bench.path(&format!("in/{dir}"))).unwrap();
        fs::write(bench.path(&format!("in/{dir}/f")), "x").unwrap();
        fs::hard_link(bench.path("in/0/f"), bench.path(&format!("in/{dir}/link"))).unwrap();
    }
    for args in [&["import", "s", "in"], &["export", "s", "out"]] {
        let output = bench.limited("-n", 40, &[&args[..], &["--verify"]].concat()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(facts(&bench.path("in")), facts(&bench.path("out")));
}
