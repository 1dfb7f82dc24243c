//! What an export does to what is there already, and what users without rights get.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::{FileType, Mode};

use crate::bench::{Bench, failure};
use crate::tree::{facts, names, pattern, set_mode, set_mtime, set_xattrs, xattrs};

/// A store with the large file `f`, exported to `out`; and the store's bytes before it held it.
fn exported() -> (Bench, Vec<u8>) {
    let bench = Bench::with_store();
    let before = fs::read(bench.path("s")).unwrap();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), pattern(1, 1 << 20)).unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out"]);
    (bench, before)
}

#[test]
fn the_old_copy_stays_until_there_is_a_new_one() {
    let (bench, before) = exported();
    // A disk that is full: the new copy cannot be written.
    let old = pattern(2, 50_000);
    fs::write(bench.path("out/f"), &old).unwrap();
    let command = bench.with_full_disk(500, &["export", "s", "out", "--overwrite"]).output();
    let (code, message) = failure(command.unwrap());
    assert_eq!(code, 19, "{message}");
    assert!(message.contains("out/f"), "{message}");
    assert!(fs::read(bench.path("out/f")).unwrap() == old, "the old copy is gone");
    assert_eq!(names(&bench.path("out")), ["f"], "something is left behind");

    // A store that is damaged: the old copy may be the only good one.
    bench.flip_contents("s", &before);
    let (code, message) = bench.fail(&["export", "s", "out", "--overwrite"]);
    assert_eq!(code, 54, "{message}");
    assert!(fs::read(bench.path("out/f")).unwrap() == old, "the old copy is gone");
    assert_eq!(names(&bench.path("out")), ["f"], "something is left behind");
}

