//! How the program ends, and what mounts after it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use efscrypt::fs::{ROOT_INO, SetAttr};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, pattern, until};

const NOBODY: u32 = 65_534;

#[test]
fn signals_that_were_ignored_stay_so() {
    let Some(bed) = Bed::new() else { return };
    let mut mounted = bed.mount_after("trap '' HUP INT");
    fs::write(mounted.path("a"), b"x").unwrap();
    for signal in [Signal::HUP, Signal::INT] {
        mounted.signal(signal);
    }
    sleep(Duration::from_millis(500));
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"x");
    mounted.signal(Signal::TERM);
    assert!(mounted.ended().success(), "{}", mounted.said());
    bed.check();
    // Whichever it is.
    let mut mounted = bed.mount_after("trap '' TERM");
    mounted.signal(Signal::TERM);
    sleep(Duration::from_millis(500));
    assert!(fs::read(mounted.path("a")).is_ok());
    mounted.signal(Signal::HUP);
    assert!(mounted.ended().success(), "{}", mounted.said());
    let mut mounted = bed.mount_after("trap '' TERM HUP INT");
    unmount(mounted.root(), UnmountFlags::empty()).unwrap();
    assert!(mounted.ended().success(), "{}", mounted.said());
    bed.check();
}

#[test]
fn a_store_is_mounted_again_at_once() {
    let Some(bed) = Bed::new() else { return };
    let bytes = pattern(1, 32 << 20);
    let mut last = bed.mount(&[]);
    for turn in 0..3 {
        fs::write(last.path(&format!("{turn}")), &bytes).unwrap();
        unmount(last.root(), UnmountFlags::empty()).unwrap();
        let next = bed.mount(&[]);
        assert!(last.ended().success(), "{}", last.said());
        // Dropped, it would unmount what is there now.
        std::mem::forget(std::mem::replace(&mut last, next));
        assert!(fs::read(last.path(&format!("{turn}"))).unwrap() == bytes);
    }
    // One that stays is named, soon.
    fs::create_dir(bed.path("other")).unwrap();
    let start = Instant::now();
    let mut command = bed.command(&[]);
    let refused = command.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && start.elapsed() < Duration::from_secs(15), "{said}");
    assert!(said.contains("waiting up to") && said.contains("close the program"), "{said}");
    assert!(said.contains("(efscrypt-fuse)") || !said.contains(" by process"), "{said}");
    last.end();
    bed.check();
}

#[test]
fn no_path_is_needed_to_end() {
    let Some(bed) = Bed::new() else { return };
    for path in [&["PATH="][..], &["-u", "PATH"]] {
        let mut mounted = bed.mount_after(&format!("set -- env {} \"$@\"", path.join(" ")));
        fs::write(mounted.path("a"), b"x").unwrap();
        mounted.signal(Signal::TERM);
        assert!(mounted.ended().success(), "{}", mounted.said());
        assert!(mounted.said().contains("everything is committed"), "{}", mounted.said());
        bed.check();
    }
}

/// Runs a program as nobody where nothing outside is changed, and anybody may open the kernel's
/// device.
const AS_NOBODY: &str = r#"
exec unshare --mount --propagation private -- sh -c '
    mknod -m 666 "$0/fuse" c 10 229 && mount --bind "$0/fuse" /dev/fuse
    exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
' "$@"
"#;
/// Takes away there all programs that unmount for users.
const HIDE: &str = r#"
for place in /usr/bin /bin /usr/sbin /sbin /usr/local/bin; do
    for name in fusermount3 fusermount; do
        [ ! -e $place/$name ] || mount --bind /dev/null $place/$name
    done
done"#;

#[test]
fn it_ends_where_nobody_can_unmount_it() {
    let Some(bed) = Bed::new() else { return };
    let program = bed.path("efscrypt-fuse");
    fs::copy(env!("CARGO_BIN_EXE_efscrypt-fuse"), &program).unwrap();
    let store = bed.store();
    let owner = SetAttr { uid: Some(NOBODY), gid: Some(NOBODY), ..SetAttr::default() };
    store.file_system().setattr(ROOT_INO, &owner).unwrap();
    store.close().unwrap();
    for file in [".", "store", "mnt", "kms", "key"] {
        chown(bed.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(bed.path("."), PermissionsExt::from_mode(0o755)).unwrap();
    for (hide, path) in [(true, "PATH"), (true, "PATH="), (false, "PATH=/nowhere")] {
        let log = bed.path("log");
        let mut command = Command::new("sh");
        let place = bed.path(".");
        command.args(["-c", AS_NOBODY, "sh"]).arg(&place).args(["env", "-u", "NONE"]);
        command.args(if path == "PATH" { vec!["-u", path] } else { vec![path] }).arg(&program);
        command.args(bed.command(&[]).get_args().skip(2));
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        let mut ended = None;
        until("mounted", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || said().contains("is mounted on")
        });
        if ended.is_some() {
            eprintln!("NOT CHECKED: nobody cannot mount: {}", said());
            return;
        }
        let inside = |script: &str| {
            let mut inside = Command::new("nsenter");
            inside.args(["-m", "-t", &child.id().to_string(), "--", "sh", "-c", script]);
            assert!(inside.status().unwrap().success(), "{script}");
        };
        let mnt = bed.path("mnt");
        let write = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c";
        inside(&format!("{write} 'echo {path} >> {}/a'", mnt.display()));
        if hide {
            inside(HIDE);
        }
        let process = Pid::from_child(&child);
        kill_process(process, Signal::TERM).unwrap();
        let mut status = None;
        until("ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", said());
        assert!(said().contains("committed"), "{}", said());
        assert_eq!(said().contains("nothing here may unmount"), hide, "{}", said());
        fs::remove_file(bed.path("fuse")).unwrap();
    }
    let store = bed.store();
    let fs = store.file_system();
    let (ino, mut text) = (fs.at(b"/a").unwrap().ino, [0; 64]);
    let read = fs.read(ino, 0, &mut text).unwrap();
    assert_eq!(&text[..read.len], b"PATH\nPATH=\nPATH=/nowhere\n");
    assert!(efscrypt::check::check(fs).unwrap().is_clean());
    store.close().unwrap();
}
