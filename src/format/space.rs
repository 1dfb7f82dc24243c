//! Space pages: allocation bitmaps and the index over them.
//!
//! Each page has two fixed homes, at the start of the first region that it covers: bitmap, then
//! level 1, then level 2, two units each. Its entry, one level up, says which one is current.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::StoreId;
use crate::limits::{REGION_UNITS, UNIT};

/// Bytes of the clear header.
pub const SPACE_HEADER_LEN: usize = 64;
/// Bytes of the sealed body.
pub const SPACE_BODY: usize = UNIT - SPACE_HEADER_LEN;
/// Entries of one index page.
pub const ENTRIES_PER_PAGE: usize = SPACE_BODY / size_of::<SpaceEntry>();
/// Levels of pages: bitmaps and two levels of index.
pub const SPACE_LEVELS: u8 = 3;

const MAGIC: [u8; 8] = *b"EFSSPAC\x01";
const HOME: u32 = 1 << 31;

const _: () = assert!(ENTRIES_PER_PAGE == 126);
const _: () = assert!(REGION_UNITS as usize / 8 <= SPACE_BODY);
const _: () = assert!((ENTRIES_PER_PAGE * ENTRIES_PER_PAGE) as u64 * REGION_UNITS < HOME as u64);

/// Position of a page in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpacePage {
    /// 0 for a bitmap, 1 or 2 for an index.
    pub level: u8,
    /// Number among the pages of the level.
    pub index: u64,
}

impl SpacePage {
    /// The first region that the page covers.
    pub fn first_region(&self) -> u64 {
        self.index * (ENTRIES_PER_PAGE as u64).pow(u32::from(self.level))
    }

    /// The unit of a home, relative to the start of the pool.
    pub fn home(&self, home: bool) -> u64 {
        let base = self.first_region() * REGION_UNITS;
        base + u64::from(self.level) * 2 + u64::from(home)
    }

    /// The page one level up that holds this page's entry, and the entry's position there.
    pub fn parent(&self) -> (SpacePage, usize) {
        let per_page = ENTRIES_PER_PAGE as u64;
        let page = SpacePage { level: self.level + 1, index: self.index / per_page };
        (page, (self.index % per_page) as usize)
    }

    /// The pages one level down whose entries this page holds.
    pub fn children(&self) -> impl Iterator<Item = SpacePage> + use<> {
        let per_page = if self.level == 0 { 0 } else { ENTRIES_PER_PAGE as u64 };
        let (level, first) = (self.level.saturating_sub(1), self.index * per_page);
        (first..first + per_page).map(move |index| SpacePage { level, index })
    }

    /// Units at the start of `region` that hold homes.
    pub fn reserved_units(region: u64) -> u64 {
        let per_page = ENTRIES_PER_PAGE as u64;
        match region {
            r if r % (per_page * per_page) == 0 => 6,
            r if r % per_page == 0 => 4,
            _ => 2,
        }
    }
}

/// What is known of a page by the level above.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SpaceEntry {
    /// GCM-SIV nonce.
    pub nonce: [u8; 12],
    /// GCM-SIV tag.
    pub tag: [u8; 16],
    /// Units in use below the page; the highest bit is the current home.
    used_and_home: U32,
}

impl SpaceEntry {
    /// A page that was never written: nothing below it is in use but the homes.
    pub const UNTOUCHED: SpaceEntry =
        SpaceEntry { nonce: [0; 12], tag: [0; 16], used_and_home: U32::ZERO };

    /// An entry of a written page.
    pub fn new(nonce: [u8; 12], tag: [u8; 16], used: u64, home: bool) -> SpaceEntry {
        let used = (used as u32) & !HOME;
        let home = if home { HOME } else { 0 };
        SpaceEntry { nonce, tag, used_and_home: U32::new(used | home) }
    }

    /// Whether the page was never written.
    pub fn is_untouched(&self) -> bool {
        *self == SpaceEntry::UNTOUCHED
    }

    /// Units in use below the page.
    pub fn used(&self) -> u64 {
        u64::from(self.used_and_home.get() & !HOME)
    }

    /// The current home.
    pub fn home(&self) -> bool {
        self.used_and_home.get() & HOME != 0
    }
}

/// The clear header of a space page.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct SpaceHeader {
    magic: [u8; 8],
    /// Store that the page belongs to.
    pub store_id: StoreId,
    /// Number among the pages of the level.
    pub index: U64,
    /// META KEK version that the page is sealed under.
    pub key_epoch: U32,
    /// Level of the page.
    pub level: u8,
    reserved: [u8; 23],
    /// crc32 (IEEE) of the header up to here and of the sealed body.
    pub crc: U32,
}

const _: () = assert!(size_of::<SpaceHeader>() == SPACE_HEADER_LEN);

impl SpaceHeader {
    /// The header of a page over its sealed body.
    pub fn new(store_id: StoreId, page: SpacePage, key_epoch: u32, sealed: &[u8]) -> SpaceHeader {
        let mut header = SpaceHeader {
            magic: MAGIC,
            store_id,
            index: U64::new(page.index),
            key_epoch: U32::new(key_epoch),
            level: page.level,
            reserved: [0; 23],
            crc: U32::ZERO,
        };
        header.crc = U32::new(header.checksum(sealed));
        header
    }

    /// The header of a block that says it is a space page, whoever wrote it.
    pub fn find(block: &[u8]) -> Option<SpaceHeader> {
        let (header, _) = SpaceHeader::read_from_prefix(block).ok()?;
        (header.magic == MAGIC).then_some(header)
    }

    /// Whether the crc fits the header and the block behind it. Anyone can make it fit.
    pub fn is_sound(&self, block: &[u8]) -> bool {
        let body = block.get(SPACE_HEADER_LEN..UNIT);
        body.is_some_and(|body| self.checksum(body) == self.crc.get())
    }

    fn checksum(&self, sealed: &[u8]) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&self.as_bytes()[..SPACE_HEADER_LEN - 4]);
        hash.update(sealed);
        hash.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_different_pages_never_meet() {
        let mut seen = std::collections::HashSet::new();
        for level in 0..SPACE_LEVELS {
            let count = match level {
                0 => 16_000,
                1 => 127,
                _ => 2,
            };
            for index in 0..count {
                let page = SpacePage { level, index };
                for home in [false, true] {
                    let unit = page.home(home);
                    assert!(seen.insert(unit), "{page:?}");
                    let reserved = SpacePage::reserved_units(unit / REGION_UNITS);
                    assert!(unit % REGION_UNITS < reserved, "{page:?}");
                }
            }
        }
    }

    #[test]
    fn entry_keeps_count_and_home() {
        let most = (ENTRIES_PER_PAGE * ENTRIES_PER_PAGE) as u64 * REGION_UNITS;
        for (used, home) in [(0, false), (1, true), (most, true), (most, false)] {
            let entry = SpaceEntry::new([1; 12], [2; 16], used, home);
            assert_eq!((entry.used(), entry.home()), (used, home));
            assert!(!entry.is_untouched());
        }
    }
}
