//! `ls` and `cat`: what is in a store.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::Mode;
use serde_json::Value;

use crate::bench::Bench;
use crate::tree::{pattern, set_mode, set_mtime};

/// A store with some of everything.
fn filled() -> Bench {
    let bench = Bench::with_store();
    let inside = |name: &str| bench.path("in").join(name);
    fs::create_dir_all(inside("b/c")).unwrap();
    fs::write(inside("a"), "12345").unwrap();
    fs::write(inside("b/c/deep"), pattern(1, 70_000)).unwrap();
    fs::write(inside("").join(OsStr::from_bytes(b"\xff\n")), "odd").unwrap();
    symlink("b/c", inside("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, inside("pipe"), Mode::RUSR).unwrap();
    set_mode(&inside("a"), 0o4751);
    for name in ["a", "link"] {
        set_mtime(&inside(name), 1_700_000_000, 5);
    }
    bench.ok(&["import", "s", "in"]);
    bench
}

#[test]
fn names_are_sorted_and_come_as_they_are() {
    let bench = filled();
    assert_eq!(bench.bytes(&["ls", "s"]), b"a\nb\nlink\npipe\n\xff\n\n");
    assert_eq!(bench.ok(&["ls", "s", "/b"]), "c\n");
    assert_eq!(bench.ok(&["ls", "s", "b//c/"]), "deep\n");
    assert_eq!(bench.ok(&["ls", "s", "/b/c/deep"]), "deep\n");
    let mut unsorted: Vec<_> =
        bench.bytes(&["ls", "s", "-U"]).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    unsorted.sort();
    assert_eq!(unsorted, [&b""[..], b"", b"a", b"b", b"link", b"pipe", b"\xff"]);
}

#[test]
fn directories_are_gone_into() {
    let bench = filled();
    let listed = bench.bytes(&["ls", "s", "-R"]);
    let expected = &b"/:\na\nb\nlink\npipe\n\xff\n\n\n/b:\nc\n\n/b/c:\ndeep\n"[..];
    assert_eq!(listed, expected, "{}", String::from_utf8_lossy(&listed));
    let listed = bench.ok(&["ls", "s", "-R", "/b"]);
    assert_eq!(listed, "/b:\nc\n\n/b/c:\ndeep\n");
}

#[test]
fn attributes_are_shown() {
    let bench = filled();
    let about = fs::metadata(bench.path("in/a")).unwrap();
    let listed = String::from_utf8_lossy(&bench.bytes(&["ls", "s", "-l"])).into_owned();
    let (uid, gid) = (about.uid(), about.gid());
    let line = |mode: &str, size: u64, name: &str| {
        format!("{mode}   1 {uid:>5} {gid:>5} {size:>12} 2023-11-14T22:13:20Z {name}\n")
    };
    assert!(listed.contains(&line("-rwsr-x--x", 5, "a")), "{listed}");
    assert!(listed.contains(&line("lrwxrwxrwx", 3, "link -> b/c")), "{listed}");
    assert!(listed.contains("\ndrwx") && listed.contains("\npr--"), "{listed}");
    assert_eq!(bench.ok(&["ls", "s", "-l", "/a"]), line("-rwsr-x--x", 5, "a"));
}

#[test]
fn programs_get_json() {
    let bench = filled();
    let listed = bench.json(&["ls", "s", "-R"]);
    let entries = listed.as_array().unwrap();
    assert_eq!(entries.len(), 7);
    let entry = |path: &str| entries.iter().find(|entry| entry["path"] == path).unwrap();
    let a = entry("/a");
    assert_eq!((&a["kind"], &a["size"], &a["mode"]), (&"file".into(), &5.into(), &0o4751.into()));
    assert_eq!(a["mtime"], serde_json::json!([1_700_000_000, 5]));
    assert_eq!(entry("/link")["target"], "b/c");
    assert_eq!(entry("/b/c/deep")["size"], 70_000);
    assert_eq!(
        (&entry("/b")["kind"], &entry("/pipe")["kind"]),
        (&"directory".into(), &"fifo".into())
    );
    let odd = entry("/\u{fffd}\n");
    assert_eq!(odd["path_hex"], "2fff0a");
    assert_eq!(a["path_hex"], Value::Null);
    assert_eq!(bench.json(&["ls", "s", "/b/c/deep"]).as_array().unwrap().len(), 1);
    fs::create_dir(bench.path("empty")).unwrap();
    bench.ok(&["import", "s", "empty", "/empty"]);
    assert_eq!(bench.ok(&["ls", "s", "/empty", "--json"]), "[]\n");
}

#[test]
fn a_name_that_is_not_text_can_be_asked_for() {
    let bench = filled();
    let odd = OsStr::from_bytes(b"/\xff\n");
    let args = |command: &str| [OsString::from(command), "s".into(), odd.to_owned()];
    assert_eq!(bench.bytes(&args("ls")), b"\xff\n\n");
    assert_eq!(bench.bytes(&args("cat")), b"odd");
}

#[test]
fn names_need_no_contents_key() {
    let bench = Bench::new();
    let keys = ["--data-key", "alias/data", "--metadata-key", "alias/meta", "--log", "1"];
    bench.ok(&[&["create", "s"], &keys[..]].concat());
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "x").unwrap();
    symlink("f", bench.path("in/link")).unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["key", "disable", "alias/data"]);
    let listed = bench.ok(&["ls", "s", "-l"]);
    assert!(listed.ends_with(" link\n") && !listed.contains("->"), "{listed}");
    assert_eq!(bench.fail(&["cat", "s", "/f"]).0, 73);
}

