//! What an import does to what is in the store already, also where it is interrupted.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use efscrypt::fs::{NewAttr, SetAttr, SetTime, Time, XattrMode};
use rustix::process::{Pid, Signal};

use crate::bench::{Bench, failure};
use crate::tree::{pattern, set_mode, set_mtime};

/// A file in many pieces of one byte: freeing it takes more than an unlink does at once, and
/// writing it more transactions than a small log holds.
fn scatter(path: &Path, pieces: u64, byte: u8) {
    let file = File::create(path).unwrap();
    for piece in 0..pieces {
        file.write_all_at(&[byte; 4096], piece * 8192).unwrap();
    }
}

/// The byte of which a file of `pieces` pieces consists, if it is whole.
fn scattered(contents: &[u8], pieces: usize) -> Option<u8> {
    let byte = *contents.first()?;
    let whole = |(i, block): (usize, &[u8])| {
        let expected = if i % 2 == 0 { byte } else { 0 };
        block.len() == 4096 && block.iter().all(|found| *found == expected)
    };
    let is_whole =
        contents.len() == pieces * 8192 - 4096 && contents.chunks(4096).enumerate().all(whole);
    is_whole.then_some(byte)
}

fn assert_clean(bench: &Bench) {
    let report = bench.json(&["check", "s"]);
    assert_eq!((&report["clean"], &report["orphans"]), (&true.into(), &0.into()), "{report}");
    assert!(!bench.ok(&["ls", "s"]).contains("efscrypt"), "something is left behind");
}

#[test]
fn the_old_contents_stay_where_the_new_do_not_fit() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    let old = pattern(1, 3 << 20);
    fs::write(bench.path("in/f"), &old).unwrap();
    bench.ok(&["import", "s", "in"]);
    fs::write(bench.path("in/f"), pattern(2, 40 << 20)).unwrap();
    let room = fs::metadata(bench.path("s")).unwrap().len() / 1024 + (8 << 10);
    let output = bench.with_full_disk(room, &["import", "s", "in"]).output().unwrap();
    let (code, message) = failure(output);
    assert_eq!(code, 30, "{message}");
    assert!(message.contains("in/f"), "{message}");
    assert!(bench.bytes(&["cat", "s", "/f"]) == old, "the old contents are gone");
    assert_clean(&bench);
}

/// Imports, and kills it while it copies, after what it did so far was made durable, as it is
/// every 5 seconds. Returns whether it was done.
fn import_and_kill(bench: &Bench) -> bool {
    let len = || fs::metadata(bench.path("s")).unwrap().len();
    let before = len();
    let mut command = bench.command(&["import", "s", "in"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while len() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let signal = |signal| rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
    signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(5100));
    signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(10));
    child.kill().unwrap();
    child.wait().unwrap().success()
}

#[test]
fn an_import_that_is_killed_leaves_old_or_new_contents() {
    let pieces = |time: u8| 4000 + 1000 * u64::from(time);
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    scatter(&bench.path("in/f"), pieces(1), 1);
    bench.ok(&["import", "s", "in"]);
    let mut last = 1;
    for time in 2..4 {
        scatter(&bench.path("in/f"), pieces(time), time);
        let done = import_and_kill(&bench);
        let contents = bench.bytes(&["cat", "s", "/f"]);
        let now = [last, time]
            .into_iter()
            .find(|time| scattered(&contents, pieces(*time) as usize) == Some(*time));
        let now = now.unwrap_or_else(|| panic!("{} bytes of neither version", contents.len()));
        assert!(!done || now == time, "what was reported as done is gone");
        last = now;
    }
    bench.ok(&["import", "s", "in", "--verify"]);
    assert_clean(&bench);
}

