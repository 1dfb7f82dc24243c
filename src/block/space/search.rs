//! Search: which free units are handed out, and in which order.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{Region, Space, State};
use crate::error::{Error, Object, Result};
use crate::format::{SPACE_LEVELS, SpacePage};
use crate::limits::{NODE_UNITS, REGION_UNITS, RUN_UNITS, SMALL_UNITS, UNIT};

/// Grain in which the device is asked to allocate, units: 64 to a region.
pub(super) const CHUNK: u64 = REGION_UNITS / 64;
/// Regions that one search for a long run looks at before it takes a shorter one.
const SEARCH: u64 = 8;
/// Regions that one search passes by what is known of them, or scans where it must.
const PASSED: u64 = 256;

impl Space {
    /// Reserves up to `want` contiguous units, to be written by about `write` at a time; fewer
    /// where space is fragmented.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where no unit is free.
    pub fn reserve_run(&self, want: u32, write: u32) -> Result<(u64, u32)> {
        let mut state = self.state.lock();
        loop {
            let small = want <= SMALL_UNITS;
            let found = match self.find_hole(&mut state, want.into(), small)? {
                None => self.find_run(&mut state, want, small)?,
                hole => hole,
            };
            let (region, run) = found.ok_or(Error::NoSpace)?;
            if !self.hand_out(&mut state, region, run.clone(), write <= SMALL_UNITS)? {
                continue;
            }
            let at = region * REGION_UNITS + run.end;
            match small {
                true => state.small_cursor = at,
                false => state.data_cursor = at,
            }
            let unit = self.layout.pool_base + region * REGION_UNITS + run.start;
            return Ok((unit, (run.end - run.start) as u32));
        }
    }

    /// Room for a small write that is too short for a large one, so that long runs stay whole. Of
    /// several searches each looks at a few regions.
    fn find_hole(
        &self,
        state: &mut State,
        want: u64,
        small: bool,
    ) -> Result<Option<(u64, Range<u64>)>> {
        if !small || state.holes < want {
            return Ok(None);
        }
        let end = state.frontier.min(state.limit);
        let first = state.small_cursor / REGION_UNITS;
        let (mut looked, mut passed) = (0, 0);
        for number in regions_from(end, first) {
            if looked == SEARCH || passed == PASSED {
                state.small_cursor = number * REGION_UNITS;
                return Ok(None);
            }
            passed += 1;
            let from = if number == first { state.small_cursor % REGION_UNITS } else { 0 };
            let Some(region) = self.searched(state, number, want)? else { continue };
            if region.hole < want {
                continue;
            }
            looked += 1;
            let end = (end - number * REGION_UNITS).min(REGION_UNITS);
            let most = RUN_UNITS.into();
            let behind = region.busy.find_hole(from.min(end)..end, want, most);
            let found = behind.or_else(|| region.busy.find_hole(0..end, want, most));
            match found {
                Some(hole) => return Ok(Some((number, hole))),
                None => region.hole = want - 1,
            }
        }
        state.holes = want - 1;
        Ok(None)
    }

    /// A clear run of `want` units, or of those of an extent. Below the frontier a shorter one will
    /// do where the store would grow far beyond what is in use; beyond it all is.
    fn find_run(
        &self,
        state: &mut State,
        want: u32,
        small: bool,
    ) -> Result<Option<(u64, Range<u64>)>> {
        let start = if small { state.small_cursor } else { state.data_cursor };
        let below = self.find_run_below(state, want, start, SEARCH)?;
        let len = |found: &Option<(u64, Range<u64>)>| {
            found.as_ref().map_or(0, |(_, run)| run.end - run.start)
        };
        let extent = u64::from(want.min(RUN_UNITS));
        let enough = if state.is_roomy() { extent } else { want.into() };
        if len(&below) >= enough || (len(&below) > 0 && state.is_hollow()) {
            return Ok(below.map(whole_extents));
        }
        let beyond = self.find_run_beyond(state, want)?;
        if len(&beyond) >= enough {
            return Ok(beyond);
        }
        let below = self.find_run_below(state, want, start, PASSED)?;
        let found = if len(&beyond) > len(&below) { beyond } else { below };
        Ok(found.map(whole_extents))
    }

