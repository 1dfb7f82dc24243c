//! A device that writes the log late: it lets a flush go before the log records that it must cover.

use std::io;
use std::sync::{Arc, Mutex};

use efscrypt::device::Device;

/// Where the log of the kit's stores stands, behind its first record: that makes the root directory
/// durable.
const LOG: std::ops::Range<u64> = (516 << 10)..(1 << 20);

/// Keeps log records back until a flush has returned.
pub struct Late {
    below: Arc<dyn Device>,
    held: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Late {
    pub fn over(below: Arc<dyn Device>) -> Arc<dyn Device> {
        Arc::new(Late { below, held: Mutex::default() })
    }
}

impl Device for Late {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn capacity(&self) -> io::Result<Option<u64>> {
        self.below.capacity()
    }

    fn room(&self) -> io::Result<Option<u64>> {
        self.below.room()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, buf)?;
        for (at, bytes) in self.held.lock().unwrap().iter() {
            let (from, to) =
                (offset.max(*at), (offset + buf.len() as u64).min(at + bytes.len() as u64));
            if from < to {
                let held = &bytes[(from - at) as usize..(to - at) as usize];
                buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(held);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        // Not the zeros of a new store.
        if LOG.contains(&offset) && buf.len() < 256 << 10 {
            self.held.lock().unwrap().push((offset, buf.to_vec()));
            return Ok(());
        }
        self.below.write_at(offset, buf)
    }

    fn write_many(&self, offset: u64, bufs: &[io::IoSlice<'_>]) -> io::Result<()> {
        self.below.write_many(offset, bufs)
    }

    fn flush(&self) -> io::Result<()> {
        self.below.flush()?;
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        held.into_iter().try_for_each(|(offset, bytes)| self.below.write_at(offset, &bytes))
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.below.allocate(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.below.discard(offset, len)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.below.shrink(len)
    }

    fn occupied(&self) -> io::Result<Option<u64>> {
        self.below.occupied()
    }
}