#[test]
fn what_an_import_left_is_not_exported_and_goes_with_the_next() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "x").unwrap();
    bench.ok(&["import", "s", "in"]);
    let store = bench.open("s");
    let left = store.file_system().mkdir_all(b".efscrypt-import", &NewAttr::default()).unwrap();
    store.file_system().write_file(b".efscrypt-import/3", &NewAttr::default(), b"half").unwrap();
    let mark = b"trusted.efscrypt.import";
    store.file_system().set_xattr(left.ino, mark, b"", XattrMode::Either).unwrap();
    store.close().unwrap();
    bench.ok(&["export", "s", "out", "--verify"]);
    assert!(!bench.path("out/.efscrypt-import").exists());
    bench.ok(&["import", "s", "in"]);
    assert_clean(&bench);

    for into in ["/.efscrypt-import/x", "d/../.efscrypt-import", "/../d/./../.efscrypt-import//x"] {
        let (code, message) = bench.fail(&["import", "s", "in", into]);
        assert_eq!(code, 2, "{message}");
    }
    assert_clean(&bench);
    fs::write(bench.path("in/.efscrypt-import"), "x").unwrap();
    let (code, message) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 12, "{message}");
    assert!(message.contains("in/.efscrypt-import"), "{message}");
    fs::remove_file(bench.path("in/.efscrypt-import")).unwrap();

    // Something of that name that no import made is left alone.
    let store = bench.open("s");
    store.file_system().write_file(b".efscrypt-import", &NewAttr::default(), b"mine").unwrap();
    store.close().unwrap();
    let (code, message) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 12, "{message}");
    assert_eq!(bench.ok(&["cat", "s", "/.efscrypt-import"]), "mine");
}

#[test]
fn names_outside_of_the_destination_keep_what_they_have() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), pattern(1, 5000)).unwrap();
    fs::hard_link(bench.path("in/f"), bench.path("in/g")).unwrap();
    bench.ok(&["import", "s", "in", "/d"]);
    let store = bench.open("s");
    let fs_ = store.file_system();
    let ino = fs_.at(b"/d/f").unwrap().ino;
    fs_.link(ino, 1, b"outside").unwrap();
    store.close().unwrap();

    fs::write(bench.path("in/f"), pattern(2, 5000)).unwrap();
    set_mode(&bench.path("in/f"), 0o600);
    bench.ok(&["import", "s", "in", "/d", "--verify"]);
    assert!(bench.bytes(&["cat", "s", "/outside"]) == pattern(1, 5000));
    let listed = bench.ok(&["ls", "s", "-l", "/outside"]);
    assert!(listed.starts_with("-rw-r--r--   1 "), "{listed}");
    assert!(bench.bytes(&["cat", "s", "/d/g"]) == pattern(2, 5000));
    assert_clean(&bench);
}

#[test]
fn attributes_of_shared_names_alone_are_not_changed_either() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "text").unwrap();
    fs::hard_link(bench.path("in/f"), bench.path("in/g")).unwrap();
    bench.ok(&["import", "s", "in", "/d"]);
    let store = bench.open("s");
    let ino = store.file_system().at(b"/d/f").unwrap().ino;
    store.file_system().link(ino, 1, b"outside").unwrap();
    store.close().unwrap();
    set_mode(&bench.path("in/f"), 0o400);
    bench.ok(&["import", "s", "in", "/d", "--verify"]);
    let mode = |path: &str| bench.ok(&["ls", "s", "-l", path])[..10].to_owned();
    assert_eq!((&*mode("/d/f"), &*mode("/outside")), ("-r--------", "-rw-r--r--"));
}

#[test]
fn space_of_what_was_replaced_is_free_at_the_end() {
    let bench = Bench::with_store();
    let used = || bench.json(&["describe", "s"])["metered_bytes"].as_u64().unwrap();
    fs::create_dir(bench.path("in")).unwrap();
    scatter(&bench.path("in/f"), 1500, 7);
    bench.ok(&["import", "s", "in"]);
    let before = used();
    fs::write(bench.path("in/f"), "small now").unwrap();
    bench.ok(&["import", "s", "in"]);
    assert!(used() + (1500 * 4096) < before + (1 << 20), "{} of {before} in use", used());
    assert_clean(&bench);
}

