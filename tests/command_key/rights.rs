//! Who may do what to the files of a key service, and what kinds of files they are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Bench, failure, succeed};

fn access(path: &Path) -> (u32, u32, u32) {
    let about = fs::metadata(path).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o7777)
}

#[test]
fn a_change_keeps_owner_group_mode_and_list_of_the_file() {
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "a"]);
    let kms = bench.path("kms");
    for mode in [0o600, 0o640, 0o644, 0o400, 0o660] {
        if rustix::process::geteuid().is_root() {
            chown(&kms, Some(0), Some(60_003)).unwrap();
        }
        fs::set_permissions(&kms, fs::Permissions::from_mode(mode)).unwrap();
        let before = access(&kms);
        if before.2 & 0o200 == 0 && !rustix::process::geteuid().is_root() {
            continue;
        }
        bench.ok(&["rotate", "alias/a"]);
        assert_eq!(access(&kms), before, "{mode:o}");
    }
    let list = |kms: &Path| {
        let mut value = [0; 1024];
        let len = rustix::fs::getxattr(kms, "system.posix_acl_access", &mut value).ok()?;
        Some(value[..len].to_vec())
    };
    // rw for the owner, r for user 60,001, none for the group, mask r: version 2, then entries.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 60_001), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut wanted = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        wanted.extend(tag.to_le_bytes());
        wanted.extend(rights.to_le_bytes());
        wanted.extend(id.to_le_bytes());
    }
    let set = rustix::fs::setxattr(
        &kms,
        "system.posix_acl_access",
        &wanted,
        rustix::fs::XattrFlags::empty(),
    );
    if set.is_ok() {
        bench.ok(&["rotate", "alias/a"]);
        assert_eq!(list(&kms), Some(wanted));
        rustix::fs::removexattr(&kms, "system.posix_acl_access").unwrap();
        bench.ok(&["rotate", "alias/a"]);
        assert_eq!(list(&kms), None);
    }
}

#[test]
fn who_reads_the_file_by_its_group_has_a_log_of_his_own() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "a"]);
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    chown(bench.path("kms"), Some(0), Some(60_003)).unwrap();
    fs::set_permissions(bench.path("kms"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(bench.path("own")).unwrap();
    fs::copy(bench.path("key"), bench.path("own/key")).unwrap();
    for name in ["own", "own/key"] {
        chown(bench.path(name), Some(60_002), Some(60_003)).unwrap();
    }
    let program = bench.program();
    let service = |log: &str| {
        let mut command = Command::new(&program);
        command.args(["key", "describe", "alias/a", "--kms"]).arg(bench.path("kms"));
        command.arg("--key-file").arg(bench.path("own/key")).arg("--audit").arg(bench.path(log));
        command.uid(60_002).gid(60_003).env_remove("EFSCRYPT_PASSPHRASE").output().unwrap()
    };
    for change in ["rotate", "disable", "enable"] {
        bench.ok(&[change, "alias/a"]);
        succeed(service("own/log"));
    }
    assert_eq!(access(&bench.path("own/log")), (60_002, 60_003, 0o600));
    let (code, message) = failure(service("kms.audit"));
    assert_eq!(code, 31, "{message}");
    assert!(message.contains("--audit"), "{message}");
}

#[test]
fn nobody_waits_for_a_file_that_is_none() {
    let bench = Bench::new();
    bench.ok(&["create", "--alias", "a"]);
    let pipe = bench.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).unwrap();
    fs::set_permissions(bench.path("socket"), fs::Permissions::from_mode(0o600)).unwrap();
    let start = Instant::now();
    for bad in ["pipe", "socket", "", "/dev/zero", "/dev/null"] {
        let bad = bench.path(bad);
        for option in ["--key-file", "--kms", "--audit", "--passphrase-file"] {
            let mut command = bench.bare(&["list", option]);
            command.arg(&bad);
            if option == "--kms" || option == "--audit" {
                command.arg("--key-file").arg(bench.path("key"));
            }
            let output = command.output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{option} {bad:?}");
            assert_ne!(output.status.code(), Some(99), "{option} {bad:?}: {message}");
            assert!(!message.is_empty());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
