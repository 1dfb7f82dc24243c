//! Check: every node verified, every unit accounted for.

use super::Engine;
use crate::block::{Bitmap, Space, UnitSet};
use crate::error::{Error, Object, Result};
use crate::format::{FIRST_FS_TREE, NodePointer, Page, STORE_TREE, SpacePage, TreeId};
use crate::limits::{NODE_UNITS, REGION_UNITS};
use crate::tree::Visit;

/// What a check of the structure found.
#[derive(Debug, Default)]
pub struct StructureReport {
    /// Nodes that verified.
    pub nodes: u64,
    /// Rows in them.
    pub rows: u64,
    /// Units that nodes and rows own, homes of the space map included.
    pub owned: u64,
    /// Units that are in use by the space map and owned by nothing.
    pub lost: u64,
    /// Units that something owns and the space map calls free.
    pub unrecorded: u64,
    /// Units that have two owners.
    pub shared: u64,
    /// What does not verify: the first [`MAX_DAMAGED`].
    pub damaged: Vec<Error>,
}

/// Most entries of a list of damage: what is damaged everywhere needs no longer one.
pub const MAX_DAMAGED: usize = 1000;

impl StructureReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.lost == 0 && self.unrecorded == 0 && self.shared == 0
    }

    fn note(&mut self, error: Error) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(error);
        }
    }
}

/// Units and their owners so far.
#[derive(Default, Clone)]
pub struct Owners {
    pool_base: u64,
    pool_units: u64,
    pub(super) regions: UnitSet,
    shared: u64,
    outside: bool,
}

impl Owners {
    pub fn new(space: &Space) -> Owners {
        let (pool_base, pool_units) = (space.pool_base(), space.usage().1);
        Owners { pool_base, pool_units, ..Owners::default() }
    }

    /// Whether contents may stand in a unit: it is in the pool, no home of a page of the space map,
    /// and has no owner yet.
    pub fn is_open(&self, unit: u64) -> bool {
        let Some(at) = unit.checked_sub(self.pool_base) else { return false };
        let homes = SpacePage::reserved_units(at / REGION_UNITS);
        at < self.pool_units && at % REGION_UNITS >= homes && !self.has(unit)
    }

    /// Whether a unit has an owner.
    pub fn has(&self, unit: u64) -> bool {
        let Some(first) = unit.checked_sub(self.pool_base) else { return false };
        let (region, at) = (first / REGION_UNITS, first % REGION_UNITS);
        self.regions.get(&region).is_some_and(|bits| bits.any(at..at + 1))
    }

    /// Whether no unit has two owners, and none is outside the pool.
    pub fn is_disjoint(&self) -> bool {
        self.shared == 0 && !self.outside
    }

    /// Enters an owner of units, and returns whether they are in the pool and had none.
    pub fn own(&mut self, unit: u64, units: u64) -> bool {
        let Some(first) = unit.checked_sub(self.pool_base) else {
            self.outside = true;
            return false;
        };
        let (region, start) = (first / REGION_UNITS, first % REGION_UNITS);
        if units == 0 {
            return true;
        }
        if start + units > REGION_UNITS || first + units > self.pool_units {
            self.outside = true;
            return false;
        }
        let bitmap = self.regions.entry(region).or_insert_with(Bitmap::new);
        let fresh = bitmap.set(start..start + units);
        self.shared += units - fresh;
        fresh == units
    }

    /// Forgets the owners of units.
    pub fn disown(&mut self, unit: u64, units: u64) {
        let Some(first) = unit.checked_sub(self.pool_base) else { return };
        let (region, start) = (first / REGION_UNITS, first % REGION_UNITS);
        if let Some(bitmap) = self.regions.get_mut(&region) {
            bitmap.clear(start..start.saturating_add(units).min(REGION_UNITS));
        }
    }

    /// As [`Owners::own`], for all copies of a node.
    pub fn own_node(&mut self, pointer: &NodePointer) -> bool {
        let copies = pointer.copies().map(|unit| self.own(unit, NODE_UNITS));
        copies.fold(true, |all, fresh| all & fresh)
    }
}

impl Engine {
    /// Verifies every copy of every node, and compares what nodes and rows own with the space map.
    /// `row` is called for each row and tells which units it owns. Expects that nobody changes the
    /// store meanwhile, and writes a checkpoint first unless the store was opened read-only.
    pub fn check_structure(
        &self,
        mut row: impl FnMut(TreeId, &[u8], &[u8], &mut dyn FnMut(u64, u32)),
    ) -> Result<StructureReport> {
        self.checkpoint()?;
        let mut report = StructureReport::default();
        let mut owners = Owners::new(&self.space);
        for tree in [STORE_TREE, FIRST_FS_TREE] {
            let mut rows = |page: &Page, owners: &mut Owners| {
                if page.level() == 0 {
                    for slot in 0..page.len() {
                        let mut own = |unit, units: u32| {
                            owners.own(unit, u64::from(units));
                        };
                        row(tree, page.key(slot), page.value(slot), &mut own);
                    }
                    return page.len() as u64;
                }
                0
            };
            self.forest.walk_nodes(tree, &mut |visit| match visit {
                Visit::Damaged(error) => {
                    report.note(error);
                    false
                }
                Visit::Dirty(page) => {
                    report.rows += rows(page, &mut owners);
                    true
                }
                Visit::Node(pointer, page) => {
                    // One that was met before, or stands where no node may, tells nothing new.
                    let fresh = owners.own_node(pointer);
                    if fresh {
                        report.nodes += 1;
                        report.rows += rows(page, &mut owners);
                    }
                    fresh
                }
            })?;
        }
        // Replaced by what was read from the log, and in use until a checkpoint.
        for unit in self.forest.retired_units() {
            owners.own(unit, NODE_UNITS);
        }
        self.compare(&mut report, owners)?;
        Ok(report)
    }

    fn compare(&self, report: &mut StructureReport, mut owners: Owners) -> Result<()> {
        report.shared = owners.shared;
        if owners.outside {
            report.note(Error::corrupt(Object::Store, "a row owns units outside the pool"));
        }
        let mut unreadable = Vec::new();
        let visit = |region: u64, homes, live: &Bitmap| {
            let mut owned = owners.regions.remove(&region).unwrap_or_else(Bitmap::new);
            owned.set(0..homes);
            report.owned += owned.count();
            report.lost += live.count_without(&owned);
            report.unrecorded += owned.count_without(live);
        };
        self.space.visit_live(visit, |regions, error| unreadable.push((regions, error)))?;
        // What is in use there is not known.
        for (regions, error) in unreadable {
            owners.regions.retain(|region, _| !regions.contains(region));
            report.note(error);
        }
        report.unrecorded += owners.regions.values().map(Bitmap::count).sum::<u64>();
        Ok(())
    }
}
