//! A device on a regular file or a block device.
//!
//! Invariants:
//! 1. The lock on the open file is held from before the first byte is read or the length is
//!    looked at, until the device is dropped: exclusive to write, shared to read.
//! 2. The file's size changes only under `growth`. `len` is raised after the file has grown, so
//!    a byte below `len` can always be read, and a failed growth can be undone without touching
//!    what another thread wrote.
//! 3. The lock ends with the device, also where a forked child still has the file open: it is taken
//!    back by the process that took it, and by no other.
//! 4. `growth.reserved` is space that this handle allocated and has not discarded since.

mod create;

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use create::Found;

use super::writeback::Writeback;
use super::{Device, end_of};
use crate::error::{Error, Object, Result};
use crate::limits::UNIT;

/// Most buffers that Linux takes in one vectored write (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Growth beyond what was asked: this fraction of the file, so at most 6.25 % is ahead of need,
/// and small appends do not each pay for a change of the file's size.
const GROWTH_FRACTION: u64 = 16;
/// Most growth beyond what was asked, bytes.
const GROWTH_MAX: u64 = 64 << 20;

/// A [`Device`] on a regular file or a block device.
///
/// The file is locked while the device is open (`flock`), so a second writer, in this process or
/// another, gets [`Error::InUse`]. Durability is `fdatasync`: as good as the host file system and
/// the drive make it.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    kind: Kind,
    read_only: bool,
    /// What a creation found, for undoing it.
    found: Found,
    /// The process that locked the file.
    owner: Pid,
    len: AtomicU64,
    growth: Mutex<Growth>,
    writeback: Writeback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Block,
}

#[derive(Debug)]
struct Growth {
    reserved: Range<u64>,
}

impl FileDevice {
    /// Opens a file or block device that holds a store.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::IsDirectory`], [`Error::InvalidArgument`] for other types,
    /// [`Error::InUse`] when another handle has it open (for a read-only open: open for writing),
    /// else [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, read_only: bool) -> Result<FileDevice> {
        let path = path.as_ref();
        let known = fs::metadata(path).map_err(|error| failed("look up", error))?;
        FileDevice::lock(FileDevice::open_file(path, Some(&known), read_only)?, read_only)
    }

    /// Opens what is known to be there, or makes what is not. The type is looked at before the
    /// open, since opening a pipe or a terminal has effects of its own, and by [`FileDevice::lock`]
    /// again, since the path may have changed.
    fn open_file(path: &Path, known: Option<&Metadata>, read_only: bool) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(!read_only).mode(0o600);
        match known.map(kind_of).transpose()? {
            // Linux refuses O_EXCL on a block device that is mounted or otherwise taken.
            Some(Kind::Block) if !read_only => {
                options.custom_flags(OFlags::EXCL.bits() as i32);
            }
            Some(_) => {}
            None => {
                options.create_new(true);
            }
        }
        options.open(path).map_err(|error| failed("open", error))
    }

    /// Locks an open file, and looks at what it is.
    fn lock(file: File, read_only: bool) -> Result<FileDevice> {
        let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
        locked.map_err(|error| match error {
            TryLockError::WouldBlock => Error::InUse,
            TryLockError::Error(error) => failed("lock", error),
        })?;
        let found = file.metadata().map_err(|error| failed("look up", error))?;
        let kind = kind_of(&found)?;
        let len = match kind {
            Kind::File => found.len(),
            Kind::Block => rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
                .map_err(|error| failed("measure", error.into()))?,
        };
        let growth = Mutex::new(Growth { reserved: len..len });
        let (found, owner) = (Found::Store, getpid());
        let (len, writeback) = (AtomicU64::new(len), Writeback::default());
        Ok(FileDevice { file, kind, read_only, found, owner, len, growth, writeback })
    }

    fn known_len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    /// Runs a write that ends at `end`; one that changes the file's size runs under `growth`.
    fn write_to(&self, end: u64, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if end <= self.known_len() {
            return write();
        }
        if self.kind == Kind::Block {
            return Err(Errno::NOSPC.into());
        }
        let _growth = self.growth.lock();
        let written = write();
        // A write that failed may have grown the file too.
        self.len.store(self.file.metadata()?.len(), Ordering::Release);
        written
    }

    /// Grows the file so that it holds `offset..end`, by more than asked where there is room.
    /// `reserve` is [`reserve`] on this file.
    fn grow(
        &self,
        growth: &mut Growth,
        range: Range<u64>,
        reserve: impl Fn(Range<u64>) -> io::Result<()>,
    ) -> io::Result<()> {
        let ahead = (range.end / GROWTH_FRACTION).min(GROWTH_MAX);
        let generous = (range.end + ahead) / UNIT as u64 * UNIT as u64;
        let mut end = generous.max(range.end);
        let mut reserved = reserve(range.start..end);
        let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
        if end > range.end && full.iter().any(|errno| is(&reserved, *errno)) {
            end = range.end;
            reserved = reserve(range.start..end);
        }
        if is(&reserved, Errno::OPNOTSUPP) || is(&reserved, Errno::NOSYS) {
            self.file.set_len(range.end)?;
            self.len.store(range.end, Ordering::Release);
            return Ok(());
        }
        if let Err(error) = reserved {
            // File systems may keep what they allocated before they ran out. Give it back: it may
            // be the space that someone needs to delete. The failure to report stays the first.
            let _ = self.file.set_len(self.known_len());
            return Err(error);
        }
        self.len.store(end, Ordering::Release);
        let joins = growth.reserved.start <= range.start && range.start <= growth.reserved.end;
        let start = if joins { growth.reserved.start } else { range.start };
        growth.reserved = start..end;
        Ok(())
    }
}