    /// A clear run of `want` units below the frontier, or the longest of those that a search saw
    /// which scans at most so many regions.
    fn find_run_below(
        &self,
        state: &mut State,
        want: u32,
        start: u64,
        most: u64,
    ) -> Result<Option<(u64, Range<u64>)>> {
        let mut best: Option<(u64, Range<u64>)> = None;
        let (mut len, mut looked, mut passed) = (0, 0, 0);
        let limit = state.limit;
        let end = state.frontier.min(limit);
        for number in regions_from(end, start / REGION_UNITS) {
            passed += 1;
            let Some(region) = self.searched(state, number, 1)? else { continue };
            if region.longest <= len {
                if best.is_some() && passed > PASSED {
                    break;
                }
                continue;
            }
            let from = if number == start / REGION_UNITS { start % REGION_UNITS } else { 0 };
            let end = (end - number * REGION_UNITS).min(REGION_UNITS);
            if let Some(mut run) = region.find_run(from.min(end)..end, u64::from(want), len) {
                if run.end == end {
                    // The frontier ends no run, only what is handed out first.
                    let beyond = (limit - number * REGION_UNITS).min(REGION_UNITS);
                    run = region.busy.run_at(run.start, u64::from(want), beyond);
                }
                len = run.end - run.start;
                best = Some((number, run));
            }
            looked += 1;
            if len == u64::from(want) || (looked >= most && best.is_some()) {
                break;
            }
        }
        Ok(best)
    }

    /// A clear run of `want` units beyond the frontier, or the longest there.
    fn find_run_beyond(&self, state: &mut State, want: u32) -> Result<Option<(u64, Range<u64>)>> {
        let mut best: Option<(u64, Range<u64>)> = None;
        let mut len = 0;
        let (start, end) = (state.frontier, state.limit);
        for number in start / REGION_UNITS..end.div_ceil(REGION_UNITS) {
            let Some(region) = self.searched(state, number, 1)? else { continue };
            let from = start.saturating_sub(number * REGION_UNITS);
            let end = (end - number * REGION_UNITS).min(REGION_UNITS);
            if let Some(run) = region.busy.find_run(from..end, want.into())
                && run.end - run.start > len
            {
                len = run.end - run.start;
                best = Some((number, run));
            }
            if len == u64::from(want) {
                break;
            }
        }
        Ok(best)
    }

    /// Reserves room for `count` nodes and appends their first units to `out`, in whole free
    /// chunks where there are some, so that metadata stays together.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where there is no room for all; those reserved so far stand in `out`.
    pub fn reserve_nodes(&self, count: usize, out: &mut Vec<u64>) -> Result<()> {
        let mut state = self.state.lock();
        let chunk_nodes = (CHUNK / NODE_UNITS) as usize;
        let mut left = count;
        while left > 0 {
            let found = self.find_place(&mut state, left >= chunk_nodes)?;
            let (region, range) = found.ok_or(Error::NoSpace)?;
            if !self.hand_out(&mut state, region, range.clone(), false)? {
                continue;
            }
            state.node_cursor = region * REGION_UNITS + range.end;
            let first = self.layout.pool_base + region * REGION_UNITS + range.start;
            let nodes = (range.end - range.start) / NODE_UNITS;
            out.extend((0..nodes).map(|node| first + node * NODE_UNITS));
            left = left.saturating_sub(nodes as usize);
        }
        Ok(())
    }

    /// Room for nodes: a whole chunk where one is wanted and to be had, else room for one node.
    fn find_place(&self, state: &mut State, whole: bool) -> Result<Option<(u64, Range<u64>)>> {
        let (start, frontier, limit) = (state.node_cursor, state.frontier, state.limit);
        let tries = match (whole, state.is_crowded()) {
            (true, true) => &[(CHUNK, false), (CHUNK, true), (NODE_UNITS, true)][..],
            (true, false) => &[(CHUNK, false), (NODE_UNITS, false), (CHUNK, true)],
            (false, _) => &[(NODE_UNITS, false), (NODE_UNITS, true)],
        };
        for &(units, beyond) in tries {
            let (from, end) = if beyond { (frontier, limit) } else { (start, frontier) };
            if let Some((region, at)) = self.find_nodes(state, units, from, end)? {
                return Ok(Some((region, at..at + units)));
            }
        }
        self.find_nodes(state, NODE_UNITS, 0, limit)
            .map(|found| found.map(|(region, at)| (region, at..at + NODE_UNITS)))
    }

