//! Space: which units of the pool are in use, and who may have the others.
//!
//! Words: a unit is *live* when the transactions so far say that it is in use; *busy* when it may
//! not be handed out. Invariants:
//!
//! 1. live implies busy. Busy beyond live is: reserved by a writer, or given back but perhaps
//!    still reachable from the durable superblock, the log or a reader's pin.
//! 2. A unit given back becomes free only after the checkpoint that records it is durable and no
//!    pin older than that checkpoint is left. So nothing reachable is ever overwritten.
//! 3. A bitmap or index page is written to the home that the durable superblock does not
//!    reference; its entry moves up with the checkpoint.
//! 4. A region is looked at only when it is loaded; loading is lazy, so opening costs nothing.
//! 5. Before a unit of a chunk is handed out for the first time, the device allocated the chunk:
//!    lack of space on the host shows here, where it fails one operation, and not at a write.
//! 6. The store stays compact: free units below the `frontier`, the end of what was ever handed
//!    out, go first. It moves only where those are few or too scattered.
//! 7. Where the device refused a chunk, nothing at or above it (`limit`) is handed out until the
//!    next checkpoint; below it everything is. The units held back so are in `withheld`.
//! 8. A region whose bitmap cannot be read is full, and stays as its bitmap says: nothing is handed
//!    out there, and what is given back there is lost, until the store is opened again.

mod rebuild;

pub use rebuild::{Recount, UnitSet};

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::bitmap::Bitmap;
use super::{Layout, Sealer};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{ENTRIES_PER_PAGE, SPACE_LEVELS, SPACE_ROOTS, SpaceEntry, SpacePage};
use crate::limits::{NODE_UNITS, REGION_UNITS, SMALL_UNITS, UNIT};

/// Grain in which the device is asked to allocate, units: 64 to a region.
const CHUNK: u64 = REGION_UNITS / 64;
/// Regions that one search for a long run looks at before it takes a shorter one.
const SEARCH: u64 = 8;

type Entries = [SpaceEntry; ENTRIES_PER_PAGE];
type Units = Vec<(u64, u32)>;
type Blocks = Vec<(u64, Box<[u8; UNIT]>)>;

/// The space of one store. Thread-safe; callers hold no other lock that a reader waits for.
pub struct Space {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    layout: Layout,
    state: Mutex<State>,
    /// A mistake on purpose, for tests that must notice it: what is given back is free at once.
    #[cfg(any(test, feature = "sim"))]
    hasty: std::sync::atomic::AtomicBool,
}

struct State {
    roots: [SpaceEntry; SPACE_ROOTS],
    index: HashMap<SpacePage, Box<Entries>>,
    regions: BTreeMap<u64, Region>,
    /// Units in use by the transactions so far.
    used: u64,
    /// Given back since the last freeze.
    given: Units,
    /// Given back by a durable checkpoint, with its generation; waiting for older pins.
    waiting: VecDeque<(u64, Units)>,
    /// The end of what was handed out so far.
    frontier: u64,
    /// Units from here on are not handed out: the end of the pool, or where the device is full.
    limit: u64,
    /// Free units at or above the limit, busy for now.
    withheld: Vec<(u64, Bitmap)>,
    /// Regions whose bitmap could not be read.
    unreadable: BTreeSet<u64>,
    /// Where the search for data and for nodes goes on.
    data_cursor: u64,
    node_cursor: u64,
}

struct Region {
    live: Bitmap,
    busy: Bitmap,
    free: u64,
    /// Chunks that the device allocated since the store was opened.
    backed: u64,
    dirty: bool,
}

/// The bitmaps of a checkpoint.
pub struct FrozenSpace {
    regions: Vec<(u64, Bitmap)>,
    given: Units,
    /// Units in use as of the checkpoint.
    pub used: u64,
}

impl Space {
    /// The space that a superblock describes. Reads nothing.
    pub fn new(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        layout: Layout,
        roots: [SpaceEntry; SPACE_ROOTS],
        used: u64,
        device_len: u64,
    ) -> Space {
        let device_units = (device_len / UNIT as u64).saturating_sub(layout.pool_base);
        let state = State {
            frontier: if used == 0 { 0 } else { device_units.min(layout.pool_units) },
            roots,
            index: HashMap::new(),
            regions: BTreeMap::new(),
            used,
            given: Vec::new(),
            waiting: VecDeque::new(),
            limit: layout.pool_units,
            withheld: Vec::new(),
            unreadable: BTreeSet::new(),
            data_cursor: 0,
            node_cursor: 0,
        };
        Space {
            device,
            sealer,
            layout,
            state: Mutex::new(state),
            #[cfg(any(test, feature = "sim"))]
            hasty: Default::default(),
        }
    }

