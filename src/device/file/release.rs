//! Release: space that goes back to the host.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{FileDevice, Kind};
use crate::device::discard::discard_blocks;
use crate::device::end_of;

/// Bytes of the blocks in which `stat` counts.
const STAT_BLOCK: u64 = 512;
/// What ext4 keeps for itself, so that not even root gets it: a part of all blocks, and at most so
/// many.
const KEPT_PART: u64 = 50;
const KEPT_MOST: u64 = 4096;

impl FileDevice {
    /// Makes a hole, or discards blocks.
    pub(super) fn release(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, len)?.min(self.known_len());
        if offset >= end {
            return Ok(());
        }
        if self.kind == Kind::Block {
            return discard_blocks(&self.file, offset..end);
        }
        let mut growth = self.growth.lock();
        if offset < growth.reserved.end && growth.reserved.start < end {
            growth.reserved.start = end.min(growth.reserved.end);
        }
        drop(growth);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, flags, offset, end - offset)
        }) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            done => Ok(done?),
        }
    }

    /// Cuts the file off.
    pub(super) fn cut(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        if self.kind == Kind::Block {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut growth = self.growth.lock();
        if len >= self.known_len() {
            return Ok(());
        }
        // First: at no time is the file shorter than it is known to be.
        self.len.store(len, Ordering::Release);
        if let Err(error) = self.file.set_len(len) {
            self.len.store(self.file.metadata()?.len(), Ordering::Release);
            return Err(error);
        }
        growth.reserved = growth.reserved.start.min(len)..growth.reserved.end.min(len);
        self.fresh.fetch_min(len, Ordering::AcqRel);
        Ok(())
    }

    /// Bytes that the host has given the file.
    pub(super) fn allocated(&self) -> io::Result<Option<u64>> {
        match self.kind {
            Kind::File => Ok(Some(self.file.metadata()?.blocks().saturating_mul(STAT_BLOCK))),
            Kind::Block => Ok(None),
        }
    }

    /// Bytes that the host gives this process: who is privileged gets what is set apart for root.
    pub(super) fn host_room(&self) -> io::Result<u64> {
        let host = rustix::fs::fstatvfs(&self.file)?;
        let mut blocks = host.f_bavail;
        if rustix::process::geteuid().is_root() {
            let kept = (host.f_blocks / KEPT_PART).min(KEPT_MOST);
            blocks = blocks.max(host.f_bfree.saturating_sub(kept));
        }
        Ok(blocks.saturating_mul(host.f_frsize))
    }
}
