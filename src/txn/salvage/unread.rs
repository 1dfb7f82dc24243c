//! What a device does not read, while a store is salvaged: tried twice, and written down. It may
//! be there another time, so nobody may take it for lost unasked.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::device::Device;
use crate::error::{Error, Object};
use crate::limits::UNIT;

/// Where reads failed twice: first byte of each unit, and the last answer of the device.
type Failures = BTreeMap<u64, (ErrorKind, String)>;

/// A device that tries what it does not read once more, unit by unit, and remembers what fails.
pub(super) struct Watched {
    inner: Arc<dyn Device>,
    failures: Mutex<Failures>,
    /// Where the device ended once: what lies below and is gone counts as not read.
    once: AtomicU64,
}

impl Watched {
    pub fn new(inner: Arc<dyn Device>) -> Watched {
        Watched { inner, failures: Mutex::default(), once: AtomicU64::new(0) }
    }

    /// Says how long the device was once.
    pub fn had(&self, len: u64) {
        self.once.fetch_max(len, Ordering::Relaxed);
    }

    /// The number of units that could not be read.
    pub fn units(&self) -> u64 {
        self.failures.lock().len() as u64
    }

    /// An error that names the first place that could not be read; `None` where there is none.
    pub fn error(&self) -> Option<Error> {
        let failures = self.failures.lock();
        let (at, (kind, answer)) = failures.first_key_value()?;
        let others = match failures.len() {
            1 => String::new(),
            count => format!(", and of {} more blocks", count - 1),
        };
        let why = format!("byte {at} of the device{others}: {answer}");
        Some(Error::io("reading", Object::Store, io::Error::new(*kind, why)))
    }

    /// Does something after which failed reads are forgotten: nothing is given up for them.
    pub fn unwatched<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = std::mem::take(&mut *self.failures.lock());
        let result = act();
        *self.failures.lock() = before;
        result
    }

    /// Forgets failed reads of places that `keep` does not want: nothing is given up for them.
    pub fn forget(&self, keep: impl Fn(u64) -> bool) {
        self.failures.lock().retain(|offset, _| keep(*offset));
    }

    /// Writes down that a place cannot be read, which was not watched.
    pub fn note(&self, offset: u64) {
        let answer = (ErrorKind::Other, "cannot be read".to_owned());
        self.failures.lock().entry(offset).or_insert(answer);
    }

    /// Reads a part of one unit, twice if need be.
    fn read_unit(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let again = self.inner.read_at(offset, buf).or_else(|_| self.inner.read_at(offset, buf));
        again.inspect_err(|error| {
            // Behind the end there is nothing, now and later, unless the device was longer.
            let there = error.kind() != ErrorKind::UnexpectedEof
                || offset < self.once.load(Ordering::Relaxed);
            if there {
                let at = offset - offset % UNIT as u64;
                self.failures.lock().insert(at, (error.kind(), error.to_string()));
            }
        })
    }
}

impl Device for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.inner.capacity()
    }

    fn room(&self) -> io::Result<Option<u64>> {
        self.inner.room()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.inner.read_at(offset, buf).is_ok() {
            return Ok(());
        }
        let (mut at, mut rest, mut result) = (offset, buf, Ok(()));
        while !rest.is_empty() {
            let len = (UNIT - at as usize % UNIT).min(rest.len());
            let (unit, behind) = rest.split_at_mut(len);
            result = result.and(self.read_unit(at, unit));
            let Some(next) = at.checked_add(len as u64) else { break };
            (at, rest) = (next, behind);
        }
        result
    }

    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_fresh(offset, buf)
    }

    fn check(&self) -> io::Result<()> {
        self.inner.check()
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_many(offset, bufs)
    }

    fn write_through(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_through(offset, buf)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn allocate_for_small(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate_for_small(offset, len)
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
