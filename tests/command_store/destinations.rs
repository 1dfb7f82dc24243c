//! Exports to file systems that hold less than a store, and imports of what lies about its size.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use efscrypt::fs::SetAttr;

use crate::bench::{Bench, failure};
use crate::tree::{names, set_mode, set_mtime};

/// A file system in a file, mounted until it is dropped.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// `None`, said aloud, where this machine or user cannot.
    fn new(bench: &Bench, make: &[&str], mount: &[&str]) -> Option<Mounted> {
        let (image, at) = (bench.path("image"), bench.path("mounted"));
        fs::write(&image, "").unwrap();
        fs::File::options().write(true).open(&image).unwrap().set_len(32 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let run = |args: &[&str], more: &[&Path]| {
            let mut command = Command::new(args[0]);
            let output = command.args(&args[1..]).args(more).output();
            output.is_ok_and(|output| output.status.success())
        };
        if run(make, &[&image]) && run(mount, &[&image, &at]) {
            return Some(Mounted { at });
        }
        eprintln!("SKIPPED: {make:?} or {mount:?} does not work here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "still mounted");
    }
}

/// NTFS whose names fold case, with times of 100 ns.
fn folding(bench: &Bench) -> Option<Mounted> {
    let mount = ["lowntfs-3g", "-o", "ignore_case,permissions,windows_names"];
    Mounted::new(bench, &["mkntfs", "-q", "-F", "-Q"], &mount)
}

fn summary(bench: &Bench, args: &[&str], expected: i32) -> (serde_json::Value, String) {
    let output = bench.command(&[args, &["--json"]].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(expected), "{said}");
    // A verification has an object of its own in it.
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

#[test]
fn names_that_fold_never_become_one_file() {
    let bench = Bench::with_store();
    let Some(_mounted) = folding(&bench) else { return };
    let inside = |name: &str| bench.path("in").join(name);
    for dir in ["Dir", "dir", "d"] {
        fs::create_dir_all(inside(dir)).unwrap();
        fs::write(inside(dir).join("f"), dir).unwrap();
    }
    for (name, text) in
        [("Notes", "one"), ("notes", "two2"), ("d/X", "1"), ("d/x", "2"), ("a:b", "")]
    {
        fs::write(inside(name), text).unwrap();
    }
    std::os::unix::fs::symlink("target", inside("LINK")).unwrap();
    std::os::unix::fs::symlink("other", inside("link")).unwrap();
    fs::hard_link(inside("d/f"), inside("d/F")).unwrap();
    fix(&bench.path("in"));
    bench.ok(&["import", "s", "in"]);

    let to = "mounted/out";
    let (first, said) = summary(&bench, &["export", "s", to, "--verify"], 97);
    assert_eq!((&first["failed"], &first["replaced"]), (&6.into(), &0.into()), "{said}");
    assert_eq!(first["verified"]["failed"], 0, "{said}");
    assert!(said.contains("a:b") && said.contains("takes its name for that of"), "{said}");
    assert_eq!(names(&bench.path(to)).len(), 4);
    // The kernel remembers for a second what names of other case led to.
    let file = |name: &str| {
        std::thread::sleep(std::time::Duration::from_millis(1200));
        fs::read_to_string(bench.path(to).join(name)).unwrap()
    };
    for again in [&["--overwrite", "--verify"][..], &["--overwrite", "--checksum"]] {
        let (report, said) = summary(&bench, &[&["export", "s", to], again].concat(), 97);
        // A name that the server of the file system does not find for a moment is told, too.
        assert!(report["failed"].as_u64() >= Some(6), "{said}");
        assert_eq!(names(&bench.path(to)).len(), 4);
        assert!(["one", "two2"].contains(&&*file("notes")), "of neither");
    }
    // One name of the store may take the place of what only the destination wrote otherwise.
    fs::remove_file(bench.path(to).join("notes")).unwrap();
    fs::write(bench.path(to).join("NOTES"), "mine").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let (report, said) = summary(&bench, &["export", "s", to, "--overwrite"], 97);
    assert!(report["failed"].as_u64() >= Some(6), "{said}");
    assert!(["one", "two2"].contains(&&*file("notes")));
}

fn fix(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| fix(&entry.unwrap().path()));
    }
    set_mtime(path, 1_000_000_000, 0);
}

#[test]
fn coarse_times_are_told_and_are_no_difference() {
    let bench = Bench::with_store();
    let make = ["mkfs.ext4", "-q", "-F", "-I", "128"];
    let Some(_mounted) = Mounted::new(&bench, &make, &["mount", "-o", "loop"]) else { return };
    fs::create_dir_all(bench.path("in/d")).unwrap();
    for (name, seconds, nanoseconds) in [
        ("d/fine", 1_000_000_001, 999_999_999),
        ("whole", 1_000_000_001, 0),
        ("late", 5_000_000_000, 1),
    ] {
        fs::write(bench.path("in").join(name), name).unwrap();
        set_mtime(&bench.path("in").join(name), seconds, nanoseconds);
    }
    set_mtime(&bench.path("in/d"), 1_000_000_000, 5);
    set_mtime(&bench.path("in"), 1_000_000_000, 0);
    bench.ok(&["import", "s", "in"]);
    let (first, said) = summary(&bench, &["export", "s", "mounted/out", "--verify"], 97);
    assert_eq!((&first["files"], &first["incomplete"]), (&3.into(), &3.into()), "{said}");
    assert_eq!((&first["failed"], &first["verified"]["failed"]), (&0.into(), &0.into()), "{said}");
    for told in ["d/fine", "late", "out/d/\""] {
        assert!(said.contains(told), "{said}");
    }
    let again = ["export", "s", "mounted/out", "--overwrite", "--verify"];
    let (again, said) = summary(&bench, &again, 97);
    assert_eq!((&again["files"], &again["unchanged"]), (&0.into(), &3.into()), "{said}");
    assert_eq!((&again["failed"], &again["verified"]["failed"]), (&0.into(), &0.into()), "{said}");
    // Nothing is told where nothing is lost.
    fs::remove_dir_all(bench.path("in/d")).unwrap();
    fs::remove_file(bench.path("in/late")).unwrap();
    set_mtime(&bench.path("in"), 1_000_000_000, 0);
    bench.create("t");
    bench.ok(&["import", "t", "in"]);
    bench.ok(&["export", "t", "mounted/new", "--verify"]);
}

