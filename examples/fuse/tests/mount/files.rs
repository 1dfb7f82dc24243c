//! Contents of files, as programs see them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::fs::SeekFrom as Find;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, seek, statvfs};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::bed::{Bed, pattern, until};

/// Options with which the kernel keeps writes back.
const BACK: [&str; 2] = ["--write-back", "--allow-other"];

fn open(path: impl AsRef<std::path::Path>) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
fn holes_are_seen_and_made() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let file = open(mounted.path("a"));
    file.set_len(16 << 40).unwrap();
    file.write_all_at(&[1; 8192], 1 << 40).unwrap();
    let stat = file.metadata().unwrap();
    assert_eq!((stat.len(), stat.blocks()), (16 << 40, 16));
    assert_eq!(seek(&file, Find::Data(0)), Ok(1 << 40));
    assert_eq!(seek(&file, Find::Hole(1 << 40)), Ok((1 << 40) + 8192));
    assert_eq!(seek(&file, Find::Data((1 << 40) + 8192)), Err(Errno::NXIO));
    let ranges = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, ranges, 1 << 40, 4096).unwrap();
    assert_eq!(seek(&file, Find::Data(0)), Ok((1 << 40) + 4096));
    let mut byte = [9];
    file.read_exact_at(&mut byte, (1 << 40) + 5).unwrap();
    assert_eq!(byte, [0]);
    let small = open(mounted.path("b"));
    small.write_all_at(&pattern(1, 10_000), 0).unwrap();
    fallocate(&small, FallocateFlags::KEEP_SIZE, 0, 50_000).unwrap();
    assert_eq!(small.metadata().unwrap().len(), 10_000);
    fallocate(&small, FallocateFlags::empty(), 0, 50_000).unwrap();
    fallocate(&small, FallocateFlags::ZERO_RANGE, 100, 60_000).unwrap();
    assert_eq!(small.metadata().unwrap().len(), 60_100);
    let mut want = pattern(1, 100);
    want.resize(60_100, 0);
    assert!(fs::read(mounted.path("b")).unwrap() == want);
    assert!(fallocate(&small, FallocateFlags::COLLAPSE_RANGE, 0, 4096).is_err());
    drop((file, small));
    mounted.end();
    bed.check();
}

#[test]
fn what_the_kernel_keeps_back_is_there_for_all() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&BACK);
    let (path, bytes) = (mounted.path("a"), pattern(2, 300_000));
    let file = open(&path);
    file.write_all_at(&bytes, 1 << 20).unwrap();
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(stat.len(), (1 << 20) + 300_000);
    assert_eq!(stat.blocks(), 1, "it is kept back, and does not look like a hole");
    assert_eq!(seek(&file, Find::Data(0)), Ok(0), "what is kept back would be a hole");
    file.write_all_at(b"later", 1000).unwrap();
    let log = OpenOptions::new().append(true).open(&path).unwrap();
    (&log).write_all(b"end").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), (1 << 20) + 300_003);
    drop((file, log));
    let stat = fs::metadata(&path).unwrap();
    let (mtime, blocks) = ((stat.mtime(), stat.mtime_nsec()), stat.blocks());
    assert!((592..700).contains(&blocks), "{blocks}");
    mounted.end();
    bed.check();
    let mounted = bed.mount(&["--read-only", "--write-back", "--allow-other"]);
    let stat = fs::metadata(mounted.path("a")).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), mtime);
    let back = fs::read(&path).unwrap();
    assert!(back[1 << 20..].starts_with(&bytes) && back.ends_with(b"end"));
    assert!(back[1000..].starts_with(b"later"));
    assert!(back[2000..1 << 20].iter().all(|byte| *byte == 0));
}

#[test]
fn contents_that_come_late_move_no_time() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&BACK);
    let (late, other) = (open(mounted.path("late")), open(mounted.path("other")));
    let mtime = |file: &File| file.metadata().unwrap().modified().unwrap();
    let made = mtime(&late);
    sleep(Duration::from_millis(50));
    late.write_all_at(&pattern(3, 100_000), 0).unwrap();
    let written = mtime(&late);
    sleep(Duration::from_millis(50));
    let free = statvfs(mounted.root()).unwrap().f_bfree;
    // Has the kernel hand over what it keeps back, and the times at any time or never.
    fadvise(&late, 0, None, Advice::DontNeed).unwrap();
    until("written", || statvfs(mounted.root()).unwrap().f_bfree < free);
    other.sync_all().unwrap();
    mounted.signal(Signal::KILL);
    let mut mounted = mounted;
    mounted.ended();
    drop((late, other, mounted));
    let mounted = bed.mount(&[]);
    let late = open(mounted.path("late"));
    assert_eq!(late.metadata().unwrap().len(), 100_000);
    assert!([made, written].contains(&mtime(&late)), "{:?}", (made, written, mtime(&late)));
    drop(late);
    mounted.end();
}

