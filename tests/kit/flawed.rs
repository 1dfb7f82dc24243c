//! A device in memory with ranges that cannot be read, and with reads and flushes that take long.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use efscrypt::device::{Device, MemoryDevice};

pub struct Flawed {
    pub inner: MemoryDevice,
    bad: Mutex<Vec<Range<u64>>>,
    flushes: AtomicU64,
    /// What a flush takes, and a read.
    takes: Mutex<(Duration, Duration)>,
}

impl Flawed {
    pub fn new(inner: MemoryDevice) -> Arc<Flawed> {
        let (bad, takes) = (Mutex::default(), Mutex::default());
        Arc::new(Flawed { inner, bad, flushes: AtomicU64::new(0), takes })
    }

    /// From now on exactly these bytes cannot be read.
    pub fn spoil(&self, bad: impl IntoIterator<Item = Range<u64>>) {
        *self.bad.lock().unwrap() = bad.into_iter().collect();
    }

    /// From now on a flush takes so long.
    pub fn slow_down(&self, takes: Duration) {
        self.takes.lock().unwrap().0 = takes;
    }

    /// From now on a read takes so long.
    pub fn slow_reads(&self, takes: Duration) {
        self.takes.lock().unwrap().1 = takes;
    }

    /// Flushes so far, begun ones too.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
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
        let takes = self.takes.lock().unwrap().1;
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
        let takes = self.takes.lock().unwrap().0;
        std::thread::sleep(takes);
        self.inner.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }
}
