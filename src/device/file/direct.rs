//! Direct: writes past the host's cache, for what a flush follows at once.
//!
//! A write through the cache costs the copy, and then the flush has to find it and start it. One
//! around the cache is at the disk when it returns, so the flush has only the disk's own cache to
//! empty. Hosts that cannot do it are served by ordinary writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::UNIT;

/// Longest write that is copied to align it: the copy of more would cost what it saves.
const MAX_COPY: usize = 64 << 10;

/// One unit, aligned as every disk wants it.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; UNIT]);

/// A file opened once more, for writes that are at the disk when they return.
#[derive(Debug)]
pub(super) struct Direct {
    file: Option<File>,
    /// Whether the host has refused one: it will refuse all.
    refused: AtomicBool,
    aligned: Mutex<Vec<Page>>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page")
    }
}

impl Direct {
    /// Opens a file that is open for writing once more. The lock stays with the first.
    pub(super) fn open(file: &File) -> Direct {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut options = OpenOptions::new();
        let options = options.write(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
        let file = if cfg!(target_os = "linux") { options.open(path).ok() } else { None };
        Direct { file, refused: AtomicBool::new(false), aligned: Mutex::default() }
    }

    /// For a file that is not written.
    pub(super) fn none() -> Direct {
        Direct { file: None, refused: AtomicBool::new(true), aligned: Mutex::default() }
    }

    /// Writes all of `buf` inside the file, in steps of the lengths that `step` says; `None` where
    /// that has to go through the cache, as what is not aligned in memory or on the device has.
    pub(super) fn write_at(
        &self,
        mut offset: u64,
        mut buf: &[u8],
        mut step: impl FnMut() -> usize,
    ) -> Option<io::Result<()>> {
        let file = self.file.as_ref()?;
        let aligned = [offset as usize, buf.len(), buf.as_ptr().addr()];
        if aligned.iter().any(|at| !at.is_multiple_of(UNIT)) || self.refused.load(Ordering::Relaxed)
        {
            return None;
        }
        while !buf.is_empty() {
            let (now, rest) = buf.split_at(step().min(buf.len()));
            match file.write_all_at(now, offset) {
                Ok(()) => (offset, buf) = (offset + now.len() as u64, rest),
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.refused.store(true, Ordering::Relaxed);
                    return None;
                }
                failed => return Some(failed),
            }
        }
        Some(Ok(()))
    }

    /// As [`Direct::write_at`], for a short `buf` anywhere in memory.
    pub(super) fn write_copied(&self, offset: u64, buf: &[u8]) -> Option<io::Result<()>> {
        if !buf.len().is_multiple_of(UNIT) || buf.len() > MAX_COPY || self.file.is_none() {
            return None;
        }
        let mut pages = self.aligned.lock();
        let count = buf.len() / UNIT;
        if pages.len() < count {
            pages.resize(count, Page([0; UNIT]));
        }
        let bytes = pages[..count].as_mut_bytes();
        bytes.copy_from_slice(buf);
        self.write_at(offset, bytes, || usize::MAX)
    }
}
