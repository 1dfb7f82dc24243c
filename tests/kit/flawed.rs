//! A device in memory with ranges that cannot be read, and with reads and flushes that take long.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use efscrypt::device::{Device, MemoryDevice};

#[derive(Default)]
pub struct Flawed {
    inner: MemoryDevice,
    bad: Mutex<Vec<Range<u64>>>,
    /// Flushes so far, begun ones too.
    pub flushes: AtomicU64,
    /// What a flush takes.
    pub flush_takes: Mutex<Duration>,
    /// Whether flushes wait until this is false again, or for ten seconds.
    pub held: AtomicBool,
    /// What a read takes.
    pub read_takes: Mutex<Duration>,
}

impl Flawed {
    pub fn new(inner: MemoryDevice) -> Arc<Flawed> {
        Flawed::slow(inner, Duration::ZERO)
    }

    /// One whose flushes take so long.
    pub fn slow(inner: MemoryDevice, takes: Duration) -> Arc<Flawed> {
        Arc::new(Flawed { inner, flush_takes: Mutex::new(takes), ..Flawed::default() })
    }

    /// From now on exactly these bytes cannot be read.
    pub fn spoil(&self, bad: impl IntoIterator<Item = Range<u64>>) {
        *self.bad.lock().unwrap() = bad.into_iter().collect();
    }
}

impl Device for Flawed {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.inner.capacity()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        let bad = self.bad.lock().unwrap();
        if bad.iter().any(|bad| bad.start < end && offset < bad.end) {
            return Err(rustix::io::Errno::IO.into());
        }
        drop(bad);
        let takes = *self.read_takes.lock().unwrap();
        std::thread::sleep(takes);
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
        let takes = *self.flush_takes.lock().unwrap();
        std::thread::sleep(takes);
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

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.inner.shrink(len)
    }

    fn occupied(&self) -> io::Result<Option<u64>> {
        self.inner.occupied()
    }
}
