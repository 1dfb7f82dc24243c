//! Stores are made, described and put under other keys.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::bench::{Bench, failure};

/// The ids of the keys for names and for contents.
fn keys(store: &Value) -> (String, String) {
    let key = |domain: &str| store[domain]["key_id"].as_str().unwrap().to_owned();
    (key("metadata"), key("data"))
}

fn id(bench: &Bench, alias: &str) -> String {
    bench.json(&["key", "describe", alias])["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_store_says_what_it_was_made_with() {
    let bench = Bench::new();
    let created = bench.json(&[
        "create",
        "s",
        "--data-key",
        "alias/data",
        "--metadata-key",
        "alias/meta",
        "--name",
        "first",
        "--tag",
        "team=storage",
        "--tag",
        "equation=a=b",
        "--log",
        "1",
    ]);
    assert_eq!(created["name"], "first");
    assert_eq!(created["tags"], json!({ "team": "storage", "equation": "a=b" }));
    assert_eq!(keys(&created), (id(&bench, "alias/meta"), id(&bench, "alias/data")));
    assert_eq!(created["data"]["key"]["state"], "enabled");
    assert_eq!(created["id"].as_str().unwrap().len(), 32);

    let described = bench.json(&["describe", "s"]);
    for field in ["id", "name", "tags", "format", "created", "metadata", "data"] {
        assert_eq!(described[field], created[field], "{field}");
    }
    let text = bench.ok(&["describe", "s"]);
    for part in ["first", "team=storage", "equation=a=b", "alias/meta", "alias/data", "enabled"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_root_directory_belongs_to_who_made_the_store() {
    let bench = Bench::new();
    let made = bench.as_user(&["create", "s", "--data-key", "alias/data", "--log", "1"]).output();
    assert!(made.unwrap().status.success());
    let root = bench.open("s").file_system().getattr(efscrypt::fs::ROOT_INO).unwrap();
    let file = fs::metadata(bench.path("s")).unwrap();
    assert_eq!((root.uid, root.gid, root.mode), (file.uid(), file.gid(), 0o755));
}

#[test]
fn one_key_may_serve_both_domains() {
    let bench = Bench::new();
    let (metadata, data) = keys(&bench.create("s"));
    assert_eq!(metadata, data);
    assert_ne!(bench.json(&["describe", "s"])["id"], bench.create("t")["id"]);
}

#[test]
fn a_store_can_be_described_without_its_contents_key() {
    let bench = Bench::new();
    let args = ["--data-key", "alias/data", "--metadata-key", "alias/meta", "--log", "1"];
    bench.ok(&[&["create", "s"], &args[..]].concat());
    bench.ok(&["key", "disable", "alias/data"]);
    let described = bench.json(&["describe", "s"]);
    assert_eq!(described["data"]["key"]["state"], "disabled");
    bench.ok(&["key", "disable", "alias/meta"]);
    assert_eq!(bench.fail(&["describe", "s"]).0, 73);
}

#[test]
fn rewrapped_domains_need_the_new_keys_and_not_the_old() {
    let bench = Bench::with_store();
    let (old, new) = (id(&bench, "alias/data"), id(&bench, "alias/meta"));
    let generation =
        |args: &[&str]| bench.json(&[&["rewrap", "s"], args].concat())["generation"].clone();

    let first = generation(&["--data-key", "alias/meta"]);
    assert_eq!(keys(&bench.json(&["describe", "s"])), (old.clone(), new.clone()));
    let second = generation(&["--metadata-key", &new]);
    assert!(second.as_u64() > first.as_u64());
    assert_eq!(keys(&bench.json(&["describe", "s"])), (new.clone(), new.clone()));
    bench.ok(&["key", "disable", "alias/data"]);
    bench.ok(&["describe", "s"]);

    // The way back needs the key that is disabled: nothing changes.
    let (code, message) = bench.fail(&["rewrap", "s", "--data-key", &old]);
    assert_eq!(code, 73);
    assert!(message.contains("key enable"), "{message}");
    assert_eq!(keys(&bench.json(&["describe", "s"])), (new.clone(), new));
}

#[test]
fn a_store_moves_to_another_key_service() {
    let bench = Bench::with_store();
    let other = ["--kms", "kms2", "--key-file", "key2"];
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_efscrypt"));
        command.args(args).args(other).current_dir(bench.path(""));
        command.output().unwrap()
    };
    assert!(run(&["key", "init"]).status.success());
    assert!(run(&["key", "create", "--alias", "there"]).status.success());
    assert_eq!(run(&["describe", "s"]).status.code(), Some(72));

    let new = ["--new-kms", "kms2", "--new-key-file", "key2"];
    let keys = ["--data-key", "alias/there", "--metadata-key", "alias/there"];
    bench.ok(&[&["rewrap", "s"], &new[..], &keys[..]].concat());
    assert!(run(&["describe", "s"]).status.success());
    assert_eq!(bench.fail(&["describe", "s"]).0, 72);
    let log = fs::read_to_string(bench.path("kms2.audit")).unwrap();
    assert!(log.contains(r#""op":"wrap""#), "{log}");
}

#[test]
fn context_pairs_are_part_of_the_keys() {
    let bench = Bench::new();
    let context = ["--context", "tenant=acme", "--context", "site=3"];
    let key = ["--data-key", "alias/data", "--log", "1"];
    bench.ok(&[&["create", "s"], &context[..], &key[..]].concat());
    bench.ok(&[&["describe", "s"], &context[..]].concat());
    let (code, message) = bench.fail(&["describe", "s"]);
    assert_eq!(code, 79);
    assert!(message.contains("--context"), "{message}");
    assert_eq!(bench.fail(&["describe", "s", "--context", "tenant=other"]).0, 79);
    assert_eq!(bench.fail(&["describe", "s", "--context", "tenant"]).0, 2);
}

#[test]
fn what_was_done_and_cannot_be_told_is_told_apart() {
    let bench = Bench::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let untold = |args: &[&str], words: &str| {
        let (code, message) = failure(bench.command(args).stdout(full()).output().unwrap());
        assert_eq!(code, 96, "{message}");
        assert!(message.contains(words), "{message}");
    };
    untold(&["create", "s", "--data-key", "alias/data", "--log", "1"], "store s was made");
    let (_, data) = keys(&bench.json(&["describe", "s"]));
    assert_eq!(data, id(&bench, "alias/data"));
    untold(&["rewrap", "s", "--data-key", "alias/meta"], "store s was rewrapped");
    let (_, data) = keys(&bench.json(&["describe", "s"]));
    assert_eq!(data, id(&bench, "alias/meta"));
    fs::create_dir(bench.path("in")).unwrap();
    untold(&["import", "s", "in"], "all was copied");
    // What only tells fails as ever.
    let told = bench.command(&["describe", "s"]).stdout(full()).output().unwrap();
    assert_eq!(failure(told).0, 30);
}

#[test]
fn a_key_goes_by_its_name_alone() {
    let bench = Bench::new();
    bench.ok(&["create", "s", "--data-key", "data", "--metadata-key", "meta", "--log", "1"]);
    let expected = (id(&bench, "alias/meta"), id(&bench, "alias/data"));
    assert_eq!(keys(&bench.json(&["describe", "s"])), expected);
    let rewrapped = bench.json(&["rewrap", "s", "--metadata-key", &expected.1]);
    assert_eq!(keys(&rewrapped), (expected.1.clone(), expected.1));
}

#[test]
fn trim_gives_space_back() {
    let bench = Bench::new();
    bench.ok(&["create", "s", "--data-key", "alias/data", "--log", "1"]);
    let file = |store: &efscrypt::Store| {
        let (fs, new) = (store.file_system(), efscrypt::fs::NewAttr::default());
        let made = fs
            .create(efscrypt::fs::ROOT_INO, b"f", &new, efscrypt::fs::CreateMode::Guarded)
            .unwrap();
        for n in 0..40 {
            fs.write(made.attr.ino, n << 20, &[7; 1 << 20]).unwrap();
        }
    };
    let store = bench.open("s");
    file(&store);
    store.file_system().unlink(efscrypt::fs::ROOT_INO, b"f").unwrap();
    store.file_system().sync().unwrap();
    // As after a crash: nobody gave anything back.
    drop(store);
    let blocks = || fs::metadata(bench.path("s")).unwrap().blocks() * 512;
    let before = blocks();
    let trimmed = bench.json(&["trim", "s"]);
    assert_eq!(trimmed["supported"], true);
    let back = before - blocks();
    assert!(back > 30 << 20, "{back} of {before}: {trimmed}");
    assert!(trimmed["discarded"].as_u64().unwrap() + trimmed["cut"].as_u64().unwrap() > 0);
    assert!(bench.ok(&["trim", "s"]).contains("came back"));
    bench.ok(&["check", "s"]);
}

#[test]
fn defrag_puts_contents_together() {
    let bench = Bench::new();
    bench.ok(&["create", "s", "--data-key", "alias/data", "--log", "1"]);
    let store = bench.open("s");
    let (fs, new) = (store.file_system(), efscrypt::fs::NewAttr::default());
    let root = efscrypt::fs::ROOT_INO;
    let dir = fs.mkdir(root, b"d", &new).unwrap().attr.ino;
    for (dir, name) in [(root, b"f"), (dir, b"g")] {
        let made = fs.create(dir, name, &new, efscrypt::fs::CreateMode::Guarded).unwrap();
        // Backwards, so that nothing stands in order.
        for n in (0..512u64).rev() {
            fs.write(made.attr.ino, n * 4096, &[n as u8; 4096]).unwrap();
        }
    }
    store.close().unwrap();
    let cat = |path: &str| bench.bytes(&["cat", "s", path]);
    let before = (cat("/f"), cat("/d/g"));
    let one = bench.json(&["defrag", "s", "/d"]);
    assert_eq!(
        (&one["files"], &one["improved"], &one["failed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let all = bench.json(&["defrag", "s"]);
    assert_eq!((&all["files"], &all["improved"]), (&json!(2), &json!(1)));
    assert!(all["after"].as_u64().unwrap() * 10 < all["before"].as_u64().unwrap(), "{all}");
    assert!(bench.ok(&["defrag", "s", "/f", "/d", "-q"]).contains("moved     0 B"));
    assert!((cat("/f"), cat("/d/g")) == before);
    bench.ok(&["check", "s"]);
    assert_eq!(bench.fail(&["defrag", "s", "/nothing"]).0, 11);
}
