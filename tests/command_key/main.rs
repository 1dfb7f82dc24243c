//! `efscrypt key` as an operator and a script see it: output, messages, exit codes, and what is
//! left of it when it is killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

mod audit;
mod full;
mod prompt;
mod rights;

/// A directory with a key file in it, and a key service file that it opens.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        bench.ok(&["init"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A copy of the command where other users come to. Copied by another process: a program that
    /// this one has open for writing when it forks cannot be run.
    fn program(&self) -> PathBuf {
        let program = self.path("efscrypt");
        let mut copy = Command::new("cp");
        assert!(copy.arg(env!("CARGO_BIN_EXE_efscrypt")).arg(&program).status().unwrap().success());
        program
    }

    /// `efscrypt key ARGS`, opened by the key file.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.arg("--key-file").arg(self.path("key"));
        command
    }

    /// `efscrypt key ARGS`, with nothing that opens the file.
    fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_efscrypt"));
        command.arg("key").args(args).stdin(Stdio::null());
        command.env("EFSCRYPT_KMS", self.path("kms")).env_remove("EFSCRYPT_PASSPHRASE");
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        succeed(self.command(args).output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Exit code and message of a failure.
    fn fail(&self, args: &[&str]) -> (i32, String) {
        failure(self.command(args).output().unwrap())
    }
}

fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn failure(output: Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_key_lives_its_life() {
    let bench = Bench::new();
    let created = bench.json(&["create", "--alias", "data"]);
    assert_eq!(created["aliases"], serde_json::json!(["alias/data"]));
    assert_eq!((&created["state"], &created["version"]), (&"enabled".into(), &1.into()));
    let id = created["id"].as_str().unwrap();

    assert_eq!(bench.json(&["describe", "alias/data"]), created);
    assert_eq!(bench.json(&["list"]), serde_json::json!([created]));
    assert_eq!(bench.json(&["rotate", id])["version"], 2);
    bench.ok(&["alias", "set", "more", id]);
    let named = bench.json(&["alias", "delete", "data"]);
    assert_eq!(named["aliases"], serde_json::json!(["alias/more"]));
    assert_eq!(bench.json(&["disable", "alias/more"])["state"], "disabled");
    assert_eq!(bench.fail(&["rotate", "alias/more"]).0, 73);
    assert_eq!(bench.json(&["enable", "alias/more"])["state"], "enabled");
    let pending = bench.json(&["schedule-deletion", "alias/more", "--days", "7"]);
    assert_eq!(pending["state"], "pending deletion");
    assert!(pending["deletion"].as_u64().unwrap() > pending["created"].as_u64().unwrap());
    assert!(bench.ok(&["describe", id]).contains("pending deletion, destroyed at 2"));
    assert_eq!(bench.json(&["cancel-deletion", "alias/more"])["state"], "disabled");
    assert_eq!(bench.json(&["destroy-expired"])["destroyed"], 0);

    let table = bench.ok(&["list"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains(id) && table.contains("alias/more"), "{table}");
    let log = fs::read_to_string(bench.path("kms.audit")).unwrap();
    assert!(log.contains(r#""op":"rotate""#) && log.contains(r#""result":"KeyDisabled""#));
    let audit = bench.json(&["audit"]);
    assert_eq!(audit["records"], log.lines().count());
}

#[test]
fn every_mistake_has_its_code_and_says_what_to_do() {
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "data"]);
    let (code, message) = bench.fail(&["describe", "alias/none"]);
    assert_eq!(code, 72);
    assert!(message.contains("alias/none") && message.contains("key list"), "{message}");
    assert_eq!(bench.fail(&["create", "--alias", "data"]).0, 12);
    assert_eq!(bench.fail(&["create", "--alias", "two words"]).0, 2);
    assert_eq!(bench.fail(&["schedule-deletion", "alias/data", "--days", "1"]).0, 2);
    assert_eq!(bench.fail(&["no-such-command"]).0, 2);
    let (code, message) = bench.fail(&["init"]);
    assert_eq!(code, 12, "{message}");
    assert!(message.contains("kms"), "{message}");

    let missing = bench.path("missing");
    let (code, message) = bench.fail(&["list", "--kms", missing.to_str().unwrap()]);
    assert_eq!(code, 11);
    assert!(message.contains("missing") && message.contains("key init"), "{message}");
    let dir = bench.dir.path().to_str().unwrap();
    assert_eq!(bench.fail(&["list", "--kms", dir]).0, 14);
    let without = bench.bare(&["list"]).env_remove("EFSCRYPT_KMS").output().unwrap();
    assert_eq!(failure(without).0, 2);

    let passphrase = bench.bare(&["list"]).env("EFSCRYPT_PASSPHRASE", "x").output().unwrap();
    let (code, message) = failure(passphrase);
    assert_eq!(code, 2);
    assert!(message.contains("needs its key file"), "{message}");
    fs::rename(bench.path("key"), bench.path("key.right")).unwrap();
    assert_eq!(bench.fail(&["list"]).0, 11, "no key file");
    let elsewhere = Bench::new();
    fs::copy(elsewhere.path("key"), bench.path("key")).unwrap();
    assert_eq!(bench.fail(&["list"]).0, 70);
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = bench.fail(&["list"]);
    assert_eq!(code, 74);
    assert!(message.contains("chmod 600"), "{message}");
    fs::rename(bench.path("key.right"), bench.path("key")).unwrap();

    let whole = fs::read_to_string(bench.path("kms")).unwrap();
    fs::write(bench.path("kms"), whole.replace("enabled", "disabled")).unwrap();
    assert_eq!(bench.fail(&["list"]).0, 54);
    fs::write(
        bench.path("kms"),
        whole.replace("\"version\": 1,\n  \"body", "\"version\": 2,\n  \"body"),
    )
    .unwrap();
    assert_eq!(bench.fail(&["list"]).0, 52);
    fs::write(bench.path("kms"), whole).unwrap();
    bench.ok(&["list"]);

    let log = fs::read_to_string(bench.path("kms.audit")).unwrap();
    fs::write(bench.path("kms.audit"), log.replace("create-key", "create-kex")).unwrap();
    let (code, message) = bench.fail(&["audit"]);
    assert_eq!(code, 54);
    assert!(message.contains("audit record 1"), "{message}");
}

#[test]
fn a_passphrase_comes_from_a_file_or_the_environment() {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let secret = bench.path("secret");
    fs::write(&secret, "correct horse\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let from_file =
        |args: &[&str]| bench.bare(args).arg("--passphrase-file").arg(&secret).output().unwrap();
    let from_environment = |args: &[&str], passphrase: &str| {
        bench.bare(args).env("EFSCRYPT_PASSPHRASE", passphrase).output().unwrap()
    };
    succeed(from_file(&["init"]));
    succeed(from_file(&["create"]));
    assert_eq!(succeed(from_environment(&["list"], "correct horse")).lines().count(), 2);
    let (code, message) = failure(from_environment(&["list"], "correct house"));
    assert_eq!(code, 71);
    assert!(message.contains("kms") && !message.contains("house"), "{message}");
    let log = fs::read_to_string(bench.path("kms.audit")).unwrap();
    let (first, last) = (log.lines().next().unwrap(), log.lines().last().unwrap());
    assert!(first.contains(r#""op":"init""#) && first.contains(r#""result":"ok""#), "{log}");
    assert!(last.contains(r#""op":"open""#), "{log}");
    assert!(last.contains(r#""result":"WrongPassphrase""#) && last.contains("\"uid "), "{log}");

    let new = bench.path("new");
    let change = ["change-unlock", "--new-key-file", new.to_str().unwrap()];
    succeed(from_environment(&change, "correct horse"));
    assert_eq!(failure(from_environment(&["list"], "correct horse")).0, 2);
    fs::rename(new, bench.path("key")).unwrap();
    assert_eq!(bench.ok(&["list"]).lines().count(), 2);
}

/// As another program of the user who is not root, if this one is.
fn as_user(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
#[cfg(target_os = "linux")]
fn other_programs_of_the_user_do_not_see_what_the_command_was_given() {
    let bench = Bench::new();
    // A passphrase file whose writer writes nothing: it waits.
    let pipe = bench.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let _writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let program = bench.program();
    for path in [bench.dir.path().to_owned(), pipe.clone(), bench.path("kms")] {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).ok();
    }
    let mut command = as_user(Command::new(program));
    command.args(["key", "list", "--passphrase-file"]).arg(&pipe).stdin(Stdio::null());
    command.env("EFSCRYPT_KMS", bench.path("kms")).env("EFSCRYPT_PASSPHRASE", "correct horse");
    let mut child = command.spawn().unwrap();
    let place = format!("/proc/{}/environ", child.id());
    let look = |command| {
        let mut command = as_user(command);
        command.arg(&place).env_clear().output().unwrap()
    };
    // Until it has begun to work it is a process like any other.
    let hidden = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !look(Command::new("/bin/cat")).status.success()
    });
    let waits = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(waits && hidden, "waits: {waits}, hidden: {hidden}");
}

#[test]
fn a_log_is_nothing_but_a_log() {
    let bench = Bench::new();
    fs::remove_file(bench.path("kms.audit")).unwrap();
    symlink(bench.path("target"), bench.path("kms.audit")).unwrap();
    assert_eq!(bench.fail(&["create"]).0, 31);
    assert!(!bench.path("target").exists(), "made through a link");
    fs::remove_file(bench.path("kms.audit")).unwrap();
    bench.ok(&["audit", "new"]);
    assert_eq!(bench.ok(&["list"]).lines().count(), 1, "the key that has no record is not made");

    let secret = bench.path("secret");
    fs::write(&secret, "correct horse").unwrap();
    let (code, message) = bench.fail(&["create", "--audit", secret.to_str().unwrap()]);
    assert_eq!(code, 54, "{message}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "correct horse");

    // What does not parse may be anyone's file: nothing is made beside it.
    let foreign = secret.to_str().unwrap();
    assert_eq!(bench.fail(&["list", "--kms", foreign]).0, 54);
    assert!(!bench.path("secret.audit").exists());
}

#[test]
fn many_processes_lose_no_change() {
    const PROCESSES: usize = 12;
    let bench = Bench::new();
    let children: Vec<_> = (0..PROCESSES)
        .map(|i| {
            let mut command = bench.command(&["create", "--alias", &i.to_string()]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(bench.json(&["list"]).as_array().unwrap().len(), PROCESSES);
    assert_eq!(bench.json(&["audit"])["records"], 1 + PROCESSES, "and how it was made");
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_whole_file() {
    let bench = Bench::new();
    let mut kept = 0;
    for i in 0..25u64 {
        let alias = format!("k{i}");
        let mut command = bench.command(&["create", "--alias", &alias]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(i * 400));
        child.kill().unwrap();
        let finished = child.wait().unwrap().success();
        let keys = bench.json(&["list"]);
        let now = keys.as_array().unwrap().len();
        assert!(now == kept || now == kept + 1, "{kept} keys became {now}");
        assert!(!finished || now == kept + 1, "a change that was reported is gone");
        kept = now;
    }
    bench.ok(&["create"]);
    bench.ok(&["audit"]);
}

#[test]
fn a_service_that_is_not_made_leaves_no_key_file() {
    let bench = Bench::new();
    fs::remove_file(bench.path("key")).unwrap();
    let mut command = bench.command(&["init"]);
    let (code, message) =
        failure(command.env("EFSCRYPT_KMS", bench.path("none/kms")).output().unwrap());
    assert_eq!(code, 11, "{message}");
    assert!(!bench.path("key").exists() && !message.contains("keep a copy"), "{message}");
}

#[test]
fn a_failure_in_json_is_one_line_of_one_form() {
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "data"]);
    for (args, code) in [
        (&["describe", "none", "--json"][..], 72),
        (&["create", "--alias", "data", "--json"], 12),
        (&["create", "--alias", "a b", "--json"], 2),
        (&["no-such-command", "--json"], 2),
        (&["list", "--json", "--kms", "none"], 11),
    ] {
        let (found, message) = bench.fail(args);
        assert_eq!(found, code, "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        let error = &serde_json::from_str::<Value>(&message).unwrap()["error"];
        assert_eq!(error["code"], code, "{message}");
        assert!(error["doing"].is_string() && error["why"].is_string(), "{message}");
        assert!(error.as_object().unwrap().contains_key("hint"), "{message}");
    }
    assert_eq!(bench.ok(&["destroy-expired"]), "0 keys destroyed\n");
    for name in ["data", "alias/data"] {
        for verb in ["describe", "rotate", "disable", "enable"] {
            bench.ok(&[verb, name]);
        }
        bench.ok(&["alias", "set", "more", name]);
        bench.ok(&["schedule-deletion", name]);
        bench.ok(&["cancel-deletion", name]);
        bench.ok(&["enable", name]);
    }
}

#[test]
fn an_unfinished_record_is_shown() {
    let bench = Bench::new();
    bench.ok(&["create"]);
    assert!(!bench.ok(&["audit"]).contains("torn"));
    let mut log = fs::OpenOptions::new().append(true).open(bench.path("kms.audit")).unwrap();
    std::io::Write::write_all(&mut log, b"{\"seq\":").unwrap();
    assert!(bench.ok(&["audit"]).contains("torn     7 B"));
    assert_eq!(bench.json(&["audit"])["torn_bytes"], 7);
}

#[test]
fn who_may_not_make_the_log_learns_what_to_do() {
    use std::os::unix::process::CommandExt;

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    bench.ok(&["create"]);
    for (name, mode) in [("", 0o777), ("kms", 0o644)] {
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(bench.path("key"), Some(1000), Some(1000)).unwrap();
    // He may not come to where it was built.
    let mut command = Command::new(bench.program());
    command.args(["key", "create", "--kms"]).arg(bench.path("kms"));
    command.arg("--key-file").arg(bench.path("key")).uid(1000).gid(1000);
    let (code, message) = failure(command.output().unwrap());
    assert_eq!(code, 31, "{message}");
    assert!(message.contains("--audit") && message.contains("owner"), "{message}");
}
