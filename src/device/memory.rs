//! A device in memory.

use std::fmt;
use std::io;

use parking_lot::RwLock;
use rustix::io::Errno;

use super::image::Image;
use super::{Device, end_of};

/// How far a device in memory may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Like a file on a host with endless space.
    None,
    /// Like a file on a host that is full at this many bytes.
    Host(u64),
    /// Like a block device: its length is its capacity.
    Fixed,
}

impl Limit {
    /// Whether a device of `len` bytes may hold `end` bytes; `ENOSPC` if not.
    pub(super) fn check(self, len: u64, end: u64) -> io::Result<()> {
        let max = match self {
            Limit::None => return Ok(()),
            Limit::Host(max) => max.max(len),
            Limit::Fixed => len,
        };
        if end <= max { Ok(()) } else { Err(Errno::NOSPC.into()) }
    }

    pub(super) fn capacity(self, len: u64) -> Option<u64> {
        (self == Limit::Fixed).then_some(len)
    }

    pub(super) fn room(self, len: u64) -> Option<u64> {
        match self {
            Limit::None => None,
            Limit::Host(max) => Some(max.saturating_sub(len)),
            Limit::Fixed => Some(0),
        }
    }
}

/// A [`Device`] in memory: sparse, for tests and small uses. Nothing survives the process, so
/// a flush does nothing.
///
/// [`MemoryDevice::snapshot`] is cheap: copies share their bytes until one of them changes.
pub struct MemoryDevice {
    image: RwLock<Image>,
    limit: Limit,
}

impl MemoryDevice {
    /// An empty device that grows without limit, as a file does.
    pub fn new() -> MemoryDevice {
        MemoryDevice::from_image(Image::default(), Limit::None)
    }

    /// An empty device that grows as a file does, and answers `ENOSPC` beyond `max` bytes.
    pub fn limited(max: u64) -> MemoryDevice {
        MemoryDevice::from_image(Image::default(), Limit::Host(max))
    }

    /// A device of exactly `len` zero bytes, as a block device is.
    pub fn fixed(len: u64) -> MemoryDevice {
        MemoryDevice::from_image(Image::zeros(len), Limit::Fixed)
    }

    /// A device that holds a copy of `bytes` and grows without limit.
    pub fn from_bytes(bytes: &[u8]) -> MemoryDevice {
        let mut image = Image::default();
        image.write(0, bytes);
        MemoryDevice::from_image(image, Limit::None)
    }

    pub(super) fn from_image(image: Image, limit: Limit) -> MemoryDevice {
        MemoryDevice { image: RwLock::new(image), limit }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn into_parts(self) -> (Image, Limit) {
        (self.image.into_inner(), self.limit)
    }

    /// An independent device with the same bytes and limit; costs no copy of the bytes.
    pub fn snapshot(&self) -> MemoryDevice {
        MemoryDevice::from_image(self.image.read().clone(), self.limit)
    }

    /// All bytes, from the first to the length.
    pub fn to_vec(&self) -> Vec<u8> {
        let image = self.image.read();
        let mut bytes = vec![0; image.len() as usize];
        // A read of exactly the length cannot reach beyond the end.
        let _ = image.read(0, &mut bytes);
        bytes
    }
}

impl Default for MemoryDevice {
    fn default() -> MemoryDevice {
        MemoryDevice::new()
    }
}

impl fmt::Debug for MemoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.image.read();
        f.debug_struct("MemoryDevice")
            .field("len", &image.len())
            .field("resident", &image.resident())
            .field("limit", &self.limit)
            .finish()
    }
}

impl Device for MemoryDevice {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image.read().len())
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        Ok(self.limit.capacity(self.image.read().len()))
    }

    fn room(&self) -> io::Result<Option<u64>> {
        Ok(self.limit.room(self.image.read().len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.image.read().read(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        let end = end_of(offset, buf.len() as u64)?;
        let mut image = self.image.write();
        self.limit.check(image.len(), end)?;
        image.write(offset, buf);
        Ok(())
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let end = end_of(offset, total as u64)?;
        let mut image = self.image.write();
        self.limit.check(image.len(), end)?;
        let mut at = offset;
        for buf in bufs {
            image.write(at, buf);
            at += buf.len() as u64;
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_of(offset, len)?;
        let mut image = self.image.write();
        self.limit.check(image.len(), end)?;
        image.grow(end);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.image.write().zero(offset, len);
        Ok(())
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        if self.limit == Limit::Fixed {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.image.write().shrink(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_as_a_file_does() {
        let device = MemoryDevice::new();
        assert_eq!((device.len().unwrap(), device.capacity().unwrap()), (0, None));
        device.write_at(5000, b"abc").unwrap();
        assert_eq!(device.len().unwrap(), 5003);
        device.allocate(4096, 8192).unwrap();
        assert_eq!(device.len().unwrap(), 12288);
        let bytes = device.to_vec();
        assert_eq!(&bytes[5000..5003], b"abc");
        assert!(bytes[..5000].iter().chain(&bytes[5003..]).all(|b| *b == 0));
    }

    #[test]
    fn write_many_is_one_run_of_bytes() {
        let device = MemoryDevice::fixed(64);
        let bufs = [b"one".as_slice(), b"", b"three"].map(io::IoSlice::new);
        device.write_many(10, &bufs).unwrap();
        assert_eq!(&device.to_vec()[8..20], b"\0\0onethree\0\0");
    }

    #[test]
    fn limits_answer_no_space_and_change_nothing() {
        for device in [MemoryDevice::fixed(8192), MemoryDevice::limited(8192)] {
            device.allocate(0, 8192).unwrap();
            let bufs = [io::IoSlice::new(&[1; 4096]); 2];
            let failures = [
                device.write_at(8192, b"x"),
                device.write_many(4096, &bufs),
                device.allocate(4096, 4097),
            ];
            for failure in failures {
                assert_eq!(failure.unwrap_err().raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
            }
            assert_eq!(device.to_vec(), vec![0; 8192]);
        }
        assert_eq!(MemoryDevice::fixed(8192).capacity().unwrap(), Some(8192));
        assert_eq!(MemoryDevice::limited(8192).capacity().unwrap(), None);
        let limited = MemoryDevice::limited(8192);
        limited.allocate(0, 5000).unwrap();
        assert_eq!(limited.room().unwrap(), Some(3192));
        assert_eq!(MemoryDevice::fixed(8192).room().unwrap(), Some(0));
        assert_eq!(MemoryDevice::new().room().unwrap(), None);
    }

    #[test]
    fn offsets_that_overflow_are_refused() {
        let device = MemoryDevice::new();
        for offset in [u64::MAX, i64::MAX as u64] {
            assert!(device.write_at(offset, b"xy").is_err());
            assert!(device.allocate(offset, 2).is_err());
            assert!(device.read_at(offset, &mut [0; 2]).is_err());
            device.discard(offset, 2).unwrap();
        }
        assert_eq!(device.len().unwrap(), 0);
    }

    #[test]
    fn a_snapshot_is_independent() {
        let device = MemoryDevice::from_bytes(b"first");
        let copy = device.snapshot();
        device.write_at(0, b"other").unwrap();
        copy.discard(0, 1).unwrap();
        assert_eq!(device.to_vec(), b"other");
        assert_eq!(copy.to_vec(), b"\0irst");
    }
}
