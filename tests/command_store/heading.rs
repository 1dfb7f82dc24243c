//! Backups of the header, and repairs of stores whose start is gone, or came back from another
//! time.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use crate::bench::Bench;
use crate::tree::{facts, pattern};

/// First byte of the pool: behind a log of 1 MiB.
const POOL: usize = 3 << 19;

/// A store with a tree of some hundred files, a copy of it in `in`, and a backup of its header.
fn filled() -> Bench {
    let bench = Bench::with_store();
    for n in 0..300 {
        fs::create_dir_all(bench.path(&format!("in/{}", n % 7))).unwrap();
        let path = bench.path(&format!("in/{}/file {n}", n % 7));
        fs::write(path, pattern(n, (n * 97 % 9000) as usize)).unwrap();
    }
    fs::write(bench.path("in/large"), pattern(1, 1 << 20)).unwrap();
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["header", "backup", "s", "b"]);
    assert_eq!(fs::metadata(bench.path("b")).unwrap().mode() & 0o7777, 0o600);
    bench
}

fn start(bench: &Bench, len: usize) -> Vec<u8> {
    fs::read(bench.path("s")).unwrap()[..len].to_vec()
}

fn put(bench: &Bench, at: usize, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(bench.path("s")).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

/// Fails unless the store is clean and has all that is in `in`.
fn assert_whole(bench: &Bench, what: &str) {
    let report = bench.json(&["check", "s", "--quiet"]);
    assert_eq!(report["clean"], true, "{what}: {report}");
    let _ = fs::remove_dir_all(bench.path("out"));
    bench.ok(&["export", "s", "out", "--quiet"]);
    assert!(facts(&bench.path("out")) == facts(&bench.path("in")), "{what}: something is gone");
}

#[test]
fn a_store_whose_start_is_gone_comes_back_from_a_backup() {
    let bench = filled();
    let whole = fs::read(bench.path("s")).unwrap();
    for len in [384 << 10, 512 << 10, 1 << 20, POOL] {
        for fill in [0, 0xff] {
            let what = format!("{len} bytes of {fill}");
            fs::write(bench.path("s"), &whole).unwrap();
            put(&bench, 0, &vec![fill; len]);
            let (code, _) = bench.fail(&["check", "s", "--repair", "--yes"]);
            assert_eq!(code, 51, "{what}");
            let restored = bench.json(&["header", "restore", "s", "b"]);
            assert_eq!(restored["restored"], "header", "{what}");
            // It has no state, and must not be taken for an empty store.
            let (code, message) = bench.fail(&["ls", "s"]);
            assert!(code == 54 && message.contains("backup"), "{what}: {message}");
            bench.ok(&["check", "s", "--repair", "--yes", "--quiet"]);
            assert_whole(&bench, &what);
        }
    }
}

#[test]
fn a_repair_finds_the_newest_state_behind_a_restored_header() {
    let bench = filled();
    // Newer than the backup, by several openings.
    fs::write(bench.path("in/later"), pattern(9, 70_000)).unwrap();
    fs::remove_file(bench.path("in/3/file 3")).unwrap();
    let store = bench.open("s");
    let fs = store.file_system();
    let dir = fs.at(b"/3").unwrap().ino;
    fs.unlink(dir, b"file 3").unwrap();
    store.close().unwrap();
    bench.ok(&["import", "s", "in"]);
    assert_whole(&bench, "before");
    let whole = fs::read(bench.path("s")).unwrap();
    for len in [512 << 10, POOL] {
        let what = format!("{len} bytes");
        fs::write(bench.path("s"), &whole).unwrap();
        put(&bench, 0, &vec![0; len]);
        bench.ok(&["header", "restore", "s", "b"]);
        let text = bench.ok(&["check", "s", "--repair", "--yes", "--quiet"]);
        assert!(text.contains("the newest that"), "{what}: {text}");
        assert_whole(&bench, &what);
        // It goes on as before.
        bench.ok(&["import", "s", "in"]);
        assert_whole(&bench, &what);
    }
}

#[test]
fn an_old_copy_of_the_start_does_not_empty_a_store() {
    let bench = Bench::with_store();
    let mut copies = vec![start(&bench, POOL)];
    for round in 0..6u64 {
        for n in 0..60 {
            fs::create_dir_all(bench.path(&format!("in/{round}"))).unwrap();
            let path = bench.path(&format!("in/{round}/{n}"));
            fs::write(path, pattern(round * 100 + n, 3000)).unwrap();
        }
        bench.ok(&["import", "s", "in", "--quiet"]);
        copies.push(start(&bench, POOL));
    }
    copies.pop();
    let whole = fs::read(bench.path("s")).unwrap();
    for (age, copy) in copies.iter().enumerate() {
        // With the log of that time, with the log as it is, and with the ring cut.
        for len in [512 << 10, POOL, 128 << 10] {
            let what = format!("a copy of round {age}, {len} bytes");
            fs::write(bench.path("s"), &whole).unwrap();
            put(&bench, 0, &copy[..len]);
            if len == 128 << 10 {
                put(&bench, 256 << 10, &vec![0; 128 << 10]);
            }
            let output = bench.command(&["check", "s", "--repair", "--yes", "--quiet"]).output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text.contains("nothing to repair") {
                // All of the old state is there still: it was not asked to go anywhere.
                continue;
            }
            assert!(output.status.success(), "{what}: {output:?}");
            assert!(text.contains("generations behind"), "{what}: {text}");
            assert_whole(&bench, &what);
        }
    }
}

#[test]
fn old_wraps_come_back_only_by_force_and_that_is_recorded() {
    let bench = filled();
    let nothing = bench.json(&["header", "restore", "s", "b"]);
    assert_eq!(nothing["restored"], "nothing");
    bench.ok(&["rewrap", "s", "--metadata-key", "alias/meta"]);
    let keys = |bench: &Bench| bench.json(&["describe", "s"])["metadata"]["key_id"].clone();
    let newer = keys(&bench);
    let (code, message) = bench.fail(&["header", "restore", "s", "b"]);
    assert!(code == 2 && message.contains("newer") && message.contains("--force"), "{message}");
    assert_eq!(keys(&bench), newer);
    let audit = || fs::read_to_string(bench.path("kms.audit")).unwrap();
    assert!(!audit().contains("restore-header"));
    assert_eq!(bench.json(&["header", "restore", "s", "b", "--force"])["restored"], "keys");
    assert!(audit().contains("\"restore-header\""));
    assert_ne!(keys(&bench), newer);
    assert_whole(&bench, "forced");
    // The other way round they are the newer ones.
    bench.ok(&["rewrap", "s", "--metadata-key", "alias/meta"]);
    bench.ok(&["header", "backup", "s", "c"]);
    let (_, message) = bench.fail(&["header", "backup", "s", "c"]);
    assert!(message.contains("name a file that is not there"), "{message}");
}

#[test]
fn a_backup_that_was_edited_and_another_stores_are_refused() {
    let bench = filled();
    let backup = fs::read(bench.path("b")).unwrap();
    put(&bench, 0, &[0; 512 << 10]);
    let before = fs::read(bench.path("s")).unwrap();
    for at in (0..backup.len()).step_by(613).chain([8, 12, 16, 28, 32 + 56, 32 + 96]) {
        for checksums in [false, true] {
            let mut forged = backup.clone();
            forged[at] ^= 1;
            if checksums {
                forged[32 + 124..32 + 128].fill(0);
                let crc = crc32fast::hash(&forged[32..]);
                forged[32 + 124..32 + 128].copy_from_slice(&crc.to_le_bytes());
                forged[28..32].fill(0);
                let crc = crc32fast::hash(&forged);
                forged[28..32].copy_from_slice(&crc.to_le_bytes());
            }
            // Bytes that both checksums leave out are as they were.
            if forged == backup {
                continue;
            }
            fs::write(bench.path("forged"), &forged).unwrap();
            bench.fail(&["header", "restore", "s", "forged"]);
        }
    }
    fs::write(bench.path("cut"), &backup[..9000]).unwrap();
    bench.fail(&["header", "restore", "s", "cut"]);
    let (code, _) = bench.fail(&["header", "restore", "s", "in/large"]);
    assert_eq!(code, 51);
    assert!(fs::read(bench.path("s")).unwrap() == before, "something was written");
    // Another store, and a file that has nothing of it.
    bench.create("t");
    let (code, message) = bench.fail(&["header", "restore", "t", "b"]);
    assert!(code == 2 && message.contains("another store"), "{message}");
    fs::write(bench.path("empty"), vec![0; 4 << 20]).unwrap();
    let (code, message) = bench.fail(&["header", "restore", "empty", "b"]);
    assert!(code == 2 && message.contains("nothing of this"), "{message}");
    bench.ok(&["check", "t"]);
}

#[test]
fn a_backup_shows_what_it_holds_without_a_key() {
    let bench = filled();
    let mut command = Command::new(env!("CARGO_BIN_EXE_efscrypt"));
    command.current_dir(bench.path("")).args(["header", "dump", "b", "--json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let store = bench.json(&["describe", "s"]);
    assert_eq!(shown["id"], store["id"]);
    assert_eq!(shown["keys"][0]["key_id"], store["metadata"]["key_id"]);
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2);
}
