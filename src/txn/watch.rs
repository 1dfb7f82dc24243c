//! Watch: notices that the device ends before what the store has on it.
//!
//! A store that lost its end, or its device, must acknowledge nothing more. What belongs to it is
//! there to be read: a read beyond the end, once the store is open, says that it was cut.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::Engine;
use crate::device::Device;
use crate::error::{Error, Object, Result};

/// A device that remembers reads beyond its end.
pub(super) struct Watch {
    inner: Arc<dyn Device>,
    /// Whether they mean something: not while it is being found out what is there.
    armed: AtomicBool,
    ended: OnceLock<Arc<str>>,
}

impl Watch {
    pub fn new(inner: Arc<dyn Device>) -> Watch {
        Watch { inner, armed: AtomicBool::new(false), ended: OnceLock::new() }
    }

    /// From now on all that is read was written.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Why nothing more may be acknowledged, if that was seen.
    pub fn ended(&self) -> Option<&Arc<str>> {
        self.ended.get()
    }

    fn seen(&self, read: io::Result<()>) -> io::Result<()> {
        read.inspect_err(|error| {
            if error.kind() == ErrorKind::UnexpectedEof && self.armed.load(Ordering::Acquire) {
                self.ended.get_or_init(|| {
                    Error::io(
                        "read",
                        Object::Store,
                        io::Error::new(error.kind(), error.to_string()),
                    )
                    .to_string()
                    .into()
                });
            }
        })
    }
}

impl Device for Watch {
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
        self.seen(self.inner.read_at(offset, buf))
    }

    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.seen(self.inner.read_fresh(offset, buf))
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

impl Engine {
    /// Bytes that the device has and had when the newest superblock was written, where it was cut.
    ///
    /// # Errors
    /// Those of the device.
    pub fn cut(&self) -> Result<Option<(u64, u64)>> {
        let need = self.committed.read().body.device_len.get();
        let have = self.device.len();
        let have = have.map_err(|error| Error::io("measure", Object::Store, error))?;
        Ok((have < need).then_some((have, need)))
    }

    /// Sees that the device has all that the newest durable superblock needs, and poisons the store
    /// where it has not.
    pub(super) fn look_at_device(&self) -> Result<()> {
        let io = |error| Error::io("check", Object::Store, error);
        let looked = self.device.check().map_err(io).and_then(|()| match self.cut()? {
            Some((have, need)) => Err(Error::Truncated { have, need }),
            None => Ok(()),
        });
        if self.options.read_only { looked } else { self.or_poison(looked) }
    }
}
