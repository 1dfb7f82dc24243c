//! A device in memory that remembers everything that was ever written to it.

use std::io;
use std::sync::{Arc, Mutex};

use efscrypt::device::{Device, MemoryDevice};

/// One write: its offset and its bytes.
pub type Write = (u64, Vec<u8>);

pub struct Tap {
    inner: MemoryDevice,
    writes: Mutex<Vec<Write>>,
    /// How many of the next writes of contents reach the device in part and fail.
    failing: Mutex<u32>,
}

impl Tap {
    pub fn new() -> Arc<Tap> {
        let (inner, writes) = (MemoryDevice::new(), Mutex::default());
        let tap = Tap { inner, writes, failing: Mutex::default() };
        tap.fail_contents(0);
        Arc::new(tap)
    }

    /// All bytes as they are now.
    pub fn image(&self) -> Vec<u8> {
        self.inner.to_vec()
    }

    /// All writes so far, without those of zeros.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap().clone()
    }

    /// Lets the next writes of contents fail, after they are remembered as any other: somebody saw
    /// them on their way.
    pub fn fail_contents(&self, writes: u32) {
        *self.failing.lock().unwrap() = writes;
    }

    fn fails(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let contents = offset >= 1 << 20 && !bytes.starts_with(b"EFS");
        let mut failing = self.failing.lock().unwrap();
        if contents && *failing > 0 {
            *failing -= 1;
            self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(io::Error::other("as told"));
        }
        Ok(())
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
        self.fails(offset, buf)?;
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.note(offset, &bytes);
        self.fails(offset, &bytes)?;
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

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.inner.shrink(len)
    }

    fn occupied(&self) -> io::Result<Option<u64>> {
        self.inner.occupied()
    }
}
