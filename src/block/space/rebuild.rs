//! The space map made anew from what owns units, where the one on the device cannot be believed.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use zerocopy::FromZeros;

use super::{Bitmap, Entries, Region, Space, State};
use crate::format::{SPACE_LEVELS, SPACE_ROOTS, SpaceEntry, SpacePage};
use crate::limits::{REGION_UNITS, UNIT};

/// Bits of units, by region.
pub type UnitSet = BTreeMap<u64, Bitmap>;

/// How the map that was there differs from the one made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recount {
    /// Units that were in use and that nothing owns.
    pub lost: u64,
    /// Units that something owns and that were free.
    pub unrecorded: u64,
    /// Pages of the map that could not be read.
    pub unread: u64,
}

impl Space {
    /// Makes the map say that the units in `owned` are in use and no others. Units in `kept`, and
    /// those that the old map calls in use, are not handed out. In memory: a checkpoint writes it.
    /// `logged` is what the log says of units, in its order, and only serves to compare: first
    /// unit, number, and whether they are taken or given.
    pub fn rebuild(&self, owned: &UnitSet, kept: &UnitSet, logged: &[(u64, u32, bool)]) -> Recount {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.given.clear();
        (state.given_units, state.kept_back, state.reserved) = (0, 0, 0);
        self.hoarded.store(false, Ordering::Relaxed);
        state.unreadable.clear();
        let mut recount = Recount::default();
        let touched = self.touched(state, &mut recount);
        let regions = touched.keys().chain(owned.keys()).chain(kept.keys()).copied();
        let mut numbers: Vec<u64> = regions.collect();
        numbers.sort_unstable();
        numbers.dedup();
        state.used = 0;
        for number in numbers {
            let (old, mut busy, mut dirty, known) = match self.load(state, number) {
                Ok(region) => (region.live.clone(), region.busy.clone(), region.dirty, true),
                Err(_) => (Bitmap::new(), self.unavailable(number), true, false),
            };
            let mut live = owned.get(&number).cloned().unwrap_or_else(Bitmap::new);
            if live.count() > 0 {
                live.set(0..SpacePage::reserved_units(number));
            }
            if known {
                let expected = self.expected(number, &old, logged);
                let homes = SpacePage::reserved_units(number);
                recount.lost += expected.count_without(&live);
                recount.unrecorded += live.count_without(&expected);
                // They are in use with whatever is, also where all of it is only in memory yet.
                if expected.count() > 0 && live.count() == 0 {
                    recount.lost -= homes;
                }
            } else {
                recount.unread += 1;
            }
            dirty |= live != old || touched.get(&number) == Some(&true);
            state.used += live.count();
            busy.set_all(&live);
            if let Some(kept) = kept.get(&number) {
                busy.set_all(kept);
            }
            state.regions.insert(number, Region::new(live, busy, dirty));
        }
        recount
    }

    /// Forgets what the map says of units behind the first `len` bytes of the device, which were
    /// cut off, and what it needs of them itself.
    pub fn cut(&self, len: u64) {
        let units = (len / UNIT as u64).saturating_sub(self.layout.pool_base);
        // Those whose homes are all there.
        let homes = SpacePage::reserved_units(0);
        let regions = units.checked_sub(homes).map_or(0, |units| units / REGION_UNITS + 1);
        let mut state = self.state.lock();
        let state = &mut *state;
        state.regions.retain(|number, _| *number < regions);
        state.unreadable.retain(|number| *number < regions);
        state.index.retain(|page, _| page.first_region() < regions);
        let top = SPACE_LEVELS - 1;
        for (index, entry) in (0..).zip(&mut state.roots) {
            if (SpacePage { level: top, index }).first_region() >= regions {
                *entry = SpaceEntry::UNTOUCHED;
            }
        }
        let Some(last) = regions.checked_sub(1) else { return };
        // The pages on the way to the last region name regions behind it; they are written with it.
        let (mut page, mut way) = (SpacePage { level: 0, index: last }, Vec::new());
        while page.level < top {
            page = page.parent().0;
            way.push(page);
        }
        for page in way.into_iter().rev() {
            if let Ok(entries) = self.index_page(state, page) {
                for (entry, child) in entries.iter_mut().zip(page.children()) {
                    if child.first_region() >= regions {
                        *entry = SpaceEntry::UNTOUCHED;
                    }
                }
            }
        }
        if let Ok(region) = self.load(state, last) {
            region.dirty = true;
        }
    }

    /// What is in use in a region once the log is applied.
    fn expected(&self, number: u64, old: &Bitmap, logged: &[(u64, u32, bool)]) -> Bitmap {
        let mut expected = old.clone();
        for &(unit, units, taken) in logged {
            let Ok((region, range)) = self.locate(unit, units) else { continue };
            if region == number {
                match taken {
                    true => expected.set(range),
                    false => expected.clear(range),
                };
            }
        }
        if expected.count() > 0 {
            expected.set(0..SpacePage::reserved_units(number));
        }
        expected
    }

    /// Lets units be handed out that only the old map called in use: where there is no other room.
    pub fn release_unowned(&self, kept: &UnitSet) {
        let mut state = self.state.lock();
        for (number, region) in &mut state.regions {
            let mut busy = self.unavailable(*number);
            busy.set_all(&region.live);
            if let Some(kept) = kept.get(number) {
                busy.set_all(kept);
            }
            region.free = REGION_UNITS - busy.count();
            region.busy = busy;
            region.forget_longest();
        }
    }

    /// Units of a region that nobody ever gets: homes, and what is behind the pool.
    pub(super) fn unavailable(&self, number: u64) -> Bitmap {
        let mut busy = Bitmap::new();
        busy.set(0..SpacePage::reserved_units(number));
        let end = self.layout.pool_units.saturating_sub(number * REGION_UNITS);
        busy.set(end.min(REGION_UNITS)..REGION_UNITS);
        busy
    }

    /// Regions that have a bitmap by the index, and whether it must be written in any case: where
    /// a page of the index cannot be read, it is made anew with those that follow.
    fn touched(&self, state: &mut State, recount: &mut Recount) -> BTreeMap<u64, bool> {
        let mut touched = BTreeMap::new();
        let top = SPACE_LEVELS - 1;
        let mut pages: Vec<_> =
            (0..SPACE_ROOTS as u64).map(|index| SpacePage { level: top, index }).collect();
        while let Some(page) = pages.pop() {
            match self.entry(state, page) {
                Ok(entry) if entry.is_untouched() => continue,
                _ if page.level == 0 => {
                    touched.entry(page.index).or_insert(false);
                    continue;
                }
                _ => {}
            }
            if self.index_page(state, page).is_err() {
                recount.unread += 1;
                let entries: Box<Entries> = Box::new(FromZeros::new_zeroed());
                state.index.insert(page, entries);
                touched.insert(page.first_region(), true);
            }
            pages.extend(page.children());
        }
        touched
    }
}
