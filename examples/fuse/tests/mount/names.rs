//! Names, links, types and attributes, as programs see them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags, getxattr,
    listxattr, mknodat, removexattr, renameat_with, setxattr, utimensat,
};

use crate::bed::Bed;

#[test]
fn every_type_and_link() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let path = |name: &str| mounted.path(name);
    fs::write(path("file"), b"x").unwrap();
    fs::hard_link(path("file"), path("link")).unwrap();
    assert_eq!(fs::metadata(path("file")).unwrap().nlink(), 2);
    let target = "t".repeat(4_000);
    symlink(&target, path("symlink")).unwrap();
    assert_eq!(fs::read_link(path("symlink")).unwrap().to_str(), Some(&*target));
    let device = rustix::fs::makedev(1234, 98_765);
    for (name, kind) in [
        ("fifo", FileType::Fifo),
        ("socket", FileType::Socket),
        ("char", FileType::CharacterDevice),
        ("block", FileType::BlockDevice),
        ("regular", FileType::RegularFile),
    ] {
        mknodat(CWD, path(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    assert!(fs::metadata(path("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::metadata(path("socket")).unwrap().file_type().is_socket());
    let block = fs::metadata(path("block")).unwrap();
    assert!(block.file_type().is_block_device() && block.rdev() == device);
    assert!(fs::metadata(path("char")).unwrap().file_type().is_char_device());
    assert_eq!(fs::metadata(path("regular")).unwrap().mode(), 0o100_640);
    let longest = OsStr::from_bytes(&[0xff; 255]).to_owned();
    fs::write(mounted.root().join(&longest), b"long").unwrap();
    assert_eq!(fs::read(mounted.root().join(&longest)).unwrap(), b"long");
    let longer = fs::write(mounted.root().join("n".repeat(256)), b"").unwrap_err();
    assert_eq!(longer.kind(), ErrorKind::InvalidFilename);
    mounted.end();
    bed.check();
}

#[test]
fn renames_with_their_flags() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let path = |name: &str| mounted.path(name);
    fs::write(path("a"), b"a").unwrap();
    fs::write(path("b"), b"b").unwrap();
    let rename =
        |from, to, flags| renameat_with(CWD, path(from), CWD, path(to), flags).map_err(drop);
    assert!(rename("a", "b", RenameFlags::NOREPLACE).is_err());
    rename("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(
        (fs::read(path("a")).unwrap(), fs::read(path("b")).unwrap()),
        (b"b".into(), b"a".into())
    );
    rename("a", "c", RenameFlags::NOREPLACE).unwrap();
    rename("c", "b", RenameFlags::empty()).unwrap();
    assert_eq!(fs::read(path("b")).unwrap(), b"b");
    fs::create_dir_all(path("d/e")).unwrap();
    assert!(rename("d", "d/e/f", RenameFlags::empty()).is_err());
    assert_eq!(fs::read_dir(mounted.root()).unwrap().count(), 2);
    mounted.end();
    bed.check();
}

#[test]
fn directories_are_read_while_they_change() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let dir = mounted.path("d");
    fs::create_dir(&dir).unwrap();
    let names: Vec<String> = (0..3_000).map(|n| format!("name {n}")).collect();
    names.iter().for_each(|name| fs::write(dir.join(name), b"").unwrap());
    let mut seen = BTreeSet::new();
    for (at, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("name") {
            assert!(seen.insert(name), "a name twice");
        }
        // Every third of the names goes, and others come, while the rest is read.
        if let Some(name) = names.get(at * 3) {
            fs::remove_file(dir.join(name)).unwrap();
            fs::write(dir.join(format!("new {at}")), b"").unwrap();
        }
    }
    let kept = names.iter().enumerate().filter(|(at, _)| at % 3 != 0);
    kept.for_each(|(_, name)| assert!(seen.contains(name), "{name} was not seen"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 3_000);
    mounted.end();
    bed.check();
}

#[test]
fn attributes_with_all_forms_of_times() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&["--allow-other"]);
    let file = mounted.path("a");
    fs::write(&file, b"x").unwrap();
    std::os::unix::fs::chown(&file, Some(7), Some(8)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o6711)).unwrap();
    let stat = fs::metadata(&file).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (7, 8, 0o6711));
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"y").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o6711, "root keeps them");
    std::os::unix::fs::chown(&file, Some(9), None).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o711);
    let times = |a: (i64, i64), m: (i64, i64)| {
        let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time(a), last_modification: time(m) };
        utimensat(CWD, &file, &times, AtFlags::empty()).unwrap();
        let stat = fs::metadata(&file).unwrap();
        ((stat.atime(), stat.atime_nsec()), (stat.mtime(), stat.mtime_nsec()))
    };
    const OMIT: i64 = (1 << 30) - 2;
    const NOW: i64 = (1 << 30) - 1;
    assert_eq!(times((5, 6), (-7, 8)), ((5, 6), (-7, 8)));
    assert_eq!(times((0, OMIT), (9, 1)), ((5, 6), (9, 1)));
    assert_eq!(times((-1, 999_999_999), (0, OMIT)), ((-1, 999_999_999), (9, 1)));
    let (atime, mtime) = times((0, NOW), (1 << 40, 0));
    assert!(atime.0 > 1_000_000_000 && mtime == (1 << 40, 0));
    let directory = mounted.path("d");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, None, Some(50)).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o2775)).unwrap();
    fs::create_dir(directory.join("e")).unwrap();
    let below = fs::metadata(directory.join("e")).unwrap();
    assert_eq!((below.gid(), below.mode() & 0o2000), (50, 0o2000));
    mounted.end();
    bed.check();
}

