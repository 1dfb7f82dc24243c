//! Writeback: the host begins to write large writes to the disk while the next are prepared.
//!
//! Left alone, the host keeps what was written in memory until much has gathered or somebody
//! flushes, and the flush then waits for the disk from the first byte on. Begun early, the disk
//! works beside the sealing, and the flush finds little left. Advice only: nothing is durable by
//! it, and what fails is met again by the flush.
#![allow(unsafe_code, reason = "calls sync_file_range, which no crate of ours has in a safe form")]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

use parking_lot::Mutex;

/// Shorter writes are left to the host: some are soon written again, and disks like large ones.
const LARGE: u64 = 256 << 10;
/// Bytes of one request to the host, where writes follow one another.
const STEP: u64 = 4 << 20;

/// Large writes, one after another, that the host was not asked to begin.
#[derive(Debug, Default)]
pub(super) struct Writeback {
    waiting: Mutex<Range<u64>>,
}

impl Writeback {
    /// Notes that a range of a file was written, and asks the host to begin once there is enough.
    pub(super) fn wrote(&self, file: &File, range: Range<u64>) {
        if range.end - range.start >= LARGE
            && let Some(due) = self.due(range)
        {
            begin(file, due);
        }
    }

    fn due(&self, range: Range<u64>) -> Option<Range<u64>> {
        let mut waiting = self.waiting.lock();
        if waiting.end != range.start {
            // Elsewhere: what waits is not continued.
            let left = std::mem::replace(&mut *waiting, range);
            return (!left.is_empty()).then_some(left);
        }
        waiting.end = range.end;
        if waiting.end - waiting.start < STEP {
            return None;
        }
        Some(std::mem::replace(&mut *waiting, range.end..range.end))
    }
}

/// Asks the host to write what it holds of a range. Waits for no disk unless its queue is full.
#[cfg(target_os = "linux")]
pub(super) fn begin(file: &File, range: Range<u64>) {
    let (from, len) = (range.start.cast_signed(), (range.end - range.start).cast_signed());
    // SAFETY: the descriptor is open while the file is borrowed; the call touches no memory.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_: &File, _: Range<u64>) {}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn writes_in_order_are_begun_together() {
        let writeback = Writeback::default();
        let all: Vec<_> = (0..9).filter_map(|n| writeback.due(n * MIB..(n + 1) * MIB)).collect();
        assert_eq!(all, [0..4 * MIB, 4 * MIB..8 * MIB]);
    }

    #[test]
    fn what_waits_is_begun_when_others_write() {
        let writeback = Writeback::default();
        assert_eq!(writeback.due(MIB..2 * MIB), None);
        assert_eq!(writeback.due(9 * MIB..10 * MIB), Some(MIB..2 * MIB));
        assert_eq!(writeback.due(10 * MIB..13 * MIB), Some(9 * MIB..13 * MIB));
        assert_eq!(writeback.due(20 * MIB..21 * MIB), None, "nothing waited");
    }
}
