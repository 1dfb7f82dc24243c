//! The program itself: it mounts, says so, and ends with everything committed.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::bed::{Bed, pattern, until};

#[test]
fn what_was_written_is_there_after_the_next_mount() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    assert!(mounted.said().contains("is mounted on"), "{}", mounted.said());
    let limits = fs::read_to_string(mounted.proc("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "it leaves no image: {core}");
    let bytes = pattern(1, 3_000_000);
    fs::write(mounted.path("a"), &bytes).unwrap();
    fs::create_dir(mounted.path("d")).unwrap();
    fs::write(mounted.path("d/b"), b"small").unwrap();
    mounted.end();
    bed.check();
    let mounted = bed.mount(&["--read-only"]);
    assert!(fs::read(mounted.path("a")).unwrap() == bytes);
    assert_eq!(fs::read(mounted.path("d/b")).unwrap(), b"small");
    let refused = fs::write(mounted.path("c"), b"x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    mounted.signal(Signal::INT);
    let mut mounted = mounted;
    assert!(mounted.ended().success());
}

#[test]
fn a_terminal_that_goes_away_ends_it_too() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount(&[]);
    fs::write(mounted.path("a"), b"x").unwrap();
    mounted.signal(Signal::HUP);
    assert!(mounted.ended().success(), "{}", mounted.said());
    assert!(fs::read_dir(mounted.root()).unwrap().next().is_none(), "nobody finds it");
    bed.check();
}

#[test]
fn unmounting_from_outside_ends_it_too() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount(&[]);
    fs::write(mounted.path("a"), b"x").unwrap();
    unmount(mounted.root(), UnmountFlags::empty()).unwrap();
    assert!(mounted.ended().success(), "{}", mounted.said());
    assert!(mounted.said().contains("everything is committed"));
    bed.check();
}

#[test]
fn what_somebody_mounts_over_it_stays() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount(&[]);
    let file = fs::File::create_new(mounted.path("a")).unwrap();
    let over = || mount("tmpfs", mounted.root(), "tmpfs", MountFlags::empty(), None).unwrap();
    over();
    fs::write(mounted.path("over"), b"x").unwrap();
    mounted.signal(Signal::TERM);
    until("told", || mounted.said().contains("is mounted over it"));
    assert!(mounted.path("over").exists());
    unmount(mounted.root(), UnmountFlags::empty()).unwrap();
    // Out of sight it lives on, until the file is closed.
    unmount(mounted.root(), UnmountFlags::DETACH).unwrap();
    over();
    fs::write(mounted.path("over"), b"x").unwrap();
    drop(file);
    assert!(mounted.ended().success(), "{}", mounted.said());
    assert!(mounted.path("over").exists());
    bed.check();
}

#[test]
fn open_files_do_not_keep_it_for_ever() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount(&[]);
    let mut file = fs::File::create_new(mounted.path("a")).unwrap();
    file.write_all(b"before").unwrap();
    mounted.signal(Signal::TERM);
    until("told", || mounted.said().contains("have files open"));
    // Who has it open goes on.
    file.write_all(b" and after").unwrap();
    mounted.signal(Signal::TERM);
    assert!(mounted.ended().success(), "{}", mounted.said());
    let mut text = String::new();
    assert!(fs::read_dir(mounted.root()).unwrap().next().is_none(), "nobody finds it");
    assert!(file.write_all(b"too late").is_err() && file.read_to_string(&mut text).is_err());
    bed.check();
    let mounted = bed.mount(&[]);
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"before and after");
    mounted.end();
}

#[test]
fn killed_it_loses_nothing_that_was_made_durable() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount(&[]);
    let bytes = pattern(2, 500_000);
    let mut file = fs::File::create_new(mounted.path("a")).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    let late = mounted.path("late");
    fs::write(&late, b"perhaps").unwrap();
    mounted.signal(Signal::KILL);
    assert!(!mounted.ended().success());
    let refused = bed.command(&[]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("with umount /"), "{said}");
    drop(mounted);
    let mounted = bed.mount(&[]);
    assert!(fs::read(mounted.path("a")).unwrap() == bytes);
    mounted.end();
    bed.check();
}

