//! Times, where a size is set that the file has: as on the disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::bed::Bed;

/// How a program sets a size.
#[derive(Debug, Clone, Copy)]
enum How {
    Opened,
    Created,
    OpenFile,
    Path,
    ReadBack,
}

/// Sets a size; `false` where there is no program that does it so.
fn set_size(path: &Path, how: How, size: u64) -> bool {
    match how {
        How::Opened => drop(OpenOptions::new().write(true).truncate(true).open(path).unwrap()),
        How::Created => drop(File::create(path).unwrap()),
        How::OpenFile => {
            OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
        }
        How::Path => {
            let mut python = Command::new("/usr/bin/python3");
            python.args(["-Ic", "import os, sys; os.truncate(sys.argv[1], int(sys.argv[2]))"]);
            let Ok(status) = python.arg(path).arg(size.to_string()).status() else { return false };
            assert!(status.success());
        }
        How::ReadBack => drop(fs::read(path).unwrap()),
    }
    true
}

/// Whether mtime and ctime move when a file of some bytes gets a size.
fn moves(dir: &Path, how: How, bytes: u64, size: u64) -> Option<(bool, bool)> {
    let path = dir.join(format!("{how:?} {bytes} {size}"));
    let file = File::create(&path).unwrap();
    file.set_len(bytes).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_modified(old).unwrap();
    drop(file);
    let before = fs::metadata(&path).unwrap();
    sleep(Duration::from_millis(20));
    if !set_size(&path, how, size) {
        return None;
    }
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.len(), size);
    let ctime = |stat: &fs::Metadata| (stat.ctime(), stat.ctime_nsec());
    Some((after.modified().unwrap() != old, ctime(&after) != ctime(&before)))
}

#[test]
fn a_size_that_is_set_moves_times_as_on_the_disk() {
    let Some(bed) = Bed::new() else { return };
    let disk = bed.path("disk");
    fs::create_dir(&disk).unwrap();
    let cases = [
        (How::Opened, 0, 0, (true, true)),
        (How::Opened, 5, 0, (true, true)),
        (How::Created, 0, 0, (true, true)),
        (How::OpenFile, 0, 0, (true, true)),
        (How::OpenFile, 5, 5, (true, true)),
        (How::OpenFile, 9_000, 9_000, (true, true)),
        (How::OpenFile, 5, 6, (true, true)),
        (How::Path, 5, 5, (true, true)),
        (How::Path, 0, 0, (true, true)),
        (How::Path, 5, 4, (true, true)),
        (How::ReadBack, 5, 5, (false, false)),
    ];
    for args in [&[][..], &["--write-back", "--allow-other"]] {
        let mounted = bed.mount(args);
        for (how, bytes, size, want) in cases {
            let what = format!("{how:?} {bytes} {size} {args:?}");
            let Some(have) = moves(mounted.root(), how, bytes, size) else {
                eprintln!("NOT CHECKED: no python3");
                continue;
            };
            // By its path, file systems differ where the size stays.
            let same_by_path = matches!(how, How::Path) && bytes == size;
            if same_by_path && !args.is_empty() {
                assert_eq!(have, (false, false), "{what}");
                continue;
            }
            assert_eq!(have, want, "{what}");
            if !same_by_path {
                assert_eq!(moves(&disk, how, bytes, size), Some(want), "the disk: {what}");
            }
        }
        mounted.end();
        bed.check();
    }
}
