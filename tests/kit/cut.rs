//! A device in memory that can be cut, and lengthened again with zeros.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use efscrypt::device::{Device, MemoryDevice};

pub struct Cut {
    inner: MemoryDevice,
    /// Where it ends, though more is there.
    end: AtomicU64,
    fixed: bool,
}

impl Cut {
    /// A device that grows, or one of a fixed length.
    pub fn new(inner: MemoryDevice, fixed: bool) -> Arc<Cut> {
        Arc::new(Cut { inner, end: AtomicU64::new(u64::MAX), fixed })
    }

    /// Ends the device at a byte; what was behind it is gone.
    pub fn cut(&self, end: u64) {
        let len = self.inner.len().unwrap();
        self.inner.discard(end, len.saturating_sub(end)).unwrap();
        self.end.store(end, Ordering::Relaxed);
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn reach(&self, end: u64) -> io::Result<()> {
        if self.fixed && end > self.len()? {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        if self.end() != u64::MAX {
            self.end.fetch_max(end, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Device for Cut {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.len()?.min(self.end()))
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        if self.fixed { self.len().map(Some) } else { Ok(None) }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset + buf.len() as u64 > self.len()? {
            let why = "the device ends before it";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.reach(offset + buf.len() as u64)?;
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.reach(offset + len as u64)?;
        self.inner.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.reach(offset + len)?;
        self.inner.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }
}
