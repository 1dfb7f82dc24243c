//! Tests of the device on a file.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::error::ErrorKind;

fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn create_write_reopen_read() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    assert_eq!((device.len().unwrap(), device.capacity().unwrap()), (0, None));
    device.write_at(4096, &[7; 4096]).unwrap();
    device.flush().unwrap();
    assert_eq!(device.len().unwrap(), 8192);
    drop(device);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);

    let device = FileDevice::open(&path, true).unwrap();
    let mut buf = [1; 8192];
    device.read_at(0, &mut buf).unwrap();
    assert_eq!(buf[..4096], [0; 4096]);
    assert_eq!(buf[4096..], [7; 4096]);
    let beyond = device.read_at(1, &mut buf).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    for refused in [device.write_at(0, b"x"), device.allocate(0, 1), device.discard(0, 1)] {
        assert!(is(&refused, Errno::ROFS));
    }
}

#[test]
fn create_never_overwrites() {
    let (dir, path) = scratch();
    fs::write(&path, b"precious").unwrap();
    assert_eq!(kind(FileDevice::create(&path)), ErrorKind::Exists);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::write(&path, b"").unwrap();
    FileDevice::create(&path).unwrap();

    let within = dir.path().join("no such directory/store");
    assert_eq!(kind(FileDevice::create(within)), ErrorKind::NotFound);
    assert_eq!(kind(FileDevice::create(dir.path())), ErrorKind::IsDirectory);
    assert_eq!(kind(FileDevice::open(dir.path(), false)), ErrorKind::IsDirectory);
    assert_eq!(kind(FileDevice::open(dir.path().join("none"), false)), ErrorKind::NotFound);
    assert_eq!(kind(FileDevice::open("/dev/null", false)), ErrorKind::InvalidArgument);
}

#[test]
fn one_writer_or_many_readers() {
    let (_dir, path) = scratch();
    let writer = FileDevice::create(&path).unwrap();
    assert_eq!(kind(FileDevice::open(&path, false)), ErrorKind::InUse);
    assert_eq!(kind(FileDevice::open(&path, true)), ErrorKind::InUse);
    assert_eq!(kind(FileDevice::create(&path)), ErrorKind::InUse);
    drop(writer);
    let _one = FileDevice::open(&path, true).unwrap();
    let _two = FileDevice::open(&path, true).unwrap();
    assert_eq!(kind(FileDevice::open(&path, false)), ErrorKind::InUse);
}

#[test]
fn vectored_writes_longer_than_one_call() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    let lines: Vec<Vec<u8>> = (0..2 * IOV_MAX + 5).map(|n| vec![n as u8; n % 7]).collect();
    let bufs: Vec<_> = lines.iter().map(|line| io::IoSlice::new(line)).collect();
    device.write_many(3, &bufs).unwrap();
    let mut expected = vec![0; 3];
    expected.extend(lines.concat());
    assert_eq!(fs::read(&path).unwrap(), expected);
    assert_eq!(device.len().unwrap(), expected.len() as u64);
    device.write_many(0, &[]).unwrap();
}