impl Drop for FileDevice {
    /// Closing alone would leave the lock to a forked child that has the file open too.
    fn drop(&mut self) {
        if getpid() == self.owner {
            // What holds a lock that cannot be given up is closed with the file.
            let _ = self.file.unlock();
        }
    }
}

impl Device for FileDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.known_len())
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        Ok((self.kind == Kind::Block).then(|| self.known_len()))
    }

    fn room(&self) -> io::Result<Option<u64>> {
        if self.kind == Kind::Block {
            return Ok(Some(0));
        }
        let host = rustix::fs::fstatvfs(&self.file)?;
        Ok(Some(host.f_bavail.saturating_mul(host.f_frsize)))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, buf.len() as u64)?;
        self.write_to(end, || self.file.write_all_at(buf, offset))
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let end = end_of(offset, total as u64)?;
        self.write_to(end, || {
            write_all_vectored(&self.file, bufs, offset, |batch, at| {
                Ok(rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.file, batch, at))?)
            })
        })?;
        self.writeback.wrote(&self.file, offset..end);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Linux counts pages that it failed to write as clean, and goes on showing them.
    fn drop_cache(&self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        if self.kind == Kind::Block {
            return if end <= self.known_len() { Ok(()) } else { Err(Errno::NOSPC.into()) };
        }
        let mut growth = self.growth.lock();
        if growth.reserved.start <= offset && end <= growth.reserved.end {
            return Ok(());
        }
        if end > self.known_len() {
            return self.grow(&mut growth, offset..end, |range| reserve(&self.file, range));
        }
        drop(growth);
        let reserved = reserve(&self.file, offset..end);
        if is(&reserved, Errno::OPNOTSUPP) || is(&reserved, Errno::NOSYS) {
            return Ok(());
        }
        reserved
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, len)?.min(self.known_len());
        if offset >= end {
            return Ok(());
        }
        let mut growth = self.growth.lock();
        if offset < growth.reserved.end && growth.reserved.start < end {
            growth.reserved.start = end.min(growth.reserved.end);
        }
        drop(growth);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, flags, offset, end - offset)
        }) {
            // Advice: a host that cannot take it loses nothing but space. EINVAL is a range that
            // is not aligned to the blocks of a block device.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    let len = range.end - range.start;
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, FallocateFlags::empty(), range.start, len)
    })?)
}

/// Writes all buffers one after another. `write` may take any prefix of a batch; a buffer that
/// it took in part is finished by itself.
fn write_all_vectored(
    file: &File,
    mut bufs: &[io::IoSlice<'_>],
    mut offset: u64,
    write: impl Fn(&[io::IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !bufs.is_empty() {
        let mut written = write(&bufs[..bufs.len().min(IOV_MAX)], offset)?;
        let mut done = 0;
        while done < bufs.len() && written >= bufs[done].len() {
            written -= bufs[done].len();
            offset += bufs[done].len() as u64;
            done += 1;
        }
        if written > 0 {
            file.write_all_at(&bufs[done][written..], offset + written as u64)?;
            offset += bufs[done].len() as u64;
            done += 1;
        }
        if done == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bufs = &bufs[done..];
    }
    Ok(())
}

fn kind_of(found: &Metadata) -> Result<Kind> {
    let file_type = found.file_type();
    if file_type.is_file() {
        Ok(Kind::File)
    } else if file_type.is_block_device() {
        Ok(Kind::Block)
    } else if file_type.is_dir() {
        Err(Error::IsDirectory)
    } else {
        Err(Error::InvalidArgument("a store is a regular file or a block device"))
    }
}

fn is<T>(result: &io::Result<T>, errno: Errno) -> bool {
    matches!(result, Err(error) if error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The crate's error for a failure to create or open.
fn failed(op: &'static str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        io::ErrorKind::AlreadyExists => Error::Exists,
        io::ErrorKind::IsADirectory => Error::IsDirectory,
        io::ErrorKind::ResourceBusy => Error::InUse,
        _ => Error::io(op, Object::Store, error),
    }
}

#[cfg(test)]
mod tests {
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
}