#[test]
fn extended_attributes() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let file = mounted.path("a");
    fs::write(&file, b"x").unwrap();
    let value = vec![7; 60_000];
    setxattr(&file, "user.big", &value, XattrFlags::CREATE).unwrap();
    assert!(setxattr(&file, "user.big", b"", XattrFlags::CREATE).is_err());
    assert!(setxattr(&file, "user.other", b"", XattrFlags::REPLACE).is_err());
    setxattr(&file, "security.capability", &CAPABILITY, XattrFlags::empty()).unwrap();
    let mut back = vec![0; 65_536];
    assert_eq!(getxattr(&file, "user.big", &mut back[..]), Ok(60_000));
    assert!(back[..60_000] == value);
    assert_eq!(getxattr(&file, "user.big", &mut back[..10]), Err(rustix::io::Errno::RANGE));
    assert!(listxattr(&file, &mut back[..]).unwrap() > 20);
    // A program that is changed, or given to somebody, loses what it may.
    std::os::unix::fs::chown(&file, Some(1), None).unwrap();
    let missing = Err(rustix::io::Errno::NODATA);
    assert_eq!(getxattr(&file, "security.capability", &mut back[..]), missing);
    removexattr(&file, "user.big").unwrap();
    assert_eq!(getxattr(&file, "user.big", &mut back[..]), missing);
    assert_eq!(listxattr(&file, &mut back[..]), Ok(0));
    mounted.end();
    bed.check();
}

#[test]
fn file_handles_lead_to_inodes_that_the_kernel_forgot() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    fs::create_dir(mounted.path("d")).unwrap();
    for name in ["kept", "d/removed"] {
        fs::write(mounted.path(name), name).unwrap();
    }
    let (root, store) = (mounted.root().to_owned(), bed.path("handles"));
    let run = |step: &str| {
        let mut python = std::process::Command::new("python3");
        let output = python.arg("-c").arg(HANDLES).arg(step).arg(&root).arg(&store).output();
        output.map(|output| {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
            said
        })
    };
    let Ok(_) = run("name") else {
        eprintln!("NOT CHECKED: no python3");
        return mounted.end();
    };
    mounted.end();
    // Another mount knows none of them yet.
    let mounted = bed.mount(&[]);
    fs::remove_file(mounted.path("d/removed")).unwrap();
    assert_eq!(run("open").unwrap(), "kept ok\nd ok\nd/removed ESTALE\n");
    mounted.end();
    bed.check();
}

/// Makes handles of files, or opens files by them.
const HANDLES: &str = r#"
import ctypes, errno, os, pickle, sys
step, root, store = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
names, number = ["kept", "d", "d/removed"], ctypes.c_int()
def name(path):
    handle = ctypes.create_string_buffer((128).to_bytes(4, sys.byteorder), 136)
    path = os.path.join(root, path).encode()
    if libc.name_to_handle_at(-100, path, handle, ctypes.byref(number), 0) != 0:
        sys.exit("name: " + os.strerror(ctypes.get_errno()))
    return handle.raw
def open_handle(directory, raw):
    file = libc.open_by_handle_at(directory, ctypes.create_string_buffer(raw), os.O_RDONLY)
    return "ok" if file >= 0 else errno.errorcode[ctypes.get_errno()]
if step == "name":
    pickle.dump([name(path) for path in names], open(store, "wb"))
else:
    directory = os.open(root, os.O_RDONLY)
    for path, raw in zip(names, pickle.load(open(store, "rb"))):
        print(path, open_handle(directory, raw))
"#;

#[test]
fn names_of_attributes_are_in_their_spaces() {
    const NOBODY: u32 = 65_534;
    let Some(bed) = Bed::new() else { return };
    fs::set_permissions(bed.path("."), PermissionsExt::from_mode(0o755)).unwrap();
    let mounted = bed.mount(&["--allow-other"]);
    fs::set_permissions(mounted.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let file = mounted.path("a");
    fs::write(&file, b"x").unwrap();
    for name in ["user.shown", "trusted.hidden"] {
        setxattr(&file, name, b"v", XattrFlags::empty()).unwrap();
    }
    let unsupported = Err(rustix::io::Errno::OPNOTSUPP);
    for name in ["other.name", "nospace", "system.other"] {
        assert_eq!(setxattr(&file, name, b"v", XattrFlags::empty()), unsupported, "{name}");
    }
    let mut back = vec![0; 1024];
    let whole = "user.shown\0trusted.hidden\0".len();
    assert_eq!(listxattr(&file, &mut back[..]), Ok(whole));
    let mut python = std::process::Command::new("/usr/bin/python3");
    let list = "import ctypes, os, sys; file = sys.argv[1]; print(os.listxattr(file), \
                ctypes.CDLL(None).listxattr(file.encode(), None, 0))";
    python.arg("-Ic").arg(list).arg(&file).uid(NOBODY).gid(NOBODY);
    match python.output() {
        Ok(output) if output.status.success() => {
            assert_eq!(String::from_utf8_lossy(&output.stdout), "['user.shown'] 11\n");
        }
        _ => eprintln!("NOT CHECKED: no python3 for everybody"),
    }
    mounted.end();
    bed.check();
}

/// Capabilities of a program, second version: all clear.
const CAPABILITY: [u8; 20] = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