#[test]
fn short_vectored_writes_are_finished() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    let parts = [b"ab".as_slice(), b"", b"cdefg", b"h", b"ijk"].map(io::IoSlice::new);
    for most in 1..12 {
        write_all_vectored(&device.file, &parts, 1, |batch, at| {
            let all: Vec<u8> = batch.iter().flat_map(|buf| buf.to_vec()).collect();
            let taken = all.len().min(most);
            device.file.write_all_at(&all[..taken], at)?;
            Ok(taken)
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\0abcdefghijk");
    }
    let stuck = write_all_vectored(&device.file, &parts, 1, |_, _| Ok(0)).unwrap_err();
    assert_eq!(stuck.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn growth_is_reserved_ahead_but_bounded() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    let mut sizes = std::collections::BTreeSet::new();
    for mib in 0..64u64 {
        device.allocate(mib << 20, 1 << 20).unwrap();
        let (need, len) = ((mib + 1) << 20, device.len().unwrap());
        assert!(len >= need && len <= need + need / 16, "{len} for {need}");
        assert_eq!(len, fs::metadata(&path).unwrap().len());
        sizes.insert(len);
    }
    assert!(sizes.len() < 48, "{} changes of size", sizes.len());
    let mut buf = [1; 100];
    device.read_at((64 << 20) - 50, &mut buf[..50]).unwrap();
    assert_eq!(buf[..50], [0; 50]);
}

#[test]
fn allocate_fills_holes_and_keeps_bytes() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    device.allocate(0, 1 << 20).unwrap();
    device.write_at(0, &[9; 1 << 20]).unwrap();
    let (len, full) = (device.len().unwrap(), fs::metadata(&path).unwrap().blocks());
    device.discard(4096, 1 << 19).unwrap();
    device.allocate(0, 1 << 20).unwrap();
    assert_eq!(device.len().unwrap(), len);
    assert!(fs::metadata(&path).unwrap().blocks() >= full);
    let mut buf = [0; 4096];
    device.read_at(0, &mut buf).unwrap();
    assert_eq!(buf, [9; 4096]);
    device.discard(u64::MAX - 5, 1).unwrap_err();
    device.discard(len, 4096).unwrap();
    assert!(is(&device.allocate(1, u64::MAX), Errno::FBIG));
}

#[test]
fn a_full_host_fails_growth_and_nothing_else() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    device.write_at(0, &[5; 1 << 20]).unwrap();
    let asked = RefCell::new(Vec::new());
    // A host with room for 1.5 MiB, which keeps what it allocated before it ran out.
    let host = |range: Range<u64>| {
        asked.borrow_mut().push(range.clone());
        device.file.set_len(range.end.min(3 << 19))?;
        if range.end > 3 << 19 { Err(Errno::NOSPC.into()) } else { Ok(()) }
    };
    let mut growth = device.growth.lock();
    device.grow(&mut growth, 1 << 20..3 << 19, host).unwrap();
    assert_eq!(asked.borrow().len(), 2, "generous, then exact");
    assert_eq!(device.len().unwrap(), 3 << 19);

    let full = device.grow(&mut growth, 3 << 19..2 << 20, host);
    assert!(is(&full, Errno::NOSPC));
    drop(growth);
    assert_eq!(device.len().unwrap(), 3 << 19);
    assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 19);
    device.write_at(0, &[6; 4096]).unwrap();
    device.flush().unwrap();
}

#[test]
fn a_host_that_cannot_reserve_still_grows() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    let mut growth = device.growth.lock();
    device.grow(&mut growth, 0..5000, |_| Err(Errno::OPNOTSUPP.into())).unwrap();
    drop(growth);
    assert_eq!(device.len().unwrap(), 5000);
    assert_eq!(fs::read(&path).unwrap(), [0; 5000]);
}

#[test]
fn threads_append_without_losing_bytes() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let device = &device;
            scope.spawn(move || {
                for block in 0..64 {
                    let at = (block * 4 + u64::from(thread)) * 4096;
                    device.allocate(at, 4096).unwrap();
                    device.write_at(at, &[thread + 1; 4096]).unwrap();
                }
            });
        }
    });
    let bytes = fs::read(&path).unwrap();
    for (n, block) in bytes[..256 * 4096].chunks(4096).enumerate() {
        assert!(block.iter().all(|byte| usize::from(*byte) == n % 4 + 1), "block {n}");
    }
}

/// A device whose flushes are brisk.
fn brisk(path: &std::path::Path) -> FileDevice {
    let device = FileDevice::create(path).unwrap();
    device.traffic.hurry();
    device
}

/// Writes in every way that there is, and compares what is read.
fn write_in_every_way(device: &FileDevice, path: &std::path::Path) {
    device.allocate(0, 4 << 20).unwrap();
    // Aligned in memory, so that it may go around the cache; the shifted one may not.
    let noise: Vec<u8> = (0..(1 << 20) + 8192u32).map(|n| (n / 7) as u8).collect();
    let start = noise.as_ptr().align_offset(4096);
    let aligned = &noise[start..start + (1 << 20)];
    let shifted = &noise[start + 1..start + 1 + (1 << 20)];
    let mut expected = vec![0; 4 << 20];
    let mut write = |at: usize, buf: &[u8], through: bool| {
        match through {
            true => device.write_through(at as u64, buf).unwrap(),
            false => device.write_many(at as u64, &[io::IoSlice::new(buf)]).unwrap(),
        }
        expected[at..at + buf.len()].copy_from_slice(buf);
    };
    write(0, aligned, false);
    write(1 << 20, shifted, false);
    write(2 << 20, &aligned[..4096], false);
    write((2 << 20) + 4096, &aligned[..4096], true);
    write((2 << 20) + 8192, &shifted[..4096], true);
    write((2 << 20) + 12288, &shifted[..5000], true);
    let bulk = device.traffic.bulk();
    write(3 << 20, &aligned[..8192], false);
    write((3 << 20) + 8192, &shifted[..8192], false);
    drop(bulk);
    let mut found = vec![1; 4 << 20];
    device.read_at(0, &mut found).unwrap();
    assert!(found == expected);
    assert!(fs::read(path).unwrap()[..4 << 20] == expected);
    device.flush().unwrap();
    // Beyond the end the file grows, whichever way was meant.
    let end = device.len().unwrap();
    device.write_through(end, &aligned[..4096]).unwrap();
    assert_eq!(device.len().unwrap(), end + 4096);
}

