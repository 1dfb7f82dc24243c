//! Digests: whole trees as 64 bits, so that thousands of states are told apart cheaply.
//!
//! A state is the sum of the digests of its inodes, so a change costs what it touches. Not
//! cryptographic: two states that differ have one digest once in 2^64 times.

use crate::fs::{Attr, FileType, Time};
use crate::limits::UNIT;

const FACTORS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];

/// A running hash.
#[derive(Clone, Copy)]
pub(super) struct Fold(u64);

impl Fold {
    pub fn new(salt: u64) -> Fold {
        Fold(salt ^ FACTORS[3])
    }

    pub fn word(self, word: u64) -> Fold {
        Fold((self.0.rotate_left(23) ^ word).wrapping_mul(FACTORS[0]))
    }

    pub fn bytes(self, bytes: &[u8]) -> Fold {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        let mut lanes = FACTORS;
        let mut blocks = bytes.chunks_exact(32);
        for block in &mut blocks {
            for (lane, part) in lanes.iter_mut().zip(block.chunks_exact(8)) {
                *lane = (lane.rotate_left(23) ^ word(part)).wrapping_mul(FACTORS[0]);
            }
        }
        let fold = lanes.into_iter().fold(self.word(bytes.len() as u64), Fold::word);
        blocks.remainder().chunks(8).map(word).fold(fold, Fold::word)
    }

    pub fn end(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(FACTORS[1]);
        z = (z ^ (z >> 27)).wrapping_mul(FACTORS[2]);
        z ^ (z >> 31)
    }
}

/// The digest of contents: the sum over units, so that one unit changes it cheaply; zeros count
/// nothing, as holes do.
pub(super) fn contents(first: u64, bytes: &[u8]) -> u64 {
    let units = (first..).zip(bytes.chunks(UNIT));
    units.map(|(index, bytes)| unit(index, bytes)).fold(0, u64::wrapping_add)
}

fn unit(index: u64, bytes: &[u8]) -> u64 {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end == 0 { 0 } else { Fold::new(index).bytes(&bytes[..end]).end() }
}

/// The digest of an entry or of an extended attribute in the sum of all of them.
pub(super) fn named(name: &[u8], what: u64) -> u64 {
    Fold::new(what).bytes(name).end()
}

/// What a client sees of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub ino: u64,
    pub generation: u64,
    pub kind: FileType,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub rdev: u64,
    /// Number of entries.
    pub count: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
    /// Digests of contents or link target, entries, extended attributes.
    pub contents: u64,
    pub entries: u64,
    pub xattrs: u64,
}

impl Seen {
    /// From attributes, without what they do not tell.
    pub fn of(attr: &Attr) -> Seen {
        Seen {
            ino: attr.ino,
            generation: attr.generation,
            kind: attr.kind,
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            rdev: attr.rdev,
            count: attr.entries,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            btime: attr.btime,
            contents: 0,
            entries: 0,
            xattrs: 0,
        }
    }

    pub fn digest(&self) -> u64 {
        let numbers = [
            self.generation,
            self.kind as u64,
            u64::from(self.mode),
            u64::from(self.nlink),
            u64::from(self.uid) << 32 | u64::from(self.gid),
            self.size,
            self.rdev,
            self.count,
            self.contents,
            self.entries,
            self.xattrs,
        ];
        let fold = numbers.into_iter().fold(Fold::new(self.ino), Fold::word);
        let times = [self.atime, self.mtime, self.ctime, self.btime];
        let times =
            times.iter().map(|time| time.seconds as u64 ^ u64::from(time.nanoseconds) << 40);
        times.fold(fold, Fold::word).end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_by_every_byte_and_holes_are_zeros() {
        let mut bytes = vec![0; 3 * UNIT + 100];
        assert_eq!(contents(0, &bytes), 0);
        let mut seen = std::collections::HashSet::from([0]);
        for at in (0..bytes.len()).step_by(97) {
            bytes[at] ^= 0x40;
            assert!(seen.insert(contents(0, &bytes)));
        }
        // By units, and with zeros behind.
        let parts = contents(0, &bytes[..UNIT]).wrapping_add(contents(1, &bytes[UNIT..]));
        assert_eq!(parts, contents(0, &bytes));
        bytes.resize(9 * UNIT, 0);
        assert_eq!(parts, contents(0, &bytes));
    }
}
