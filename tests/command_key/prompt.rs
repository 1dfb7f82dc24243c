//! The passphrase prompt on a terminal: what ends the program there leaves the terminal as it was.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Bench;

/// A shell on a terminal of its own that runs `efscrypt key list`, then shows the terminal's state;
/// `None` where there is no `script`, which makes terminals.
struct Session {
    child: Child,
    seen: String,
}

impl Session {
    fn start(bench: &Bench) -> Option<Session> {
        let program = env!("CARGO_BIN_EXE_efscrypt");
        let line = format!(
            "trap : INT QUIT; sh -c 'echo pid $$.; exec {program} key list'; \
             echo \"code $?.\"; stty -a"
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh");
        command.env("EFSCRYPT_KMS", bench.path("kms")).env_remove("EFSCRYPT_PASSPHRASE");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        Some(Session { child, seen: String::new() })
    }

    /// Waits until the terminal shows `text`.
    fn expect(&mut self, text: &str) {
        let mut byte = [0];
        while !self.seen.contains(text) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert!(read > 0, "{}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
    }

    fn type_in(&mut self, text: &[u8]) {
        let terminal = self.child.stdin.as_mut().unwrap();
        terminal.write_all(text).unwrap();
        terminal.flush().unwrap();
    }

    fn number(&self, after: &str) -> i32 {
        let (_, rest) = self.seen.split_once(after).unwrap();
        rest.split('.').next().unwrap().trim().parse().unwrap()
    }
}

fn with_passphrase() -> Bench {
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    let init = bench.bare(&["init"]).env("EFSCRYPT_PASSPHRASE", "correct horse").output().unwrap();
    assert!(init.status.success(), "{init:?}");
    bench
}

#[test]
fn whatever_ends_the_prompt_leaves_a_terminal_that_shows_what_is_typed() {
    let bench = with_passphrase();
    type End<'a> = (&'a str, &'a dyn Fn(&mut Session), i32);
    let ends: [End<'_>; 5] = [
        ("^C", &|session| session.type_in(b"\x03"), 130),
        ("^\\", &|session| session.type_in(b"\x1c"), 131),
        ("kill", &|session| send(session, Signal::TERM), 143),
        ("hang up", &|session| send(session, Signal::HUP), 129),
        ("an answer", &|session| session.type_in(b"correct horse\n"), 0),
    ];
    for (what, end, code) in ends {
        let Some(mut session) = Session::start(&bench) else { return };
        session.expect("Passphrase of");
        session.expect("kms: ");
        end(&mut session);
        session.expect("code ");
        session.expect(".\r\n");
        session.expect("echoke");
        assert_eq!(session.number("code "), code, "{what}: {}", session.seen);
        assert!(session.seen.contains(" echo "), "{what}: {}", session.seen);
        assert!(!session.seen.contains("correct horse"), "{what}: {}", session.seen);
        drop(session.child.stdin.take());
        session.child.wait().unwrap();
    }
}

fn send(session: &mut Session, signal: Signal) {
    let pid = Pid::from_raw(session.number("pid ")).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn who_cannot_be_asked_learns_what_else_there_is() {
    let bench = with_passphrase();
    let output = Command::new("setsid")
        .arg(env!("CARGO_BIN_EXE_efscrypt"))
        .args(["key", "list", "--kms"])
        .arg(bench.path("kms"))
        .env_remove("EFSCRYPT_PASSPHRASE")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { return };
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for way in ["no terminal", "--passphrase-file", "EFSCRYPT_PASSPHRASE", "--key-file"] {
        assert!(message.contains(way), "{way}: {message}");
    }
    // A service that a key file opens asks for no passphrase at all.
    let keyed = Bench::new();
    let output = keyed.bare(&["list"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("needs its key file") && message.contains("--key-file"), "{message}");
}