#[test]
fn every_way_of_writing_writes() {
    let (_dir, path) = scratch();
    let device = brisk(&path);
    write_in_every_way(&device, &path);
    let went_around = device.direct.write_copied(0, &[0; 4096]);
    if !went_around {
        eprintln!("not tested here: the host takes no writes around its cache");
    }
    // The host refuses from now on.
    device.direct.refuse();
    assert!(!device.direct.write_copied(0, &[0; 4096]));
    write_in_every_way(&device, &path);
}

/// Whether the host has something for an offset beside a record that it is allocated.
fn is_written(device: &FileDevice, offset: u64) -> bool {
    rustix::fs::seek(&device.file, rustix::fs::SeekFrom::Data(offset)) == Ok(offset)
}

#[test]
fn only_what_was_never_touched_is_readied_with_zeros() {
    let (_dir, path) = scratch();
    let device = brisk(&path);
    device.allocate(0, 1 << 20).unwrap();
    device.write_at(0, &[7; 8192]).unwrap();
    device.allocate_for_small(0, 1 << 20).unwrap();
    device.allocate(1 << 20, 1 << 20).unwrap();
    let tells = !is_written(&device, 3 << 19);
    device.allocate_for_small(2 << 20, 1 << 20).unwrap();
    if tells {
        assert!(is_written(&device, 5 << 19), "nothing was readied");
    }
    device.write_at(2 << 20, &[8; 8192]).unwrap();
    device.allocate_for_small(2 << 20, 1 << 20).unwrap();
    // Inside what grew ahead of need, and not asked for before.
    device.allocate(8 << 20, 8 << 20).unwrap();
    let ahead = device.len().unwrap() - (64 << 10);
    device.write_at(ahead, &[9; 4096]).unwrap();
    device.allocate_for_small(16 << 20, 1 << 20).unwrap();
    drop(device);

    let device = FileDevice::open(&path, false).unwrap();
    device.traffic.hurry();
    device.allocate_for_small(0, 1 << 20).unwrap();
    let bytes = fs::read(&path).unwrap();
    for (at, byte) in [(0, 7), (2 << 20, 8), (ahead as usize, 9)] {
        assert!(bytes[at..at + 4096].iter().all(|found| *found == byte), "at {at}");
    }
}

/// What is written to a device whose file somebody cuts, deletes or replaces is never acknowledged.
#[test]
fn a_file_that_is_cut_or_deleted_is_noticed_and_stays_so() {
    let cut = |path: &Path, len| File::options().write(true).open(path).unwrap().set_len(len);
    type Act = fn(&Path);
    let acts: [(&str, Act); 3] = [
        ("cut", |path| File::options().write(true).open(path).unwrap().set_len(5000).unwrap()),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("deleted", |path| {
            let other = path.with_extension("other");
            fs::write(&other, [1; 1 << 20]).unwrap();
            fs::rename(&other, path).unwrap();
        }),
    ];
    for (word, act) in acts {
        let (_dir, path) = scratch();
        let device = FileDevice::create(&path).unwrap();
        device.write_at(0, &[7; 1 << 20]).unwrap();
        device.flush().unwrap();
        device.check().unwrap();
        act(&path);
        let error = device.check().unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(device.flush().is_err() && device.write_at(0, b"x").is_err(), "{word}");
        if word == "cut" {
            cut(&path, 2 << 20).unwrap();
        }
        assert!(device.check().is_err(), "{word}: forgotten");
    }
}

#[test]
fn a_write_does_not_hide_that_the_file_was_cut() {
    let (_dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    device.write_at(0, &[7; 1 << 20]).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3));
    // It would make the file as long as it was.
    assert!(device.write_at((1 << 20) - 4096, &[8; 4096]).is_err());
    assert!(device.flush().is_err());
    drop(device);

    let device = FileDevice::open(&path, true).unwrap();
    let error = device.read_at(8192, &mut [0; 4096]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("at byte 4096"), "{error}");
}

#[test]
fn a_file_that_grows_or_moves_is_still_there() {
    let (dir, path) = scratch();
    let device = FileDevice::create(&path).unwrap();
    device.write_at(0, &[7; 1 << 20]).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(4 << 20).unwrap();
    device.flush().unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    device.write_at(2 << 20, &[8; 4096]).unwrap();
    device.flush().unwrap();
    device.check().unwrap();
}
