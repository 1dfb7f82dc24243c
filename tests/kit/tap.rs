//! A device in memory that remembers everything that was ever written to it.

use std::io;
use std::sync::{Arc, Mutex};

use efscrypt::device::{Device, MemoryDevice};

/// One write: its offset and its bytes.
pub type Write = (u64, Vec<u8>);

pub struct Tap {
    inner: MemoryDevice,
    writes: Mutex<Vec<Write>>,
}

impl Tap {
    pub fn new() -> Arc<Tap> {
        Arc::new(Tap { inner: MemoryDevice::new(), writes: Mutex::default() })
    }

    /// All bytes as they are now.
    pub fn image(&self) -> Vec<u8> {
        self.inner.to_vec()
    }

    /// All writes so far, without those of zeros.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap().clone()
    }

    fn note(&self, offset: u64, bytes: &[u8]) {
        if bytes.iter().any(|byte| *byte != 0) {
            self.writes.lock().unwrap().push((offset, bytes.to_vec()));
        }
    }
}

impl Device for Tap {
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
        self.note(offset, buf);
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.note(offset, &bytes);
        self.inner.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }
}
