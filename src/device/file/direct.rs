//! Direct: writes past the host's cache, for what a flush follows at once.
//!
//! A write through the cache costs the copy, and then the flush has to find it and start it. One
//! around the cache is at the disk when it returns, so the flush has only the disk's own cache to
//! empty. Hosts that cannot do it are served by ordinary writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
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
        Direct { file: again(file), refused: AtomicBool::new(false), aligned: Mutex::default() }
    }

    /// For a file that is not written so.
    pub(super) fn none() -> Direct {
        Direct { file: None, refused: AtomicBool::new(false), aligned: Mutex::default() }
    }

    /// The file, unless the host refuses such writes.
    fn file(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed))
    }

    /// Writes all of `buf` inside the file, in steps of the lengths that `step` says; `false` where
    /// all of it has to go through the cache, as what is not aligned in memory or on the device
    /// has, and what a host refuses: its reason, if it is the disk's, shows there again.
    pub(super) fn write_at(
        &self,
        mut offset: u64,
        mut buf: &[u8],
        mut step: impl FnMut() -> usize,
    ) -> bool {
        let Some(file) = self.file() else { return false };
        let aligned = [offset as usize, buf.len(), buf.as_ptr().addr()];
        if aligned.iter().any(|at| !at.is_multiple_of(UNIT)) {
            return false;
        }
        while !buf.is_empty() {
            let (now, rest) = buf.split_at(step().min(buf.len()));
            if file.write_all_at(now, offset).is_err() {
                self.refused.store(true, Ordering::Relaxed);
                return false;
            }
            (offset, buf) = (offset + now.len() as u64, rest);
        }
        true
    }

    /// As [`Direct::write_at`], for a short `buf` anywhere in memory.
    pub(super) fn write_copied(&self, offset: u64, buf: &[u8]) -> bool {
        if !buf.len().is_multiple_of(UNIT) || buf.len() > MAX_COPY || self.file().is_none() {
            return false;
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

    /// As if the host had refused a write.
    #[cfg(test)]
    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}

/// The same file, opened for writes around the cache; `None` where that is not to be had.
#[cfg(target_os = "linux")]
fn again(file: &File) -> Option<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    // The thread's own table of descriptors: it may have another than its process.
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let again = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
    let (one, two) = (file.metadata().ok()?, again.metadata().ok()?);
    ((one.dev(), one.ino()) == (two.dev(), two.ino())).then_some(again)
}

#[cfg(not(target_os = "linux"))]
fn again(_: &File) -> Option<File> {
    None
}
