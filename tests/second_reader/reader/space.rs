//! Section 6: the space map, compared with what nodes and contents own.

use std::collections::BTreeSet;

use super::crypto::{Identity, Place, Seal};
use super::fields::{bytes_at, u16_at, u32_at, u64_at, unit_at};
use super::superblock::Superblock;
use super::{Result, Rows};

const REGION: u64 = 16_384;

/// Units in use, relative to the pool.
#[derive(Clone, Default)]
pub struct Map {
    used: BTreeSet<u64>,
    regions: BTreeSet<u64>,
}

/// What reads pages.
struct Pages<'a> {
    image: &'a [u8],
    superblock: &'a Superblock,
    seal: &'a Seal,
    identity: &'a Identity,
}

impl Map {
    pub fn read(
        image: &[u8],
        superblock: &Superblock,
        seal: &Seal,
        identity: &Identity,
    ) -> Result<Map> {
        let pages = Pages { image, superblock, seal, identity };
        let mut map = Map::default();
        let mut used = 0;
        for (index, entry) in superblock.space().enumerate() {
            used += pages.page(2, index as u64, entry, &mut map)?;
        }
        match used == superblock.used_units() && used == map.used.len() as u64 {
            true => Ok(map),
            false => Err(format!("{used} units in use, {} said", superblock.used_units())),
        }
    }

    /// Fails unless exactly what nodes, rows and homes own is in use.
    pub fn compare(&mut self, superblock: &Superblock, nodes: &[u64], rows: &Rows) -> Result<()> {
        let mut owned = BTreeSet::new();
        let mut own = |unit: u64, units: u64| {
            let at = unit.checked_sub(superblock.pool_base()).ok_or("a unit before the pool")?;
            let inside = at + units <= superblock.pool_units();
            let fresh = (at..at + units).all(|unit| owned.insert(unit));
            if inside && fresh { Ok(()) } else { Err("a unit with two owners") }
        };
        for &node in nodes {
            own(node, 4)?;
        }
        for (unit, units) in extents(rows) {
            own(unit, units.into())?;
        }
        for &region in &self.regions {
            own(superblock.pool_base() + region * REGION, homes(region))?;
        }
        match owned == self.used {
            true => Ok(()),
            false => Err("the space map and its owners differ".into()),
        }
    }

    /// Applies the log's edits of space.
    pub fn apply(
        &mut self,
        superblock: &Superblock,
        taken: &[(u64, u32)],
        given: &[(u64, u32)],
    ) -> Result<()> {
        let units = |(unit, units): &(u64, u32)| {
            let at = unit - superblock.pool_base();
            at..at + u64::from(*units)
        };
        for unit in taken.iter().flat_map(units) {
            self.used.insert(unit);
        }
        for unit in given.iter().flat_map(units) {
            if !self.used.remove(&unit) {
                return Err("space given that was not in use".into());
            }
        }
        Ok(())
    }

    /// Fails unless all contents are in use.
    pub fn covers(&self, superblock: &Superblock, rows: &Rows) -> Result<()> {
        let covered = extents(rows).all(|(unit, units)| {
            let at = unit - superblock.pool_base();
            (at..at + u64::from(units)).all(|unit| self.used.contains(&unit))
        });
        if covered { Ok(()) } else { Err("contents in free space".into()) }
    }
}

/// Units at the start of a region that are homes.
fn homes(region: u64) -> u64 {
    match region {
        region if region % 15_876 == 0 => 6,
        region if region % 126 == 0 => 4,
        _ => 2,
    }
}

/// Units of all extents.
fn extents(rows: &Rows) -> impl Iterator<Item = (u64, u32)> {
    let rows = rows.range(vec![4]..vec![5]).filter(|(_, value)| value[0] == 1);
    rows.map(|(_, value)| (u64_at(value, 16), u16_at(value, 6) as u32))
}

impl Pages<'_> {
    /// Units in use below a page, which are added to the map.
    fn page(&self, level: u8, index: u64, entry: &[u8], map: &mut Map) -> Result<u64> {
        if entry == [0; 32] {
            return Ok(0);
        }
        let said = u64::from(u32_at(entry, 28) & !(1 << 31));
        let home = u64::from(u32_at(entry, 28) >> 31);
        let first = index * 126u64.pow(level.into());
        let unit = self.superblock.pool_base() + first * REGION + 2 * u64::from(level) + home;
        let mut page = bytes_at(self.image, unit_at(unit)?, 4096)?.to_vec();
        let crc = crc32fast::hash(&[&page[..60], &page[64..]].concat());
        let header = page[..8] == *b"EFSSPAC\x01"
            && page[8..24] == self.identity.store
            && u64_at(&page, 24) == index
            && page[36] == level
            && crc == u32_at(&page, 60);
        if !header {
            return Err("header of a space page".into());
        }
        let identity = Identity { key_epoch: u32_at(&page, 32), ..*self.identity };
        let aad = identity.aad(b"spac", &Place { number: index, level, ..Place::default() });
        self.seal.open(&entry[..12], &aad, &mut page[64..], &entry[12..28])?;
        let body = &page[64..];
        let used = if level > 0 {
            let below = body.chunks_exact(32).zip(index * 126..);
            below
                .map(|(entry, index)| self.page(level - 1, index, entry, map))
                .sum::<Result<u64>>()?
        } else {
            map.regions.insert(index);
            let bits = (0..REGION).filter(|bit| body[*bit as usize / 8] >> (bit % 8) & 1 == 1);
            let before = map.used.len();
            map.used.extend(bits.map(|bit| index * REGION + bit));
            (map.used.len() - before) as u64
        };
        if used == said { Ok(used) } else { Err("units in use below a page".into()) }
    }
}