#[test]
fn a_full_store_is_told_when_what_was_kept_back_is_written() {
    let Some(bed) = Bed::small() else { return };
    let mounted = bed.mount(&BACK);
    let (big, bytes) = (mounted.path("big"), pattern(5, 1 << 20));
    let file = open(&big);
    for at in 0..200 {
        file.write_all_at(&bytes, at << 20).unwrap();
    }
    let full = file.sync_all().unwrap_err();
    assert_eq!(full.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    drop(file);
    fs::remove_file(&big).unwrap();
    // A program that closes, and looks at what that says.
    let of = format!("of={}", big.display());
    let dd = Command::new("dd").args(["if=/dev/zero", &of, "bs=1M", "count=200"]).output().unwrap();
    let said = String::from_utf8_lossy(&dd.stderr).into_owned();
    assert!(!dd.status.success() && said.contains("No space left"), "{said}");
    fs::remove_file(&big).unwrap();
    let small = open(mounted.path("small"));
    small.write_all_at(&bytes, 0).unwrap();
    small.sync_all().unwrap();
    drop(small);
    mounted.end();
    bed.check();
}

#[test]
fn space_that_is_freed_later_is_seen_to_go() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let file = open(mounted.path("a"));
    let bytes = pattern(7, 1 << 20);
    for at in 0..128 {
        file.write_all_at(&bytes, at << 20).unwrap();
    }
    file.sync_all().unwrap();
    file.set_len(0).unwrap();
    assert!(file.metadata().unwrap().blocks() > 0, "all was freed at once");
    let other = open(mounted.path("b"));
    until("freed", || {
        other.write_all_at(b"x", 0).unwrap();
        other.sync_all().unwrap();
        file.metadata().unwrap().blocks() == 0
    });
    drop((file, other));
    mounted.end();
    bed.check();
}

#[test]
fn open_files_outlive_their_names() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let bytes = pattern(3, 200_000);
    let mut file = open(mounted.path("a"));
    file.write_all(&bytes).unwrap();
    fs::remove_file(mounted.path("a")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut back = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut back).unwrap();
    assert!(back == bytes);
    file.write_all(b"more").unwrap();
    file.sync_all().unwrap();
    drop(file);
    mounted.end();
    bed.check();
}

#[test]
fn appends_of_many_threads_all_count() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let path = mounted.path("log");
    thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                let mut log = OpenOptions::new().append(true).create(true).open(path).unwrap();
                for _ in 0..300 {
                    log.write_all(&[b'a' + writer; 37]).unwrap();
                }
            });
        }
    });
    let log = fs::read(&path).unwrap();
    assert_eq!(log.len(), 4 * 300 * 37);
    for line in log.chunks(37) {
        assert!(line.iter().all(|byte| *byte == line[0]), "torn");
    }
    mounted.end();
    bed.check();
}

#[test]
fn a_full_store_says_so_and_can_be_emptied() {
    let Some(bed) = Bed::small() else { return };
    let mounted = bed.mount(&[]);
    let bytes = pattern(5, 1 << 20);
    for round in 0..3 {
        let mut file = open(mounted.path("big"));
        let full = (0..1_000).find_map(|_| file.write_all(&bytes).err()).unwrap();
        assert_eq!(full.raw_os_error(), Some(Errno::NOSPC.raw_os_error()), "round {round}");
        let len = file.metadata().unwrap().len();
        assert!(len > 50 << 20, "{len} bytes in round {round}");
        let asked = fallocate(&file, FallocateFlags::empty(), len, 1 << 30);
        assert_eq!(asked, Err(Errno::NOSPC));
        // What is there is whole.
        let mut back = vec![0; 1 << 20];
        file.read_exact_at(&mut back, 0).unwrap();
        assert!(back == bytes);
        drop(file);
        fs::remove_file(mounted.path("big")).unwrap();
        fs::write(mounted.path("small"), &bytes).unwrap();
    }
    mounted.end();
    bed.check();
}

#[test]
fn many_threads_use_one_directory() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&["--threads", "8"]);
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let mounted = &mounted;
            scope.spawn(move || {
                for turn in 0..100u64 {
                    let (path, other) = (format!("f{thread}-{turn}"), format!("g{thread}-{turn}"));
                    let bytes = pattern(thread * 1000 + turn, (turn * 97) as usize);
                    fs::write(mounted.path(&path), &bytes).unwrap();
                    fs::rename(mounted.path(&path), mounted.path(&other)).unwrap();
                    assert!(fs::read(mounted.path(&other)).unwrap() == bytes);
                    if turn % 2 == 0 {
                        fs::remove_file(mounted.path(&other)).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(fs::read_dir(mounted.root()).unwrap().count(), 8 * 50);
    mounted.end();
    bed.check();
}
