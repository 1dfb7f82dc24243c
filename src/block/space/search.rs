//! Search: which free units are handed out, and in which order.

use std::io::ErrorKind;
use std::ops::Range;

use super::{Region, Space, State};
use crate::error::{Error, Object, Result};
use crate::format::{SPACE_LEVELS, SpacePage};
use crate::limits::{NODE_UNITS, REGION_UNITS, SMALL_UNITS, UNIT};

/// Grain in which the device is asked to allocate, units: 64 to a region.
const CHUNK: u64 = REGION_UNITS / 64;
/// Regions that one search for a long run looks at before it takes a shorter one.
const SEARCH: u64 = 8;

impl Space {
    /// Reserves up to `want` contiguous units, to be written by about `write` at a time; fewer
    /// where space is fragmented.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where no unit is free.
    pub fn reserve_run(&self, want: u32, write: u32) -> Result<(u64, u32)> {
        let mut state = self.state.lock();
        loop {
            let (region, run) = self.find_run(&mut state, want)?.ok_or(Error::NoSpace)?;
            if !self.hand_out(&mut state, region, run.clone(), write <= SMALL_UNITS)? {
                continue;
            }
            state.data_cursor = region * REGION_UNITS + run.end;
            let unit = self.layout.pool_base + region * REGION_UNITS + run.start;
            return Ok((unit, (run.end - run.start) as u32));
        }
    }

    /// A clear run of `want` units. Below the frontier a shorter one will do where much is free
    /// there; beyond it all is.
    fn find_run(&self, state: &mut State, want: u32) -> Result<Option<(u64, Range<u64>)>> {
        let below = self.find_run_below(state, want)?;
        let len = |found: &Option<(u64, Range<u64>)>| {
            found.as_ref().map_or(0, |(_, run)| run.end - run.start)
        };
        if len(&below) == u64::from(want) || (len(&below) > 0 && state.is_hollow()) {
            return Ok(below);
        }
        let beyond = self.find_run_beyond(state, want)?;
        Ok(if len(&beyond) > len(&below) { beyond } else { below })
    }

    /// A clear run of `want` units below the frontier, or the longest of those that a bounded
    /// search saw.
    fn find_run_below(&self, state: &mut State, want: u32) -> Result<Option<(u64, Range<u64>)>> {
        let mut best: Option<(u64, Range<u64>)> = None;
        let (mut len, mut looked) = (0, 0);
        let (start, limit) = (state.data_cursor, state.limit);
        let end = state.frontier.min(limit);
        for number in regions_from(end, start / REGION_UNITS) {
            let Some(region) = self.searched(state, number, 1)? else { continue };
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
            if len == u64::from(want) || (looked >= SEARCH && best.is_some()) {
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
                if !self.back(state, page.first_region(), 0, false)? {
                    return Ok(false);
                }
                page = page.parent().0;
            }
            backed |= 1;
        }
        for chunk in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            if backed & (1 << chunk) == 0 {
                if !self.back(state, number, chunk, small)? {
                    return Ok(false);
                }
                backed |= 1 << chunk;
            }
        }
        let region = self.load(state, number)?;
        region.backed = backed;
        region.free -= region.busy.set(range.clone());
        let (start, end) = (number * REGION_UNITS + range.start, number * REGION_UNITS + range.end);
        if start > state.frontier {
            // What lies between is below the frontier now.
            for region in state.frontier / REGION_UNITS..=number {
                state.regions.get_mut(&region).into_iter().for_each(Region::forget_longest);
            }
        }
        state.frontier = state.frontier.max(end);
        Ok(true)
    }

    /// Has the device allocate a chunk. Where it has no room the limit falls to the chunk, and the
    /// answer is `false`.
    fn back(&self, state: &mut State, region: u64, chunk: u64, small: bool) -> Result<bool> {
        let first = region * REGION_UNITS + chunk * CHUNK;
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
                state.limit = state.limit.min(first);
                let loaded: Vec<u64> =
                    state.regions.range(region..).map(|(&number, _)| number).collect();
                loaded.into_iter().for_each(|number| state.withhold(number));
                Ok(false)
            }
            _ => Err(Error::io("allocate", Object::Store, error)),
        }
    }

    /// A region, for a search, where at least so many of its units are free.
    fn searched<'a>(
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
    /// Says that there may be longer runs than before.
    pub(super) fn forget_longest(&mut self) {
        self.longest = REGION_UNITS;
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
    /// much that pieces of it are used, too.
    fn is_hollow(&self) -> bool {
        let free = self.frontier.saturating_sub(self.used);
        free > REGION_UNITS + self.frontier / 5
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