#[test]
fn nothing_is_mixed_or_replaced_without_being_asked_for() {
    let (bench, _) = exported();
    fs::write(bench.path("out/f"), "newer than in the store").unwrap();
    fs::write(bench.path("out/mine"), "only here").unwrap();
    let (code, message) = bench.fail(&["export", "s", "out"]);
    assert_eq!(code, 15, "{message}");
    assert!(message.contains("out") && message.contains("--overwrite"), "{message}");
    assert_eq!(fs::read(bench.path("out/f")).unwrap(), b"newer than in the store");

    let report = bench.json(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!((&report["files"], &report["replaced"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["verified"]["only_in_copy"], 1, "{report}");
    assert!(fs::read(bench.path("out/f")).unwrap() == pattern(1, 1 << 20));
    assert_eq!(fs::read(bench.path("out/mine")).unwrap(), b"only here");

    // A new file system is not empty either, and nobody's.
    fs::create_dir_all(bench.path("new/lost+found")).unwrap();
    bench.ok(&["export", "s", "new"]);
}

#[test]
fn a_repeated_export_copies_what_changed() {
    let (bench, _) = exported();
    let again =
        |args: &[&str]| bench.json(&[&["export", "s", "out", "--overwrite"], args].concat());
    let report = again(&[]);
    assert_eq!((&report["files"], &report["unchanged"]), (&0.into(), &1.into()), "{report}");
    assert_eq!(report["bytes"], 0);
    // The same size and time, and yet another file.
    let time = fs::metadata(bench.path("out/f")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    fs::write(bench.path("out/f"), pattern(7, 1 << 20)).unwrap();
    set_mtime(&bench.path("out/f"), time.mtime(), time.mtime_nsec());
    let report = again(&["--verify"]);
    assert_eq!((&report["files"], &report["replaced"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(again(&["--checksum"])["compared"], 1 << 20);
}

#[test]
fn what_an_interrupted_export_left_is_removed_by_the_next() {
    let (bench, _) = exported();
    let left = bench.path("out/.efscrypt-0123456789abcdef.part");
    let similar = bench.path("out/.efscrypt-mine.part");
    fs::write(&left, "half").unwrap();
    let left_dir = bench.path("out/.efscrypt-0123456789abcdee.part");
    fs::create_dir(&left_dir).unwrap();
    fs::write(&similar, "mine").unwrap();
    bench.ok(&["export", "s", "out", "--overwrite"]);
    assert!(!left.exists() && !left_dir.exists() && similar.exists());
}

#[test]
fn two_exports_do_not_share_a_destination() {
    let (bench, _) = exported();
    let out = fs::File::open(bench.path("out")).unwrap();
    out.lock().unwrap();
    let (code, message) = bench.fail(&["export", "s", "out", "--overwrite"]);
    assert_eq!(code, 50, "{message}");
    assert!(message.contains("another export"), "{message}");
    drop(out);
    bench.ok(&["export", "s", "out", "--overwrite"]);
}

#[test]
fn other_types_are_replaced_and_links_never_followed() {
    let (bench, _) = exported();
    fs::create_dir(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/d/below"), "x").unwrap();
    symlink("f", bench.path("in/l")).unwrap();
    bench.ok(&["import", "s", "in"]);
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::write(bench.path("precious"), "kept").unwrap();
    // A link where a directory comes, one where a file comes, an empty directory for a link.
    symlink(bench.path("elsewhere"), bench.path("out/d")).unwrap();
    fs::remove_file(bench.path("out/f")).unwrap();
    symlink(bench.path("precious"), bench.path("out/f")).unwrap();
    fs::create_dir(bench.path("out/l")).unwrap();
    bench.ok(&["export", "s", "out", "--overwrite", "--verify"]);
    assert!(names(&bench.path("elsewhere")).is_empty());
    assert_eq!(fs::read(bench.path("precious")).unwrap(), b"kept");
    assert_eq!(facts(&bench.path("in")), facts(&bench.path("out")));

    // A directory that is not empty is in nobody's way.
    fs::remove_file(bench.path("out/f")).unwrap();
    fs::create_dir_all(bench.path("out/f/deep")).unwrap();
    let (code, message) = bench.fail(&["export", "s", "out", "--overwrite"]);
    assert_eq!(code, 15, "{message}");
    assert!(bench.path("out/f/deep").is_dir());
}

#[test]
fn names_outside_of_the_destination_are_not_touched() {
    let (bench, _) = exported();
    fs::hard_link(bench.path("out/f"), bench.path("kept")).unwrap();
    let before = facts(&bench.path("out"));
    set_mode(&bench.path("in/f"), 0o600);
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out", "--overwrite"]);
    assert_eq!(fs::metadata(bench.path("out/f")).unwrap().mode() & 0o777, 0o600);
    assert_ne!(fs::metadata(bench.path("kept")).unwrap().mode() & 0o777, 0o600);
    assert_ne!(before, facts(&bench.path("out")));
}

#[test]
fn a_user_without_rights_repeats_an_export() {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/shut/below")).unwrap();
    fs::write(bench.path("in/shut/f"), "first").unwrap();
    fs::write(bench.path("in/shut/below/g"), "stays").unwrap();
    let has_xattrs = set_xattrs(&bench.path("in/shut/f"), &[("user.one", b"1")]);
    // Who is not root could not import what he may not read.
    let shut = if rustix::process::geteuid().is_root() { 0 } else { 0o500 };
    for (name, mode) in [("shut/f", 0o444), ("shut/below", shut), ("shut", 0o555), ("", 0o555)] {
        set_mode(&bench.path("in").join(name), mode);
    }
    bench.ok(&["import", "s", "in"]);
    let export = |args: &[&str]| {
        let args = [&["export", "s", "out"], args].concat();
        let output = bench.as_user(&args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    export(&[]);
    // What has to be made anew, and attributes of a file that nobody may write.
    for (name, mode) in [("", 0o755), ("shut", 0o755), ("shut/below", 0o755), ("shut/f", 0o644)] {
        set_mode(&bench.path("in").join(name), mode);
    }
    fs::write(bench.path("in/shut/below/new"), "new").unwrap();
    let changed = set_xattrs(&bench.path("in/shut/f"), &[("user.one", b"2"), ("user.two", b"3")]);
    assert_eq!(changed, has_xattrs);
    for (name, mode) in [("shut/f", 0o444), ("shut/below", 0o555), ("shut", 0o555), ("", 0o555)] {
        set_mode(&bench.path("in").join(name), mode);
    }
    bench.ok(&["import", "s", "in"]);
    export(&["--overwrite", "--verify"]);
    export(&["--overwrite", "--verify"]);
    assert_eq!(fs::read(bench.path("out/shut/below/new")).unwrap(), b"new");
    assert_eq!(xattrs(&bench.path("out/shut/f")), xattrs(&bench.path("in/shut/f")));
    assert_eq!(fs::metadata(bench.path("out/shut")).unwrap().permissions().mode() & 0o777, 0o555);
    for dir in ["in", "out"] {
        for name in ["", "shut", "shut/below"] {
            set_mode(&bench.path(dir).join(name), 0o755);
        }
    }
}

/// A path of directories that is longer than any that the system takes, made step by step.
fn deep(root: &std::path::Path, link: bool) -> usize {
    let open = |dir: &fs::File, name: &str| {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        fs::File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap())
    };
    let mut dir = fs::File::open(root).unwrap();
    let name = "d".repeat(200);
    for _ in 0..25 {
        if link {
            rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        }
        dir = open(&dir, &name);
    }
    let none = rustix::fs::AtFlags::empty();
    if link {
        let file = rustix::fs::openat(
            &dir,
            "a",
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
            Mode::RUSR,
        );
        drop(file.unwrap());
        rustix::fs::linkat(&dir, "a", &dir, "b", none).unwrap();
        rustix::fs::linkat(&dir, "a", rustix::fs::CWD, root.join("c"), none).unwrap();
    }
    let stat = |name| rustix::fs::statat(&dir, name, none).unwrap();
    assert_eq!(stat("a").st_ino, stat("b").st_ino);
    assert_eq!(stat("a").st_ino, fs::metadata(root.join("c")).unwrap().ino());
    stat("a").st_nlink as usize
}

#[test]
fn links_are_made_where_no_path_leads() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    assert_eq!(deep(&bench.path("in"), true), 3);
    bench.ok(&["import", "s", "in", "--verify"]);
    bench.ok(&["export", "s", "out", "--verify"]);
    assert_eq!(deep(&bench.path("out"), false), 3);
    let again = bench.json(&["export", "s", "out", "--overwrite"]);
    assert_eq!(again["unchanged"], 3, "{again}");
}

#[test]
fn what_is_special_can_be_left_out() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/program"), "#!/bin/sh").unwrap();
    set_mode(&bench.path("in/program"), 0o6755);
    let pipe = bench.path("in/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR).unwrap();
    bench.ok(&["import", "s", "in"]);
    // Not everyone who runs this may make one, so it is made in the store.
    let store = bench.open("s");
    let new = efscrypt::fs::NewAttr { mode: 0o666, ..Default::default() };
    let kind = efscrypt::fs::FileType::CharDevice;
    store.file_system().mknod(1, b"null", kind, 259, &new).unwrap();
    store.close().unwrap();

    let args = ["export", "s", "out", "--no-special", "--verify", "--json"];
    let output = bench.command(&args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("out/null is left out"), "{message}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["left_out"], 1);
    assert_eq!(names(&bench.path("out")), ["pipe", "program"]);
    assert_eq!(fs::metadata(bench.path("out/program")).unwrap().mode() & 0o7777, 0o755);
    let kind = FileType::from_raw_mode(fs::metadata(bench.path("out/pipe")).unwrap().mode());
    assert_eq!(kind, FileType::Fifo);
}

/// A file of the same size and times that belongs to another user, and that no export made.
fn plant(path: &std::path::Path) {
    let about = fs::metadata(path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    fs::remove_file(path).unwrap();
    fs::write(path, pattern(7, 1 << 20)).unwrap();
    set_mode(path, about.mode() & 0o777);
    std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    set_mtime(path, about.mtime(), about.mtime_nsec());
}

#[test]
fn root_gives_no_rights_to_what_it_did_not_make() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for mode in [0o4755, 0o644] {
        let (bench, _) = exported();
        set_mode(&bench.path("in/f"), mode);
        bench.ok(&["import", "s", "in"]);
        bench.ok(&["export", "s", "out", "--overwrite"]);
        plant(&bench.path("out/f"));
        let report = bench.json(&["export", "s", "out", "--overwrite", "--verify"]);
        assert_eq!(report["replaced"], 1, "{report}");
        let about = fs::metadata(bench.path("out/f")).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o7777), (0, mode));
        assert!(fs::read(bench.path("out/f")).unwrap() == pattern(1, 1 << 20));
        let report = bench.json(&["export", "s", "out", "--overwrite"]);
        assert_eq!(report["unchanged"], 1, "{report}");
    }
}