    /// An aligned clear stretch of `units`, from `start` on and around, below `end`.
    fn find_nodes(
        &self,
        state: &mut State,
        units: u64,
        start: u64,
        end: u64,
    ) -> Result<Option<(u64, u64)>> {
        for region in regions_from(end.min(state.limit), start / REGION_UNITS) {
            let Some(found) = self.searched(state, region, units)? else { continue };
            let busy = &found.busy;
            let from = if region == start / REGION_UNITS { start % REGION_UNITS } else { 0 };
            let search = |from| {
                match units {
                    NODE_UNITS => busy.find_node(from),
                    _ => busy.find_chunk(from, units),
                }
                .filter(|at| region * REGION_UNITS + at + units <= end)
            };
            if let Some(at) = search(from).or_else(|| search(0)) {
                return Ok(Some((region, at)));
            }
        }
        Ok(None)
    }

    /// Marks a clear range busy, once the device backs it, for small writes or others; `false`
    /// where the device is full there.
    fn hand_out(
        &self,
        state: &mut State,
        number: u64,
        range: Range<u64>,
        small: bool,
    ) -> Result<bool> {
        let mut backed = self.load(state, number)?.backed;
        if backed & 1 == 0 {
            // The homes of the bitmap, and of the index pages above it.
            let mut page = SpacePage { level: 0, index: number };
            while page.level < SPACE_LEVELS {
                let first = page.first_region() * REGION_UNITS;
                if !self.back(first, false)? {
                    state.refused(first, number, 0..REGION_UNITS);
                    return Ok(false);
                }
                page = page.parent().0;
            }
            backed |= 1;
        }
        for chunk in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            if backed & (1 << chunk) == 0 {
                let first = number * REGION_UNITS + chunk * CHUNK;
                if !self.back(first, small)? {
                    state.refused(first, number, chunk * CHUNK..(chunk + 1) * CHUNK);
                    return Ok(false);
                }
                backed |= 1 << chunk;
            }
        }
        let region = self.load(state, number)?;
        region.backed = backed;
        let units = region.busy.set(range.clone());
        region.free -= units;
        for loose in [&mut region.fresh, &mut region.ripe].into_iter().flatten() {
            loose.clear(range.clone());
        }
        let hole = region.left(&range);
        state.holes = state.holes.max(hole);
        state.reserved += units;
        self.handed.fetch_add(units, Ordering::Relaxed);
        let (start, end) = (number * REGION_UNITS + range.start, number * REGION_UNITS + range.end);
        if start > state.frontier {
            // What lies between is below the frontier now.
            for region in state.frontier / REGION_UNITS..=number {
                state.regions.get_mut(&region).into_iter().for_each(Region::forget_longest);
            }
            state.holes = RUN_UNITS.into();
        }
        state.frontier = state.frontier.max(end);
        Ok(true)
    }

    /// Has the device allocate the chunk that starts at a unit of the pool; `false` where it has no
    /// room.
    fn back(&self, first: u64, small: bool) -> Result<bool> {
        let end = (first + CHUNK).min(self.layout.pool_units);
        let offset = (self.layout.pool_base + first) * UNIT as u64;
        let len = (end - first) * UNIT as u64;
        let allocated = match small {
            true => self.device.allocate_for_small(offset, len),
            false => self.device.allocate(offset, len),
        };
        let Err(error) = allocated else { return Ok(true) };
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Ok(false)
            }
            _ => Err(Error::io("allocate", Object::Store, error)),
        }
    }

    /// A region, for a search, where at least so many of its units are free.
    pub(super) fn searched<'a>(
        &self,
        state: &'a mut State,
        number: u64,
        least: u64,
    ) -> Result<Option<&'a mut Region>> {
        let free = self.free_of(state, number);
        if state.note(number, free)?.is_none_or(|free| free < least) {
            return Ok(None);
        }
        self.readable(state, number)
    }

    /// Units of a region that may be handed out, without loading it.
    fn free_of(&self, state: &mut State, region: u64) -> Result<u64> {
        if state.unreadable.contains(&region) {
            return Ok(0);
        }
        if let Some(region) = state.regions.get(&region) {
            return Ok(region.free);
        }
        let entry = self.entry(state, SpacePage { level: 0, index: region })?;
        let size = state.limit.saturating_sub(region * REGION_UNITS).min(REGION_UNITS);
        let used =
            if entry.is_untouched() { SpacePage::reserved_units(region) } else { entry.used() };
        Ok(size.saturating_sub(used))
    }
}

