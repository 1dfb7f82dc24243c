//! What the command says, and what it keeps to itself.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use crate::bench::Bench;
use crate::tree::{pattern, set_mode};

#[test]
fn names_do_not_control_a_terminal() {
    let bench = Bench::with_store();
    let name = "in/\x1b[2J\nefscrypt: all is well";
    fs::create_dir(bench.path("in")).unwrap();
    fs::create_dir(bench.path(name)).unwrap();
    fs::write(bench.path(name).join("below"), "x").unwrap();
    bench.ok(&["import", "s", "in"]);
    fs::remove_dir_all(bench.path(name)).unwrap();
    fs::write(bench.path(name), "a file now").unwrap();
    let (code, message) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 15, "{message}");
    assert!(!message.contains('\x1b'), "{message:?}");
    assert!(message.contains("\\u{1b}[2J\\nefscrypt: all is well"), "{message}");

    let name = "a\x1b[1mb";
    bench.ok(&["create", "t", "--data-key", "alias/data", "--name", name, "--log", "1"]);
    let described = bench.ok(&["describe", "t"]);
    assert!(described.contains("a\\u{1b}[1mb"), "{described}");
    assert_eq!(bench.json(&["describe", "t"])["name"], name);
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_no_bug() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), pattern(1, 3 << 20)).unwrap();
    bench.ok(&["import", "s", "in"]);
    let mut command = bench.command(&["cat", "s", "/f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut head = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    // Nobody reads messages either.
    let mut command = bench.command(&["cat", "s", "/none"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(11));
}

#[test]
fn a_process_with_keys_leaves_no_image() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), pattern(1, 3 << 20)).unwrap();
    bench.ok(&["import", "s", "in"]);
    // It waits for somebody to take what it prints.
    let mut command = bench.as_user(&["cat", "s", "/f"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // What may not be looked into belongs to root.
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(owner, 0);
}

#[test]
fn a_second_key_service_does_not_take_the_passphrase_of_the_first() {
    let bench = Bench::with_store();
    let key = bench.path("phrase");
    fs::write(&key, "of the second").unwrap();
    set_mode(&key, 0o600);
    let second = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_efscrypt"));
        command.args(args).args(["--kms", "kms2", "--passphrase-file", "phrase"]);
        assert!(command.current_dir(bench.path("")).output().unwrap().status.success());
    };
    second(&["key", "init"]);
    second(&["key", "create", "--alias", "there"]);
    let keys = ["--data-key", "alias/there", "--metadata-key", "alias/there"];
    let to = ["rewrap", "s", "--new-kms", "kms2", "--new-audit", "audit2"];
    // Without a terminal nothing is left to ask.
    let mut command = bench.command(&[&to[..], &keys].concat());
    let output = command.env("EFSCRYPT_PASSPHRASE", "of the second").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("no terminal"), "{message}");
    bench.ok(&[&to[..], &keys, &["--new-passphrase-file", "phrase"]].concat());
    let log = fs::read_to_string(bench.path("audit2")).unwrap();
    assert!(log.contains(r#""op":"wrap""#), "{log}");
}

#[test]
fn keys_of_names_are_rewrapped_without_that_of_contents() {
    let bench = Bench::new();
    let keys = ["--data-key", "alias/data", "--metadata-key", "alias/meta", "--log", "1"];
    bench.ok(&[&["create", "s"], &keys[..]].concat());
    bench.ok(&["key", "create", "--alias", "new"]);
    bench.ok(&["key", "disable", "alias/data"]);
    bench.ok(&["rewrap", "s", "--metadata-key", "alias/new"]);
    bench.ok(&["key", "disable", "alias/meta"]);
    bench.ok(&["describe", "s"]);
    assert_eq!(bench.fail(&["rewrap", "s", "--data-key", "alias/new"]).0, 73);
}