#[test]
fn a_rewrap_frees_what_deleted_files_left() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    scatter(&bench.path("in/f"), 1500, 7);
    bench.ok(&["import", "s", "in"]);
    let store = bench.open("s");
    store.file_system().unlink(1, b"f").unwrap();
    store.sync().unwrap();
    // Not closed: closing frees it too.
    drop(store);
    assert_eq!(bench.json(&["check", "s"])["orphans"], 1);
    bench.ok(&["rewrap", "s", "--metadata-key", "alias/meta"]);
    assert_clean(&bench);
}

#[test]
fn a_change_that_size_and_time_do_not_show_is_found() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    let path = bench.path("in/f");
    fs::write(&path, "some text").unwrap();
    set_mtime(&path, 7, 0);
    bench.ok(&["import", "s", "in"]);
    fs::write(&path, "SOME TEXT").unwrap();
    set_mtime(&path, 7, 0);
    assert_eq!(bench.json(&["import", "s", "in", "--verify"])["files"], 1);
    assert_eq!(bench.ok(&["cat", "s", "/f"]), "SOME TEXT");

    // At rest for a while: compared once more, and never again.
    std::thread::sleep(Duration::from_millis(2100));
    let compared = || bench.json(&["import", "s", "in"])["compared"].as_u64().unwrap();
    assert_eq!((compared(), compared()), (9, 0));
    assert_eq!(bench.json(&["import", "s", "in", "--checksum"])["compared"], 9);
}

#[test]
fn a_copy_that_was_changed_behind_its_back_is_made_again() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "some text").unwrap();
    let time = fs::metadata(bench.path("in/f")).unwrap();
    bench.ok(&["import", "s", "in"]);
    std::thread::sleep(Duration::from_millis(2100));
    let store = bench.open("s");
    let ino = store.file_system().at(b"f").unwrap().ino;
    store.file_system().write(ino, 0, b"SOME TEXT").unwrap();
    let time = Time { seconds: time.mtime(), nanoseconds: time.mtime_nsec() as u32 };
    let set = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
    store.file_system().setattr(ino, &set).unwrap();
    store.close().unwrap();

    assert_eq!(bench.json(&["import", "s", "in", "--verify"])["files"], 1);
    assert_eq!(bench.ok(&["cat", "s", "/f"]), "some text");
}

#[test]
fn the_store_does_not_come_into_itself() {
    let bench = Bench::with_store();
    let args = ["import", "s", ".", "--json", "--verify", "--no-files-cache"];
    let output = bench.command(&args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{message}");
    assert!(message.contains("./s is left out: it is the store itself"), "{message}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["left_out"], &report["failed"]), (&1.into(), &0.into()));
}

#[test]
fn one_file_system_is_copied_whole() {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/d/f"), "x").unwrap();
    let report = bench.json(&["import", "s", "in", "-x", "--verify"]);
    assert_eq!((&report["files"], &report["left_out"]), (&1.into(), &0.into()));
}

#[test]
fn a_directory_of_somebody_else_is_never_emptied_or_left_out() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "x").unwrap();
    let store = bench.open("s");
    store.file_system().mkdir_all(b".efscrypt-import", &NewAttr::default()).unwrap();
    store.file_system().write_file(b".efscrypt-import/2024", &NewAttr::default(), b"mine").unwrap();
    store.close().unwrap();
    let (code, message) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 12, "{message}");
    assert!(message.contains("/.efscrypt-import"), "{message}");
    assert_eq!(bench.ok(&["cat", "s", "/.efscrypt-import/2024"]), "mine");
    bench.ok(&["export", "s", "out", "--verify"]);
    assert_eq!(fs::read(bench.path("out/.efscrypt-import/2024")).unwrap(), b"mine");
}