    /// Breaks invariant 2 from now on.
    #[cfg(any(test, feature = "sim"))]
    pub fn reuse_at_once(&self) {
        self.hasty.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Units in use, and units of the pool.
    pub fn usage(&self) -> (u64, u64) {
        (self.state.lock().used, self.layout.pool_units)
    }

    /// Whether space was given back that a checkpoint would make free.
    pub fn has_given(&self) -> bool {
        !self.state.lock().given.is_empty()
    }

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

    /// A clear run of `want` units. Below the frontier a shorter one will do, unless little is
    /// free there; beyond it all is.
    fn find_run(&self, state: &mut State, want: u32) -> Result<Option<(u64, Range<u64>)>> {
        let start = state.data_cursor;
        let below = self.find_run_below(state, want, start, state.frontier)?;
        let whole = |run: &Range<u64>| run.end - run.start == u64::from(want);
        if below.as_ref().is_some_and(|(_, run)| whole(run) || !state.is_crowded()) {
            return Ok(below);
        }
        let (frontier, limit) = (state.frontier, state.limit);
        let beyond = self.find_run_below(state, want, frontier, limit)?;
        Ok(if beyond.is_some() { beyond } else { below })
    }

    /// A clear run of `want` units, or the longest of those that a bounded search saw.
    fn find_run_below(
        &self,
        state: &mut State,
        want: u32,
        start: u64,
        end: u64,
    ) -> Result<Option<(u64, Range<u64>)>> {
        let mut best: Option<(u64, Range<u64>)> = None;
        let mut looked = 0;
        for region in regions_from(end.min(state.limit), start / REGION_UNITS) {
            let Some(bitmap) = self.searched(state, region, 1)? else { continue };
            let from = if region == start / REGION_UNITS { start % REGION_UNITS } else { 0 };
            let fits = |run: &Range<u64>| region * REGION_UNITS + run.end <= end;
            let run = bitmap.find_run(from, u64::from(want)).filter(fits);
            let run = run.or_else(|| bitmap.find_run(0, u64::from(want)).filter(fits));
            if let Some(run) = run {
                let len = run.end - run.start;
                if best.as_ref().is_none_or(|(_, best)| len > best.end - best.start) {
                    best = Some((region, run));
                }
                if len == u64::from(want) {
                    break;
                }
            }
            looked += 1;
            if looked >= SEARCH && best.is_some() {
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
            let Some(busy) = self.searched(state, region, units)? else { continue };
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
        state.frontier = state.frontier.max(number * REGION_UNITS + range.end);
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

    /// Gives up a reservation that no transaction took.
    pub fn release(&self, unit: u64, units: u32) {
        self.state.lock().release(&self.layout, unit, units);
    }

    /// Checks that [`Space::give`] of the units can only succeed, and loads what it needs.
    pub fn prepare_give(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        match self.readable(&mut self.state.lock(), number)? {
            Some(region) if !region.live.all(range) => {
                Err(Error::corrupt(Object::Store, "space given that is not in use"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that [`Space::take`] of the units can only succeed: they are reserved, and no more.
    pub fn prepare_take(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let region = self.load(&mut state, number)?;
        match region.busy.all(range.clone()) && !region.live.any(range) {
            true => Ok(()),
            false => Err(Error::corrupt(Object::Store, "space taken that was not reserved")),
        }
    }

    /// Reserves the very units that a logged transaction will take, before replay places nodes.
    pub fn claim(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let region = self.load(&mut state, number)?;
        if region.busy.any(range.clone()) {
            return Err(Error::corrupt(Object::Store, "logged space is in use"));
        }
        region.free -= region.busy.set(range);
        Ok(())
    }

    /// Takes units that were reserved before; nothing in a region that is not readable, as replay
    /// for reading alone may meet it.
    ///
    /// # Errors
    /// [`Error::Internal`] where [`Space::prepare_take`] was not asked.
    pub fn take(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let Some(region) = self.readable(&mut state, number)? else { return Ok(()) };
        if region.live.any(range.clone()) || !region.busy.all(range.clone()) {
            return Err(Error::Internal("space taken that was not reserved"));
        }
        region.live.set(range);
        region.dirty = true;
        // The homes count with the first unit of their region.
        let homes = region.live.set(0..SpacePage::reserved_units(number));
        state.used += u64::from(units) + homes;
        Ok(())
    }

    /// Gives units back: free once the next checkpoint is durable and older pins are gone. Those of
    /// a region that is not readable stay in use.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the units are not in use: only by damaged rows or a damaged log.
    pub fn give(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let Some(region) = self.readable(&mut state, number)? else { return Ok(()) };
        if !region.live.all(range.clone()) {
            return Err(Error::corrupt(Object::Store, "space given twice"));
        }
        region.live.clear(range);
        region.dirty = true;
        state.used = state.used.saturating_sub(u64::from(units));
        state.given.push((unit, units));
        #[cfg(any(test, feature = "sim"))]
        if self.hasty.load(std::sync::atomic::Ordering::Relaxed) {
            state.release(&self.layout, unit, units);
        }
        Ok(())
    }

    /// First unit of the pool.
    pub fn pool_base(&self) -> u64 {
        self.layout.pool_base
    }

    /// Visits every region that is not untouched: its number, the units of its homes, what is in
    /// use. Regions whose bitmap cannot be read go to `unreadable`, with why.
    pub fn visit_live(
        &self,
        mut visit: impl FnMut(u64, u64, &Bitmap),
        mut unreadable: impl FnMut(Range<u64>, Error),
    ) -> Result<()> {
        let mut state = self.state.lock();
        let mut numbers: BTreeSet<u64> = state.regions.keys().copied().collect();
        let mut pages: Vec<SpacePage> = (0..SPACE_ROOTS as u64)
            .map(|index| SpacePage { level: SPACE_LEVELS - 1, index })
            .collect();
        while let Some(page) = pages.pop() {
            if self.entry(&mut state, page)?.is_untouched() {
                continue;
            }
            if page.level == 0 {
                numbers.insert(page.index);
            } else if let Err(error) = self.index_page(&mut state, page) {
                let first = page.first_region();
                unreadable(first..first + (ENTRIES_PER_PAGE as u64).pow(page.level.into()), error);
                continue;
            }
            pages.extend(page.children());
        }
        for number in numbers {
            match self.load(&mut state, number) {
                // A region that was only looked at has no homes yet.
                Ok(region) if region.live.count() > 0 => {
                    visit(number, SpacePage::reserved_units(number), &region.live);
                }
                Ok(_) => {}
                Err(error) => unreadable(number..number + 1, error),
            }
        }
        Ok(())
    }

    /// Whether all units of a range are in use, by the map as it was read; `None` where it cannot
    /// be read.
    pub fn is_live(&self, unit: u64, units: u32) -> Option<bool> {
        let Ok((number, range)) = self.locate(unit, units) else { return Some(false) };
        let mut state = self.state.lock();
        self.load(&mut state, number).ok().map(|region| region.live.all(range))
    }

    /// The region and the bits of a range of units that lies in one region, behind its homes.
    fn locate(&self, unit: u64, units: u32) -> Result<(u64, Range<u64>)> {
        let bad = || Error::corrupt(Object::Store, "address outside of the pool");
        let at = unit.checked_sub(self.layout.pool_base).ok_or_else(bad)?;
        let end = at.checked_add(u64::from(units)).ok_or_else(bad)?;
        let region = at / REGION_UNITS;
        let start = at % REGION_UNITS;
        let inside = units > 0
            && end <= self.layout.pool_units
            && start + u64::from(units) <= REGION_UNITS
            && start >= SpacePage::reserved_units(region);
        if inside { Ok((region, start..start + u64::from(units))) } else { Err(bad()) }
    }

    /// Takes the picture of a checkpoint: what was given back moves with it.
    pub fn freeze(&self) -> FrozenSpace {
        let mut state = self.state.lock();
        let mut regions = Vec::new();
        for (&number, region) in &mut state.regions {
            if std::mem::take(&mut region.dirty) {
                regions.push((number, region.live.clone()));
            }
        }
        FrozenSpace { regions, given: std::mem::take(&mut state.given), used: state.used }
    }

    /// Writes a picture's bitmaps and the index over them, and returns the entries that the
    /// superblock will hold. Durable only after the caller's flush.
    pub fn write(&self, frozen: &FrozenSpace) -> Result<[SpaceEntry; SPACE_ROOTS]> {
        let (roots, blocks) = self.seal(frozen)?;
        for (unit, block) in blocks {
            self.device
                .write_at(unit * UNIT as u64, &block[..])
                .map_err(|error| Error::io("write", Object::SpacePage { unit }, error))?;
        }
        Ok(roots)
    }

    /// Seals a picture's pages: the entries of the superblock, and the blocks with their units.
    fn seal(&self, frozen: &FrozenSpace) -> Result<([SpaceEntry; SPACE_ROOTS], Blocks)> {
        let mut state = self.state.lock();
        let mut blocks = Blocks::new();
        let mut dirty: BTreeMap<SpacePage, (Vec<u8>, u64)> = BTreeMap::new();
        for (number, live) in &frozen.regions {
            let page = SpacePage { level: 0, index: *number };
            dirty.insert(page, (live.to_bytes(), live.count()));
        }
        for _level in 0..SPACE_LEVELS {
            let mut parents = BTreeMap::new();
            for (page, (body, used)) in std::mem::take(&mut dirty) {
                let home = !self.entry(&mut state, page)?.home();
                let mut block = Box::new([0u8; UNIT]);
                let (nonce, tag) = self.sealer.seal_space(page, &body, &mut block)?;
                blocks.push((self.layout.pool_base + page.home(home), block));
                let entry = SpaceEntry::new(nonce, tag, used, home);
                let (parent, slot) = page.parent();
                if parent.level == SPACE_LEVELS {
                    let root = state.roots.get_mut(slot + parent.index as usize * ENTRIES_PER_PAGE);
                    *root.ok_or(Error::Internal("space map root"))? = entry;
                } else {
                    let entries = self.index_page(&mut state, parent)?;
                    entries[slot] = entry;
                    let used = entries.iter().map(SpaceEntry::used).sum();
                    parents.insert(parent, (entries.as_bytes().to_vec(), used));
                }
            }
            dirty = parents;
        }
        Ok((state.roots, blocks))
    }

    /// Says that the checkpoint of a picture is durable as `generation`.
    pub fn thaw(&self, frozen: FrozenSpace, generation: u64) {
        let mut state = self.state.lock();
        if !frozen.given.is_empty() {
            state.waiting.push_back((generation, frozen.given));
        }
        // The device may have room by now.
        state.limit = self.layout.pool_units;
        for (number, bits) in std::mem::take(&mut state.withheld) {
            if let Some(region) = state.regions.get_mut(&number) {
                region.free += region.busy.clear_all(&bits);
            }
        }
    }

    /// Frees what durable checkpoints gave back and no pin can reach.
    pub fn reclaim(&self, oldest_pin: u64) {
        let mut state = self.state.lock();
        while state.waiting.front().is_some_and(|(generation, _)| *generation <= oldest_pin) {
            let Some((_, units)) = state.waiting.pop_front() else { break };
            for (unit, units) in units {
                state.release(&self.layout, unit, units);
            }
        }
    }

    /// What is busy in a region, for a search, where at least so many of its units are free.
    fn searched<'a>(
        &self,
        state: &'a mut State,
        number: u64,
        least: u64,
    ) -> Result<Option<&'a Bitmap>> {
        let free = self.free_of(state, number);
        if state.note(number, free)?.is_none_or(|free| free < least) {
            return Ok(None);
        }
        Ok(self.readable(state, number)?.map(|region| &region.busy))
    }

    /// A region, unless its bitmap cannot be read, now or before.
    fn readable<'a>(&self, state: &'a mut State, number: u64) -> Result<Option<&'a mut Region>> {
        if !state.unreadable.contains(&number) {
            let loaded = self.load(state, number).map(drop);
            state.note(number, loaded)?;
        }
        Ok(state.regions.get_mut(&number))
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

    fn load<'a>(&self, state: &'a mut State, number: u64) -> Result<&'a mut Region> {
        if !state.regions.contains_key(&number) {
            let page = SpacePage { level: 0, index: number };
            let entry = self.entry(state, page)?;
            let live = match entry.is_untouched() {
                true => Bitmap::new(),
                false => Bitmap::from_bytes(&self.read_page(page, &entry)?),
            };
            let mut busy = live.clone();
            busy.set(0..SpacePage::reserved_units(number));
            let end = self.layout.pool_units.saturating_sub(number * REGION_UNITS);
            busy.set(end.min(REGION_UNITS)..REGION_UNITS);
            let free = REGION_UNITS - busy.count();
            let region = Region { live, busy, free, backed: 0, dirty: false };
            state.regions.insert(number, region);
            state.withhold(number);
        }
        state.regions.get_mut(&number).ok_or(Error::Internal("region was just loaded"))
    }

    /// The entry of a page in the level above.
    fn entry(&self, state: &mut State, page: SpacePage) -> Result<SpaceEntry> {
        let (parent, slot) = page.parent();
        if parent.level == SPACE_LEVELS {
            let at = slot + parent.index as usize * ENTRIES_PER_PAGE;
            return state.roots.get(at).copied().ok_or(Error::Internal("space map root"));
        }
        Ok(self.index_page(state, parent)?[slot])
    }

    fn index_page<'a>(&self, state: &'a mut State, page: SpacePage) -> Result<&'a mut Entries> {
        if !state.index.contains_key(&page) {
            let entry = self.entry(state, page)?;
            let mut entries: Entries = FromZeros::new_zeroed();
            if !entry.is_untouched() {
                let body = self.read_page(page, &entry)?;
                entries = Entries::read_from_bytes(&body[..size_of::<Entries>()])
                    .map_err(|_| Error::Internal("space index length"))?;
            }
            state.index.insert(page, Box::new(entries));
        }
        let entries = state.index.get_mut(&page);
        entries.map(|entries| &mut **entries).ok_or(Error::Internal("index page was just loaded"))
    }

    fn read_page(&self, page: SpacePage, entry: &SpaceEntry) -> Result<Vec<u8>> {
        let unit = self.layout.pool_base + page.home(entry.home());
        let mut block = [0u8; UNIT];
        self.device
            .read_at(unit * UNIT as u64, &mut block)
            .map_err(|error| Error::io("read", Object::SpacePage { unit }, error))?;
        Ok(self.sealer.open_space(page, entry, unit, &mut block)?.to_vec())
    }
}

/// The regions below a limit, from one on and around.
fn regions_from(limit: u64, first: u64) -> impl Iterator<Item = u64> {
    let regions = limit.div_ceil(REGION_UNITS);
    let first = if first < regions { first } else { 0 };
    (first..regions).chain(0..first)
}

impl State {
    /// Whether less than an eighth of what lies below the frontier is free.
    fn is_crowded(&self) -> bool {
        (self.frontier.saturating_sub(self.used)) * 8 < self.frontier
    }

    /// Remembers a region that could not be read.
    fn note<T>(&mut self, number: u64, read: Result<T>) -> Result<Option<T>> {
        match read {
            Err(Error::Corrupt { .. } | Error::Io { .. }) => {
                self.unreadable.insert(number);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Makes the free units of a region at or above the limit busy.
    fn withhold(&mut self, number: u64) {
        let start = self.limit.saturating_sub(number * REGION_UNITS).min(REGION_UNITS);
        let Some(region) = self.regions.get_mut(&number) else { return };
        if start < REGION_UNITS {
            let held = region.busy.clear_from(start);
            let count = region.busy.set_all(&held);
            if count > 0 {
                region.free -= count;
                self.withheld.push((number, held));
            }
        }
    }

    /// Makes busy units free that are not live.
    fn release(&mut self, layout: &Layout, unit: u64, units: u32) {
        let at = unit - layout.pool_base;
        let start = at % REGION_UNITS;
        if let Some(region) = self.regions.get_mut(&(at / REGION_UNITS)) {
            let range = start..start + u64::from(units);
            region.free += region.busy.clear(range.clone());
            // What a transaction took stays taken, whoever still thinks to hold it.
            region.free -= region.busy.set_all_in(&region.live, range);
        }
    }
}
