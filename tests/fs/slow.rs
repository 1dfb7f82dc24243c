//! A device whose flush takes long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use efscrypt::device::{Device, MemoryDevice};

/// A device whose flush takes long.
pub struct Slow {
    inner: MemoryDevice,
    flushes: AtomicU64,
    takes: Duration,
    held: AtomicBool,
}

impl Slow {
    /// An empty one.
    pub fn new(takes: Duration) -> Arc<Slow> {
        let (inner, flushes) = (MemoryDevice::new(), AtomicU64::new(0));
        Arc::new(Slow { inner, flushes, takes, held: AtomicBool::new(false) })
    }

    /// Has flushes wait, for ten seconds at most.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// Has them go on.
    pub fn let_go(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

impl Device for Slow {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.inner.capacity()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.takes);
        let start = Instant::now();
        while self.held.load(Ordering::Acquire) && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inner.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }
}