#[test]
fn what_a_destination_does_not_take_does_not_cost_the_rest() {
    let bench = Bench::with_store();
    let Some(_mounted) = folding(&bench) else { return };
    fs::create_dir(bench.path("in")).unwrap();
    let long = "n".repeat(200) + &"\u{e9}".repeat(20);
    for name in ["a?b", "a|b", "plain", &long] {
        fs::write(bench.path("in").join(name), name).unwrap();
    }
    fix(&bench.path("in"));
    bench.ok(&["import", "s", "in"]);
    let (report, said) = summary(&bench, &["export", "s", "mounted/out", "--verify"], 97);
    assert_eq!((&report["files"], &report["failed"]), (&2.into(), &2.into()), "{said}");
    assert_eq!(report["verified"]["failed"], 0, "{said}");
    assert!(said.contains("out/a?b") && said.contains("does not take its name"), "{said}");
}

#[test]
fn a_new_name_replaces_nothing() {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/lost+found")).unwrap();
    fs::write(bench.path("in/lost+found/f"), "x").unwrap();
    bench.ok(&["import", "s", "in"]);
    fs::create_dir_all(bench.path("out/lost+found")).unwrap();
    bench.ok(&["export", "s", "out"]);
    fs::write(bench.path("out/lost+found/f"), "mine").unwrap();
    fs::create_dir_all(bench.path("new/lost+found")).unwrap();
    fs::write(bench.path("new/lost+found/f"), "mine").unwrap();
    let (code, message) = bench.fail(&["export", "s", "new"]);
    assert_eq!(code, 12, "{message}");
    assert_eq!(fs::read(bench.path("new/lost+found/f")).unwrap(), b"mine");
}

#[test]
fn files_that_lie_about_their_size_are_read_to_their_end() {
    let bench = Bench::with_store();
    let checked = |source: &str, into: &str, files: &[&str]| {
        let report = bench.json(&["import", "s", source, into, "--verify"]);
        assert_eq!(report["verified"]["failed"], 0, "{report}");
        for file in files {
            let here = fs::read(Path::new(source).join(file)).unwrap();
            assert!(!here.is_empty());
            assert!(here == bench.bytes(&["cat", "s", &format!("{into}/{file}")]), "{file}");
        }
    };
    checked("/proc/sys/fs/inotify", "/a", &["max_user_watches", "max_queued_events"]);
    // Files of these say that they have 4096 bytes.
    if Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
        let files = ["enabled", "defrag"];
        checked("/sys/kernel/mm/transparent_hugepage", "/b", &files);
    }
    // What was imported empty once is not taken for the same.
    let store = bench.open("s");
    let ino = store.file_system().at(b"a/max_user_watches").unwrap().ino;
    let empty = SetAttr { size: Some(0), ..SetAttr::default() };
    store.file_system().setattr(ino, &empty).unwrap();
    store.close().unwrap();
    checked("/proc/sys/fs/inotify", "/a", &["max_user_watches"]);
}

#[test]
fn a_lack_of_descriptors_is_told_once() {
    let bench = Bench::with_store();
    let mut deep = bench.path("in");
    for _ in 0..60 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    for file in 0..50 {
        fs::write(deep.join(file.to_string()), "x").unwrap();
        fs::write(bench.path("in").join(file.to_string()), "x").unwrap();
    }
    let output = bench.limited("-n", 40, &["import", "s", "in", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (_, message) = failure(output);
    assert_eq!((&report["failed"], &report["stopped"]), (&1.into(), &true.into()), "{message}");
    assert_eq!(message.matches("Too many open files").count(), 1, "{message}");
    assert!(message.contains("ulimit -n") && message.lines().count() <= 4, "{message}");
    bench.ok(&["import", "s", "in", "--verify"]);
}

#[test]
fn what_failed_is_not_among_what_was_copied() {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/shut")).unwrap();
    fs::write(bench.path("in/f"), vec![1; 10_000]).unwrap();
    fs::write(bench.path("in/no"), vec![1; 10_000]).unwrap();
    bench.as_user(&["describe", "s"]).output().unwrap();
    set_mode(&bench.path("in/shut"), 0);
    set_mode(&bench.path("in/no"), 0);
    let output = bench.as_user(&["import", "s", "in", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (code, message) = failure(output);
    assert_eq!(code, 31, "{message}");
    let counts = ["files", "bytes", "directories", "failed"].map(|name| report[name].as_u64());
    assert_eq!(counts, [Some(1), Some(10_000), Some(0), Some(2)], "{message}");
    set_mode(&bench.path("in/shut"), 0o700);
}
