//! A full disk locks nobody out: keys are used and disabled from what is kept in reserve.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Bench;

/// A small disk of its own, unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` for who may not mount one.
    fn new() -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Disk { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.path("fill")).unwrap();
        for size in [1 << 16, 4096, 1] {
            while file.write(&vec![1; size]).is_ok_and(|written| written == size) {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path()).status();
    }
}

fn run(bench: &Bench, kms: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = bench.command(args).env("EFSCRYPT_KMS", kms).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn keys_are_used_and_disabled_on_a_full_disk() {
    let (bench, Some(disk)) = (Bench::new(), Disk::new()) else { return };
    let kms = disk.path("kms");
    let ok = |args: &[&str]| {
        let (code, message) = run(&bench, &kms, args);
        assert_eq!(code, Some(0), "{args:?}: {message}");
    };
    ok(&["init"]);
    ok(&["create", "--alias", "a"]);
    ok(&["create", "--alias", "b"]);
    disk.fill();
    // A process that has it open keeps the old file's space taken.
    let _held = fs::File::open(&kms).unwrap();
    for _ in 0..20 {
        ok(&["describe", "a"]);
    }
    for _ in 0..5 {
        ok(&["disable", "a"]);
        ok(&["enable", "a"]);
    }
    ok(&["schedule-deletion", "b"]);
    ok(&["disable", "a"]);
    let spare = fs::read(disk.path("kms.reserve")).unwrap();
    assert!(spare.iter().all(|byte| *byte == 0), "contents of before are left");
    ok(&["audit"]);
    let text = fs::read_to_string(disk.path("kms.audit")).unwrap();
    assert_eq!(text.matches(r#""op":"disable""#).count(), 6);

    // The reserve has an end, which is told with what to do, and comes back with room.
    let mut uses = 0;
    let (code, message) = loop {
        match run(&bench, &kms, &["describe", "a"]) {
            (Some(0), _) if uses < 5000 => uses += 1,
            other => break other,
        }
    };
    assert_eq!(code, Some(30), "{message}");
    assert!(message.contains("--audit"), "{message}");
    let other = bench.path("other");
    let (code, message) = run(&bench, &kms, &["list", "--audit", other.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{message}");
    fs::remove_file(disk.path("fill")).unwrap();
    ok(&["describe", "a"]);
    disk.fill();
    for _ in 0..20 {
        ok(&["describe", "a"]);
    }
    ok(&["audit"]);
}