#[test]
fn a_listing_that_is_large_comes_whole() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    let names: Vec<_> = (0..3000).map(|i| format!("{i:04}")).collect();
    names.iter().for_each(|name| fs::write(bench.path("in").join(name), "").unwrap());
    bench.ok(&["import", "s", "in"]);
    assert_eq!(bench.ok(&["ls", "s"]).lines().collect::<Vec<_>>(), names);
    let unsorted = bench.ok(&["ls", "s", "-U"]);
    let mut unsorted: Vec<_> = unsorted.lines().collect();
    assert_ne!(unsorted, names);
    unsorted.sort_unstable();
    assert_eq!(unsorted, names);
}

#[test]
fn contents_are_printed_byte_by_byte() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    let files = [0, 1, 2048, 4097, (1 << 20) + 1, 3 << 20];
    for len in files {
        fs::write(bench.path(&format!("in/{len}")), pattern(3, len)).unwrap();
    }
    let sparse = fs::File::create(bench.path("in/sparse")).unwrap();
    sparse.set_len(100_000).unwrap();
    bench.ok(&["import", "s", "in"]);
    for len in files {
        assert!(bench.bytes(&["cat", "s", &format!("/{len}")]) == pattern(3, len), "{len}");
    }
    assert!(bench.bytes(&["cat", "s", "sparse"]) == [0; 100_000]);
}

#[test]
fn what_has_no_contents_is_told_apart() {
    let bench = filled();
    for (path, code, words) in [
        ("/b", 14, "efscrypt ls"),
        ("/", 14, "efscrypt ls"),
        ("/none", 11, "efscrypt ls"),
        ("/a/below", 13, "directory"),
        ("/link/deep", 13, "symbolic links are not followed"),
        ("/pipe", 24, "only regular files"),
        ("/link", 24, "only regular files"),
    ] {
        let (found, message) = bench.fail(&["cat", "s", path]);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(path) && message.contains(words), "{message}");
    }
    let long = format!("/{}", "x".repeat(256));
    assert_eq!(bench.fail(&["cat", "s", &long]).0, 16);
    assert_eq!(bench.fail(&["ls", "s", "/none"]).0, 11);
}

#[test]
fn times_before_1970_are_shown() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "x").unwrap();
    set_mtime(&bench.path("in/f"), -5, 0);
    bench.ok(&["import", "s", "in"]);
    let listed = bench.ok(&["ls", "s", "-l", "/f"]);
    assert!(listed.ends_with("1969-12-31T23:59:55Z f\n"), "{listed}");
    assert_eq!(bench.json(&["ls", "s", "/f"])[0]["mtime"], serde_json::json!([-5, 0]));
}
