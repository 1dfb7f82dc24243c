//! The mark of a store that is being made in a place that others see: on a block device, or in an
//! empty file. Whoever finds it there, and nobody at work, may make the store anew.
//!
//! It fills the first slot of the superblock ring, so whatever else begins there damages it: a
//! partition table or another file system never stands beside a mark that is whole.

/// Bytes of the mark, from the first of the device on.
pub const UNFINISHED_LEN: usize = 16 * 1024;

const MAGIC: [u8; 8] = *b"\x89EFSN\r\n\x1a";
/// The first word of a superblock slot: what a creation leaves in the ring beside the mark.
const SUPERBLOCK: [u8; 8] = *b"\x89EFSC\r\n\x1a";
/// Bytes from one slot of the ring to the next, and between its two places.
const SLOT: usize = 16 * 1024;
const PLACES: [usize; 2] = [0, 256 << 10];
const SLOTS: usize = 8;

/// Bytes at the start of a device that tell whether a store that is being made stands there.
pub(super) const PROBE: usize = PLACES[1] + SLOTS * SLOT;

/// The mark: the same for every store.
pub(super) fn mark() -> Vec<u8> {
    let mut mark = b"unfinished ".repeat(UNFINISHED_LEN / 11 + 1);
    mark.truncate(UNFINISHED_LEN);
    mark[..MAGIC.len()].copy_from_slice(&MAGIC);
    mark
}

/// Whether a device begins with the mark of a store that was not finished: no store, whatever else
/// stands there.
pub fn is_unfinished(start: &[u8]) -> bool {
    // Most devices are told apart without making one.
    start.starts_with(&MAGIC) && start.get(..UNFINISHED_LEN).is_some_and(|found| found == mark())
}

/// Whether a device begins with nothing but what an unfinished creation leaves there. What a file
/// system has further behind, and no creation, is somebody's.
pub(super) fn is_all_unfinished(start: &[u8]) -> bool {
    const SECTOR: usize = 512;
    let slots = PLACES.iter().flat_map(|place| (0..SLOTS).map(move |slot| place + slot * SLOT));
    is_unfinished(start)
        && slots.skip(1).filter_map(|at| start.get(at..)).all(|slot| {
            let sector = &slot[..SECTOR.min(slot.len())];
            sector.starts_with(&SUPERBLOCK) || sector.iter().all(|byte| *byte == 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_and_what_damages_it_is_seen() {
        let mut start = vec![0; PROBE];
        start[..UNFINISHED_LEN].copy_from_slice(&mark());
        assert!(is_unfinished(&start) && is_all_unfinished(&start));
        start[SLOT..SLOT + 8].copy_from_slice(&SUPERBLOCK);
        assert!(is_all_unfinished(&start), "the superblock of the creation");
        // Where others have their first word: a boot sector, LVM, ext4, swap, RAID.
        for at in [0, 510, 512, 1024, 1080, 4086, 4096, 8192, UNFINISHED_LEN - 1] {
            let mut other = start.clone();
            other[at] ^= 1;
            assert!(!is_unfinished(&other) && !is_all_unfinished(&other), "at {at}");
        }
        // JFS and ISO 9660, ReiserFS and btrfs.
        for at in [32 << 10, 64 << 10] {
            let mut other = start.clone();
            other[at + 64] = 1;
            assert!(!is_all_unfinished(&other), "at {at}");
        }
        assert!(!is_unfinished(&start[..UNFINISHED_LEN - 1]) && !is_unfinished(&[]));
        assert!(!is_unfinished(&vec![0; PROBE]));
    }
}
