//! L3: the device, where a store's bytes live.
//!
//! A device is an array of bytes with explicit durability: what [`Device::write_at`] returned
//! for is durable only after a later [`Device::flush`] returned. The engine reads and writes
//! whole units (4,096 bytes, aligned) into private buffers; it never maps a live store.
//!
//! - [`FileDevice`]: a regular file or a block device.
//! - [`MemoryDevice`]: bytes in memory, for tests and small uses.
//! - `sim` (feature `sim`): a device that loses power, lies and fails on demand.

mod discard;
mod file;
mod image;
mod memory;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod unfinished;
mod writeback;

use std::io;
use std::sync::Arc;

pub use file::{FileDevice, Holder};
pub use memory::MemoryDevice;
#[doc(hidden)]
pub use unfinished::{UNFINISHED_LEN, is_unfinished};

/// Where a store's bytes live. All methods may be called from many threads at once. A device that
/// wraps another forwards all of them, also those with a default.
///
/// Offsets and lengths are bytes, and multiples of 4,096 when the engine calls.
#[expect(clippy::len_without_is_empty, reason = "an empty device is no state of its own")]
pub trait Device: Send + Sync {
    /// Bytes that can be read now.
    fn len(&self) -> io::Result<u64>;

    /// Bytes that the device can ever hold, or `None` where it grows with its host file system.
    fn capacity(&self) -> io::Result<Option<u64>>;

    /// Bytes that the device may still grow by, as its host has them free just now; `None` where
    /// that is not known. Others may take them: [`Device::allocate`] decides.
    fn room(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Fills `buf` from `offset`. Beyond the end is `UnexpectedEof`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// As [`Device::read_at`], of what the medium holds: not of a cache of this host, which may not
    /// show what other hosts wrote. What was written and not flushed may be missing.
    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buf)
    }

    /// Fails where the device is not what was opened any more: it is shorter than it was, or gone.
    /// Cheap: called for each change that becomes durable, as whatever is acknowledged then would
    /// be lost. A device to which that does not happen has nothing to do.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes all of `buf` at `offset`. Until a flush returns, a crash may keep, drop or tear it.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()>;

    /// Writes several buffers one after another, starting at `offset`, as one request.
    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()>;

    /// As [`Device::write_at`], for bytes that the caller flushes at once: the device may send them
    /// to the medium right away, where that is faster. Durable only after the flush all the same.
    fn write_through(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.write_at(offset, buf)
    }

    /// Makes all writes that returned before this call durable. After a failure the state of
    /// those writes is unknown, and a second flush proves nothing.
    fn flush(&self) -> io::Result<()>;

    /// Has later reads see what the medium holds, and nothing that only a cache of the host holds.
    /// Called after a flush, at the opening of a store that was not closed: where a flush failed
    /// before, the host may still show what it could not write, and count it as written. A device
    /// whose reads never do that has nothing to do.
    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reserves space for the range, growing the device when needed, so that a later write to it
    /// does not fail for lack of space. New bytes read as zero.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// As [`Device::allocate`], for a range that small writes will fill, some of them with a flush
    /// of their own: the device may prepare it, so that its host has less to record for each. May
    /// zero what was never written; nobody writes to the range meanwhile.
    fn allocate_for_small(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(offset, len)
    }

    /// Says that the range's contents are no longer needed: the device may give its space back to
    /// the host. Advice: may do nothing; the range reads as anything afterwards. `Unsupported` says
    /// that the device, or its host, never does it: no failure, but a reason not to ask again.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Ends the device at `len`, which is at most its length: what lies behind is gone, and its
    /// space is the host's. Nobody reads or writes there meanwhile. `Unsupported`, which is no
    /// failure, where its length is its capacity.
    fn shrink(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes that the device takes up at its host just now: fewer than its length where parts of it
    /// were discarded. `None` where that is not known, or always its length.
    fn occupied(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

impl<D: Device + ?Sized> Device for Arc<D> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        (**self).capacity()
    }

    fn room(&self) -> io::Result<Option<u64>> {
        (**self).room()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }

    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_fresh(offset, buf)
    }

    fn check(&self) -> io::Result<()> {
        (**self).check()
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        (**self).write_many(offset, bufs)
    }

    fn write_through(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        (**self).write_through(offset, buf)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }

    fn drop_cache(&self) -> io::Result<()> {
        (**self).drop_cache()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        (**self).allocate(offset, len)
    }

    fn allocate_for_small(&self, offset: u64, len: u64) -> io::Result<()> {
        (**self).allocate_for_small(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        (**self).discard(offset, len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        (**self).shrink(len)
    }

    fn occupied(&self) -> io::Result<Option<u64>> {
        (**self).occupied()
    }
}

/// The end of a range, or `EFBIG` where it does not fit in a signed 64-bit offset.
fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    match offset.checked_add(len) {
        Some(end) if end <= i64::MAX as u64 => Ok(end),
        _ => Err(rustix::io::Errno::FBIG.into()),
    }
}
