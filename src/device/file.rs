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
//! 5. Nothing at or above `fresh` was written or allocated: what lies there grew ahead of need.

mod create;
mod direct;
mod hidden;
#[cfg(target_os = "linux")]
mod loops;
mod release;
#[cfg(test)]
mod tests;
mod traffic;
mod wait;
mod whole;

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use create::Found;
use direct::Direct;
use traffic::Traffic;
pub use wait::Holder;
use whole::{Whole, block_len};

use super::writeback::{Writeback, begin};
use super::{Device, end_of};
use crate::error::{Error, Object, Result};
use crate::limits::{SMALL_UNITS, UNIT};

/// Most buffers that Linux takes in one vectored write (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;

/// Growth beyond what was asked: this fraction of the file, so at most 6.25 % is ahead of need,
/// and small appends do not each pay for a change of the file's size.
const GROWTH_FRACTION: u64 = 16;
/// Most growth beyond what was asked, bytes.
const GROWTH_MAX: u64 = 64 << 20;

/// Bytes of the shortest write that is not small.
const LARGE: usize = SMALL_UNITS as usize * UNIT + 1;

/// A [`Device`] on a regular file or a block device.
///
/// The file is locked while the device is open (`flock`), so a second writer, in this process or
/// another, gets [`Error::InUse`]; a block device is claimed, so that nobody mounts it or opens it
/// so by another node, and the file that a loop device is made of is locked too. Durability is
/// `fdatasync`: as good as the host file system and
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
    fresh: AtomicU64,
    traffic: Traffic,
    writeback: Writeback,
    direct: Direct,
    whole: Whole,
    /// The file that a loop device is made of, locked as the device is.
    backing: Option<File>,
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
    /// and [`Error::InUseBy`] when that is by another name: a loop device, or the file below one,
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
            Kind::Block => block_len(&file).map_err(|error| failed("measure", error))?,
        };
        let backing = other_names(&found, kind, read_only)?;
        let whole = Whole::new(found.nlink() > 0);
        let growth = Mutex::new(Growth { reserved: len..len });
        let (found, owner) = (Found::Store, getpid());
        // A block device has no lock that keeps writes around its cache and through it apart.
        let direct = match kind {
            Kind::File if !read_only => Direct::open(&file),
            _ => Direct::none(),
        };
        Ok(FileDevice {
            file,
            kind,
            read_only,
            found,
            owner,
            len: AtomicU64::new(len),
            growth,
            fresh: AtomicU64::new(len),
            traffic: Traffic::default(),
            writeback: Writeback::default(),
            direct,
            whole,
            backing,
        })
    }

    fn known_len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { self.look_now_and_then() }
    }

    /// Runs a write that ends at `end`; one that changes the file's size runs under `growth`.
    fn write_to(&self, end: u64, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.touch(end);
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

    /// Says that what lies below `end` may hold something.
    fn touch(&self, end: u64) {
        if end > self.fresh.load(Ordering::Acquire) {
            self.fresh.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// Reserves a range, and says whether it is known to hold nothing.
    fn back(&self, range: Range<u64>) -> io::Result<bool> {
        let mut growth = self.growth.lock();
        if growth.reserved.start <= range.start && range.end <= growth.reserved.end {
            return Ok(range.start >= self.fresh.load(Ordering::Acquire));
        }
        if range.end > self.known_len() {
            let fresh = range.start >= self.fresh.load(Ordering::Acquire);
            self.grow(&mut growth, range, |range| reserve(&self.file, range))?;
            return Ok(fresh);
        }
        drop(growth);
        let reserved = reserve(&self.file, range);
        match is(&reserved, Errno::OPNOTSUPP) || is(&reserved, Errno::NOSYS) {
            true => Ok(false),
            false => reserved.map(|()| false),
        }
    }

    /// Allocates a range, and says whether it is known to hold nothing.
    fn allocate_range(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.check_writable()?;
        let end = end_of(offset, len)?;
        if len == 0 {
            return Ok(false);
        }
        if self.kind == Kind::Block {
            return if end <= self.known_len() { Ok(false) } else { Err(Errno::NOSPC.into()) };
        }
        let fresh = self.back(offset..end)?;
        self.touch(end);
        Ok(fresh)
    }

    /// Writes several buffers through the host's cache.
    fn write_cached(&self, range: Range<u64>, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.write_to(range.end, || {
            write_all_vectored(&self.file, bufs, range.start, |batch, at| {
                Ok(rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.file, batch, at))?)
            })
        })
    }

    /// Writes around the cache, in steps; `false` where that is not to be had.
    fn write_direct(
        &self,
        range: Range<u64>,
        bufs: &[io::IoSlice<'_>],
        step: impl FnMut() -> usize,
    ) -> bool {
        let [buf] = bufs else { return false };
        if range.end > self.known_len() {
            return false;
        }
        self.touch(range.end);
        self.direct.write_at(range.start, buf, step)
    }

    fn write_large(&self, range: Range<u64>, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        if let Some(bulk) = self.traffic.bulk()
            && self.write_direct(range.clone(), bufs, || bulk.step())
        {
            return Ok(());
        }
        self.write_cached(range.clone(), bufs)?;
        self.writeback.wrote(&self.file, range);
        Ok(())
    }

    fn write_small(&self, range: Range<u64>, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let urgent = self.traffic.urgent();
        if urgent.beside_bulk && self.write_direct(range.clone(), bufs, || usize::MAX) {
            return Ok(());
        }
        self.write_cached(range.clone(), bufs)?;
        if self.traffic.is_brisk() {
            // A flush is near: the disk works on this while the log record is made.
            begin(&self.file, range);
        }
        Ok(())
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
            let _ = self.backing.as_ref().map(File::unlock);
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
        self.host_room().map(Some)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|error| self.ended(error))
    }

    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(buf.len() as u64),
            rustix::fs::Advice::DontNeed,
        )?;
        self.read_at(offset, buf)
    }

    fn check(&self) -> io::Result<()> {
        self.look()
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, buf.len() as u64)?;
        self.write_to(end, || self.file.write_all_at(buf, offset))
    }

    fn write_through(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, buf.len() as u64)?;
        let _urgent = self.traffic.urgent();
        if end <= self.known_len()
            && self.traffic.is_brisk()
            && self.direct.write_copied(offset, buf)
        {
            self.touch(end);
            return Ok(());
        }
        self.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let end = end_of(offset, total as u64)?;
        match total {
            LARGE.. => self.write_large(offset..end, bufs),
            _ => self.write_small(offset..end, bufs),
        }
    }

    fn flush(&self) -> io::Result<()> {
        let _urgent = self.traffic.flush();
        self.file.sync_data()?;
        // What was flushed to a file that nobody finds again is not durable.
        self.look()
    }

    /// Linux counts pages that it failed to write as clean, and goes on showing them.
    fn drop_cache(&self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate_range(offset, len).map(|_| ())
    }

    /// What was only allocated has a record at the host that says so, which the first write
    /// changes: a flush then waits for the host's journal too. Zeros in one write spare that to
    /// all the small ones that follow. Not worth it where flushes are few.
    fn allocate_for_small(&self, offset: u64, len: u64) -> io::Result<()> {
        let fresh = self.allocate_range(offset, len)?;
        if fresh && self.traffic.is_brisk() {
            let _urgent = self.traffic.urgent();
            zero(&self.file, offset..end_of(offset, len)?)?;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.release(offset, len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.cut(len)
    }

    fn occupied(&self) -> io::Result<Option<u64>> {
        self.allocated()
    }
}

fn reserve(file: &File, range: Range<u64>) -> io::Result<()> {
    let len = range.end - range.start;
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, FallocateFlags::empty(), range.start, len)
    })?)
}

/// Writes zeros to a range of a file.
fn zero(file: &File, range: Range<u64>) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 256 << 10];
    let mut at = range.start;
    while at < range.end {
        let step = (range.end - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..step as usize], at)?;
        at += step;
    }
    Ok(())
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

/// Sees that nobody uses the same bytes by another name, as far as that can be told: a loop device
/// and the file that it is made of. Locks that file.
#[cfg(target_os = "linux")]
fn other_names(found: &Metadata, kind: Kind, read_only: bool) -> Result<Option<File>> {
    match kind {
        Kind::Block => loops::lock_backing(found, read_only),
        Kind::File if read_only => Ok(None),
        Kind::File => loops::refuse_looped(found).map(|()| None),
    }
}

#[cfg(not(target_os = "linux"))]
fn other_names(_: &Metadata, _: Kind, _: bool) -> Result<Option<File>> {
    Ok(None)
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