impl Region {
    /// Says that there may be longer runs and holes than before.
    pub(super) fn forget_longest(&mut self) {
        (self.longest, self.hole) = (REGION_UNITS, RUN_UNITS.into());
    }

    /// Says that a run became free which starts at a unit, or, where it is `broken`, parts of it.
    /// Returns how long a hole there may be by that.
    pub(super) fn freed(&mut self, start: u64, broken: bool) -> u64 {
        if broken {
            self.forget_longest();
            return self.hole;
        }
        let run = self.busy.clear_around(start);
        let len = run.end - run.start;
        self.longest = self.longest.max(len);
        // One at the frontier is as long as what is below.
        self.hole = self.hole.max(len.min(RUN_UNITS.into()));
        self.hole
    }

    /// Says that a range became busy, and returns how long a hole there may be by what it left.
    fn left(&mut self, range: &Range<u64>) -> u64 {
        let behind = self.busy.clear_len(range.end, RUN_UNITS.into());
        let before = match range.start.checked_sub(1) {
            Some(last) if !self.busy.any(last..range.start) => {
                range.start - self.busy.clear_around(last).start
            }
            _ => 0,
        };
        let holes = [before, behind].into_iter().filter(|len| *len < RUN_UNITS.into());
        let hole = holes.max().unwrap_or(0);
        self.hole = self.hole.max(hole);
        hole
    }

    /// A clear run below the frontier, longer than `least` and of `want` units at most: as long as
    /// there is one. Searches a range, which ends at the frontier, and then what is before it.
    fn find_run(&mut self, range: Range<u64>, want: u64, least: u64) -> Option<Range<u64>> {
        // Where there are known to be none so long, the first that is as long as any will do.
        let want = want.min(self.longest);
        if want <= least {
            return None;
        }
        let len = |run: &Range<u64>| run.end - run.start;
        let behind = self.busy.find_run(range.clone(), want);
        if behind.as_ref().is_some_and(|run| len(run) == want) {
            return behind;
        }
        let any = if range.start == 0 { behind } else { self.busy.find_run(0..range.end, want) };
        let found = any.as_ref().map_or(0, len);
        if found < want {
            self.longest = found;
        }
        any.filter(|run| len(run) > least)
    }
}

impl State {
    /// Whether more than a fifth of what lies below the frontier is free, and a region's worth: so
    /// much that runs of an extent are used, too.
    fn is_roomy(&self) -> bool {
        let free = self.frontier.saturating_sub(self.used);
        free > REGION_UNITS + self.frontier / 5
    }

    /// Whether more lies free below the frontier than is in use, and two regions: so much that
    /// pieces of it are used, too.
    fn is_hollow(&self) -> bool {
        self.frontier.saturating_sub(self.used) > 2 * REGION_UNITS + self.used
    }

    /// Notes that the device has no room for the chunk at `first`, which kept `range` of a region
    /// from being handed out. At the end of what was handed out the store ends there for now; where
    /// a chunk was discarded others may still have theirs.
    fn refused(&mut self, first: u64, number: u64, range: Range<u64>) {
        if first < self.frontier {
            return self.withhold_range(number, range);
        }
        self.limit = self.limit.min(first);
        let from = self.limit / REGION_UNITS;
        let loaded: Vec<u64> = self.regions.range(from..).map(|(&number, _)| number).collect();
        loaded.into_iter().for_each(|number| self.withhold(number));
    }

    /// Whether less than an eighth of what lies below the frontier is free.
    fn is_crowded(&self) -> bool {
        (self.frontier.saturating_sub(self.used)) * 8 < self.frontier
    }
}

/// The regions below a limit, from one on and around.
fn regions_from(limit: u64, first: u64) -> impl Iterator<Item = u64> {
    let regions = limit.div_ceil(REGION_UNITS);
    let first = if first < regions { first } else { 0 };
    (first..regions).chain(0..first)
}

/// A run that is as long as whole extents, where it is longer than one: the rest is for others.
fn whole_extents((region, run): (u64, Range<u64>)) -> (u64, Range<u64>) {
    let (len, extent) = (run.end - run.start, u64::from(RUN_UNITS));
    let keep = if len > extent { len / extent * extent } else { len };
    (region, run.start..run.start + keep)
}
