//! A log that is gone, cut, exchanged or damaged is told, and begun anew by who opens the service.

use std::fs;
use std::io::Write;

use crate::{Bench, failure};

/// What an administrator is told who runs `key list`.
fn told(bench: &Bench) -> (i32, String) {
    bench.fail(&["list"])
}

#[test]
fn a_log_that_is_not_the_one_before_is_told_and_never_made_in_silence() {
    let bench = Bench::new();
    let log = bench.path("kms.audit");
    let first = fs::read(&log).unwrap();
    bench.ok(&["create", "--alias", "a"]);
    bench.ok(&["create", "--alias", "b"]);
    bench.ok(&["create", "--alias", "c"]);
    let whole = fs::read(&log).unwrap();
    let elsewhere = Bench::new();
    for alias in ["a", "b", "c", "d", "e"] {
        elsewhere.ok(&["create", "--alias", alias]);
    }
    let other = fs::read(elsewhere.path("kms.audit")).unwrap();
    for (what, bytes) in [
        ("removed", None),
        ("emptied", Some(&b""[..])),
        ("cut to its first record", Some(&first[..])),
        ("exchanged", Some(&other[..])),
    ] {
        match bytes {
            Some(bytes) => fs::write(&log, bytes).unwrap(),
            None => fs::remove_file(&log).unwrap(),
        }
        let before = fs::read(&log).ok();
        for args in [&["list"][..], &["audit"], &["create"], &["disable", "alias/a"]] {
            let (code, message) = bench.fail(args);
            assert_eq!(code, 78, "{what}, {args:?}: {message}");
            assert!(message.contains("key audit new"), "{what}: {message}");
        }
        // Nor is one made, or continued, to tell of a refusal.
        let refused = bench.bare(&["list", "--passphrase-file"]).arg("none").output().unwrap();
        assert!(!refused.status.success());
        assert_eq!(fs::read(&log).ok(), before, "{what}");
        fs::write(&log, &whole).unwrap();
        bench.ok(&["list"]);
    }
    assert_eq!(bench.json(&["audit"])["records"], 4);
}

#[test]
fn a_new_log_is_begun_by_a_command_and_tells_what_it_continues() {
    let bench = Bench::new();
    let log = bench.path("kms.audit");
    bench.ok(&["create", "--alias", "a"]);
    let head = bench.json(&["audit"])["head"].clone();
    let begun = bench.json(&["audit", "new", "--reason", "a new year"]);
    let kept = begun["kept"].as_str().unwrap().to_owned();
    assert!(kept.contains("kms.audit.old-"), "{kept}");
    assert_eq!(fs::read_to_string(&kept).unwrap().lines().count(), 2);
    let first: serde_json::Value =
        serde_json::from_str(fs::read_to_string(&log).unwrap().lines().next().unwrap()).unwrap();
    let continues = &first["continues"];
    assert_eq!((&first["op"], &first["seq"]), (&"begin-log".into(), &0.into()));
    assert!(first["principal"].as_str().unwrap().starts_with("uid "));
    assert_eq!((&continues["records"], &continues["head"]), (&2.into(), &head));
    assert_eq!(
        (&continues["state"], &continues["reason"]),
        (&"whole".into(), &"a new year".into())
    );
    assert_eq!(
        std::path::Path::new(&kept).file_name().unwrap().to_str().unwrap(),
        continues["file"]
    );
    bench.ok(&["create", "--alias", "b"]);
    assert_eq!(bench.json(&["audit"])["records"], 2);
    // The old one does not come back.
    fs::rename(&kept, &log).unwrap();
    assert_eq!(told(&bench).0, 78);

    fs::remove_file(&log).unwrap();
    let begun = bench.json(&["audit", "new"]);
    assert_eq!(begun["kept"], serde_json::Value::Null);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains(r#""state":"missing""#), "{text}");
    bench.ok(&["list"]);

    // Who does not open the service begins no log.
    let before = fs::read(&log).unwrap();
    let wrong = bench.bare(&["audit", "new"]).env("EFSCRYPT_PASSPHRASE", "x").output().unwrap();
    assert_eq!(failure(wrong).0, 2);
    assert!(fs::read(&log).unwrap().starts_with(&before));
}

#[test]
fn a_line_of_garbage_is_named_and_does_not_lock_out() {
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "a"]);
    let log = bench.path("kms.audit");
    let whole = fs::read(&log).unwrap();
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"garbage\n").unwrap();
    for args in [&["list"][..], &["audit"]] {
        let (code, message) = bench.fail(args);
        assert_eq!(code, 54, "{message}");
        assert!(message.contains("line 3") && message.contains("key audit new"), "{message}");
    }
    let begun = bench.json(&["audit", "new"]);
    let kept = fs::read(begun["kept"].as_str().unwrap()).unwrap();
    assert!(kept.starts_with(&whole) && kept.ends_with(b"garbage\n"));
    assert!(fs::read_to_string(&log).unwrap().contains(r#""state":"damaged""#));
    bench.ok(&["list"]);

    // In the middle of a log that is longer than what is read when it is opened.
    let mut command = bench.command(&["create"]);
    for _ in 0..3 {
        assert!(command.output().unwrap().status.success());
    }
    let text = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.insert(2, "{}");
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    let (code, message) = bench.fail(&["audit"]);
    assert!(message.contains("line 3"), "{code} {message}");
}

#[test]
fn a_log_elsewhere_is_known_too_and_the_service_can_be_moved() {
    let bench = Bench::new();
    let own = bench.path("own");
    let with_own = |args: &[&str]| bench.command(args).arg("--audit").arg(&own).output().unwrap();
    assert!(with_own(&["create", "--alias", "a"]).status.success());
    assert!(with_own(&["create", "--alias", "b"]).status.success());
    fs::rename(&own, bench.path("away")).unwrap();
    assert_eq!(failure(with_own(&["list"])).0, 78);
    fs::rename(bench.path("away"), &own).unwrap();
    assert!(with_own(&["list"]).status.success());

    let moved = Bench { dir: tempfile::tempdir().unwrap() };
    for name in ["kms", "key", "kms.audit"] {
        fs::copy(bench.path(name), moved.path(name)).unwrap();
    }
    moved.ok(&["create"]);
    fs::remove_file(moved.path("kms.audit")).unwrap();
    assert_eq!(told(&moved).0, 78);
}