/// The store's file is cut, deleted or replaced below the mount: nobody is told that something is
/// durable from then on, whether there was something to write or not.
#[test]
fn a_store_that_is_gone_below_the_mount_commits_nothing() {
    fn cut(store: &Path, len: u64) {
        fs::File::options().write(true).open(store).unwrap().set_len(len).unwrap();
    }
    type Act = fn(&Path);
    let acts: [(&str, Act); 4] = [
        ("cut", |store| cut(store, 40 << 20)),
        ("cut", |store| cut(store, 0)),
        ("deleted", |store| fs::remove_file(store).unwrap()),
        ("deleted", |store| {
            fs::write(store.with_extension("other"), "another").unwrap();
            fs::rename(store.with_extension("other"), store).unwrap();
        }),
    ];
    for (n, (what, act)) in acts.into_iter().enumerate() {
        let Some(bed) = Bed::new() else { return };
        let mut mounted = bed.mount(&[]);
        let mut file = fs::File::create_new(mounted.path("a")).unwrap();
        file.write_all(&pattern(2, 20 << 20)).unwrap();
        file.sync_all().unwrap();
        act(&bed.path("store"));
        if n % 2 == 0 {
            let _late = file.write_all(b"late");
        }
        let refused = file.sync_all().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(5), "{what}");
        drop(file);
        assert!(fs::create_dir(mounted.path("new")).is_err(), "{what}");
        mounted.signal(Signal::TERM);
        let status = mounted.ended();
        let said = mounted.said();
        assert_eq!(status.code(), Some(32), "{what}: {said}");
        assert!(said.contains(what) && said.contains("changes may be lost"), "{said}");
        assert!(!said.contains("everything is committed"), "{said}");
    }
}

#[test]
fn mistakes_are_told_and_mount_nothing() {
    let Some(bed) = Bed::new() else { return };
    let told = |args: &[&str], mount: &str, words: &str| {
        let mut command = bed.command(args);
        if !mount.is_empty() {
            command = Command::new(env!("CARGO_BIN_EXE_efscrypt-fuse"));
            command.arg(bed.path("store")).arg(bed.path(mount)).arg("--kms").arg(bed.path("kms"));
            command.arg("--key-file").arg(bed.path("key"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{said}");
    };
    told(&[], "nowhere", "cannot mount on");
    told(&[], "store", "cannot mount on");
    told(&["--context", "a=b"], "", "cannot open store");
    told(&["--write-back"], "", "--allow-other");
    fs::rename(bed.path("key"), bed.path("lost")).unwrap();
    told(&[], "", "cannot open key service file");
    fs::rename(bed.path("lost"), bed.path("key")).unwrap();
    let mounted = bed.mount(&[]);
    told(&[], "", "in use");
    mounted.end();
}

#[test]
fn a_program_that_somebody_changed_runs_as_who_runs_it() {
    const NOBODY: u32 = 65_534;
    let Some(bed) = Bed::new() else { return };
    let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    mode(&bed.path("."), 0o755).unwrap();
    for args in [&["--allow-other", "--suid"][..], &["--allow-other", "--suid", "--write-back"]] {
        let mounted = bed.mount(args);
        mode(mounted.root(), 0o755).unwrap();
        let program = mounted.path("id");
        fs::copy("/usr/bin/id", &program).unwrap();
        mode(&program, 0o4777).unwrap();
        let runs_as = || {
            let output = Command::new(&program).arg("-u").uid(NOBODY).gid(NOBODY).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(runs_as(), "0", "{args:?}");
        let mut write = Command::new("/bin/sh");
        write.arg("-c").arg("printf x >> \"$0\"").arg(&program).uid(NOBODY).gid(NOBODY);
        assert!(write.status().unwrap().success());
        assert_eq!(runs_as(), NOBODY.to_string(), "{args:?}");
        mounted.end();
        bed.check();
    }
}
