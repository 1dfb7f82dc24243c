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
//!    Large writes take runs that hold an extent, also beyond the frontier, unless more is free
//!    below it than is in use; small ones take *holes* first, which are too short for those.
//! 7. Where the device refused a chunk, nothing at or above it (`limit`) is handed out until the
//!    next checkpoint; below it everything is. The units held back so are in `withheld`.
//! 8. A region whose bitmap cannot be read is full, and stays as its bitmap says: nothing is handed
//!    out there, and what is given back there is lost, until the store is opened again.
//! 9. What is given back waits for a checkpoint. Where that is much, and more than is free below
//!    the frontier, one is due (`hoarded`), as the store would grow meanwhile.
//! 10. A unit is discarded only while it is free, and after it was free in one whole durable
//!     checkpoint and the one after: neither of the two newest states needs it, so the one before
//!     the newest is whole. It is busy while the device works on it. `fresh` are free units that
//!     the second newest state may need, `ripe` those that may be discarded.
//! 11. A chunk of which a part was discarded is allocated again before a unit of it is handed out.
//!     Where the device refuses that, what is free in it waits for the next checkpoint
//!     (`withheld`).
//! 12. The device is cut off only at or above `ceiling`, where nothing is busy, after two durable
//!     checkpoints that say so; nothing is handed out there until then. Who needs room there first
//!     raises the ceiling again, and the device stays as long as it is.

mod discard;
mod pages;
mod rebuild;
mod room;
mod search;
mod shrink;

pub use pages::FrozenSpace;
pub use rebuild::{Recount, UnitSet};
pub use room::Room;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::bitmap::Bitmap;
use super::{Layout, Sealer};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{ENTRIES_PER_PAGE, SPACE_LEVELS, SPACE_ROOTS, SpaceEntry, SpacePage};
use crate::limits::{REGION_UNITS, RUN_UNITS, UNIT};

/// Units given back that make a checkpoint due, where they are a part of what is in use, too.
const HOARD: u64 = REGION_UNITS;
/// Which part: one in so many.
const HOARD_PART: u64 = 8;

type Entries = [SpaceEntry; ENTRIES_PER_PAGE];
type Units = Vec<(u64, u32)>;

/// The space of one store. Thread-safe; callers hold no other lock that a reader waits for.
pub struct Space {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    layout: Layout,
    state: Mutex<State>,
    /// Whether so much was given back since the last freeze that the store should not grow for it.
    hoarded: AtomicBool,
    /// Whether the map is that of another state.
    distrusted: AtomicBool,
    /// Held while the device discards, or is cut off.
    discarding: Mutex<()>,
    /// Units handed out since the store was opened.
    handed: AtomicU64,
    /// A mistake on purpose, for tests that must notice it: what is given back is free at once.
    #[cfg(any(test, feature = "sim"))]
    hasty: AtomicBool,
    /// Another: what becomes free is ripe at once.
    #[cfg(any(test, feature = "sim"))]
    rash: AtomicBool,
}

struct State {
    roots: [SpaceEntry; SPACE_ROOTS],
    index: HashMap<SpacePage, Box<Entries>>,
    regions: BTreeMap<u64, Region>,
    /// Units in use by the transactions so far.
    used: u64,
    /// Given back since the last freeze.
    given: Units,
    /// How many units those are.
    given_units: u64,
    /// How many are busy because they were given back, those that wait for older pins too.
    kept_back: u64,
    /// Given back by a durable checkpoint, with its generation; waiting for older pins.
    waiting: VecDeque<(u64, Units)>,
    /// The end of what was handed out so far.
    frontier: u64,
    /// Units from here on are not handed out: the end of the pool, or where the device is full.
    limit: u64,
    /// Where the device is to be cut off; else the end of the pool.
    ceiling: u64,
    /// Whether a picture was taken that is not durable yet.
    freezing: bool,
    /// Whether the device said that it never discards.
    keeps_all: bool,
    /// Units that are busy because somebody reserved them.
    reserved: u64,
    /// Free units that are busy for now: at or above the limit, or not backed by the device.
    withheld: Vec<(u64, Bitmap)>,
    /// Regions whose bitmap could not be read.
    unreadable: BTreeSet<u64>,
    /// No region has a hole of more units than this: a bound, found by searches. A hole is a run of
    /// free units that is too short for a large write.
    holes: u64,
    /// Where the search for large and small data and for nodes goes on.
    data_cursor: u64,
    small_cursor: u64,
    node_cursor: u64,
}

struct Region {
    live: Bitmap,
    busy: Bitmap,
    free: u64,
    /// Below the frontier no run of units that are not busy is longer: a bound, found by searches.
    longest: u64,
    /// No hole has more units: likewise.
    hole: u64,
    /// Chunks that the device allocated since the store was opened, and did not discard since.
    backed: u64,
    dirty: bool,
    /// How many units are live.
    lives: u64,
    /// Free units that may hold something, which the second newest state may need; `None`: none.
    fresh: Option<Bitmap>,
    /// Those that neither of the two newest needs.
    ripe: Option<Bitmap>,
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
            given_units: 0,
            kept_back: 0,
            waiting: VecDeque::new(),
            limit: layout.pool_units,
            ceiling: layout.pool_units,
            freezing: false,
            keeps_all: false,
            holes: RUN_UNITS.into(),
            reserved: 0,
            withheld: Vec::new(),
            unreadable: BTreeSet::new(),
            data_cursor: 0,
            small_cursor: 0,
            node_cursor: 0,
        };
        Space {
            device,
            sealer,
            layout,
            state: Mutex::new(state),
            hoarded: AtomicBool::new(false),
            distrusted: AtomicBool::new(false),
            discarding: Mutex::new(()),
            handed: AtomicU64::new(0),
            #[cfg(any(test, feature = "sim"))]
            hasty: Default::default(),
            #[cfg(any(test, feature = "sim"))]
            rash: Default::default(),
        }
    }

    /// Breaks invariant 2 from now on.
    #[cfg(any(test, feature = "sim"))]
    pub fn reuse_at_once(&self) {
        self.hasty.store(true, Ordering::Relaxed);
    }

    /// Breaks invariant 10 from now on.
    #[cfg(any(test, feature = "sim"))]
    pub fn discard_too_early(&self) {
        self.rash.store(true, Ordering::Relaxed);
    }

    /// Units in use, and units of the pool.
    pub fn usage(&self) -> (u64, u64) {
        (self.state.lock().used, self.layout.pool_units)
    }

    /// Whether space was given back that a checkpoint would make free.
    pub fn has_given(&self) -> bool {
        !self.state.lock().given.is_empty()
    }

    /// Whether a checkpoint would make free so much that it is due for that alone.
    pub fn is_hoarded(&self) -> bool {
        self.hoarded.load(Ordering::Relaxed)
    }

    /// Why a part of the map counts as full, if one does.
    pub fn damage(&self) -> Option<Error> {
        let mut state = self.state.lock();
        let first = *state.unreadable.first()?;
        self.load(&mut state, first).err()
    }

    /// Gives up a reservation that no transaction took.
    pub fn release(&self, unit: u64, units: u32) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(units.into());
        state.release(&self.layout, unit, units);
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
        match self.readable(&mut self.state.lock(), number)? {
            Some(region) if !region.busy.all(range.clone()) || region.live.any(range) => {
                Err(Error::corrupt(Object::Store, "space taken that was not reserved"))
            }
            _ => Ok(()),
        }
    }

    /// Reserves the very units that a logged transaction will take, before replay places nodes.
    /// Where nothing is placed, as replay for reading does not, a region that is not `needed` may
    /// be one that cannot be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are in use, or twice in the log; those of reading the map.
    pub fn claim(&self, unit: u64, units: u32, needed: bool) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let region = match needed {
            true => self.load(&mut state, number)?,
            false => match self.readable(&mut state, number)? {
                Some(region) => region,
                None => return Ok(()),
            },
        };
        if region.busy.any(range.clone()) {
            return Err(Error::corrupt(Object::Store, "logged space is in use"));
        }
        let claimed = region.busy.set(range);
        region.free -= claimed;
        state.reserved += claimed;
        Ok(())
    }

    /// Takes units that were reserved before; nothing in a region that is not readable, as replay
    /// for reading alone may meet it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they were not, or are taken already: [`Space::prepare_take`] says
    /// so before, but of a transaction that takes units twice.
    pub fn take(&self, unit: u64, units: u32) -> Result<()> {
        let (number, range) = self.locate(unit, units)?;
        let mut state = self.state.lock();
        let Some(region) = self.readable(&mut state, number)? else { return Ok(()) };
        if region.live.any(range.clone()) || !region.busy.all(range.clone()) {
            return Err(Error::corrupt(Object::Store, "space taken that was not reserved"));
        }
        region.live.set(range);
        region.dirty = true;
        // The homes count with the first unit of their region.
        let homes = region.live.set(0..SpacePage::reserved_units(number));
        region.lives += u64::from(units) + homes;
        state.used += u64::from(units) + homes;
        state.reserved = state.reserved.saturating_sub(units.into());
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
        region.lives -= u64::from(units);
        let mut fewer = u64::from(units);
        let homes = SpacePage::reserved_units(number);
        if region.lives == homes {
            // They go with the last unit of their region.
            region.lives -= region.live.clear(0..homes);
            fewer += homes;
        }
        state.used = state.used.saturating_sub(fewer);
        state.given.push((unit, units));
        state.given_units += u64::from(units);
        state.kept_back += u64::from(units);
        if state.is_hoarding() {
            self.hoarded.store(true, Ordering::Relaxed);
        }
        #[cfg(any(test, feature = "sim"))]
        if self.hasty.load(Ordering::Relaxed) {
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
        if self.distrusted.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        self.load(&mut state, number).ok().map(|region| region.live.all(range))
    }

    /// Says that the map is not that of the state in memory: it tells nothing of what is in use.
    pub fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        // Nothing says how far units were handed out.
        state.frontier = state.limit;
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

    /// Frees what durable checkpoints gave back and no pin can reach.
    pub fn reclaim(&self, oldest_pin: u64) {
        let mut state = self.state.lock();
        while state.waiting.front().is_some_and(|(generation, _)| *generation <= oldest_pin) {
            let Some((_, units)) = state.waiting.pop_front() else { break };
            for (unit, units) in units {
                state.kept_back = state.kept_back.saturating_sub(units.into());
                state.release(&self.layout, unit, units);
            }
        }
    }

    /// A region, unless its bitmap cannot be read, now or before.
    fn readable<'a>(&self, state: &'a mut State, number: u64) -> Result<Option<&'a mut Region>> {
        if !state.unreadable.contains(&number) {
            let loaded = self.load(state, number).map(drop);
            state.note(number, loaded)?;
        }
        Ok(state.regions.get_mut(&number))
    }
}

impl Region {
    /// A region of which nothing is backed, so far as is known.
    fn new(live: Bitmap, busy: Bitmap, dirty: bool) -> Region {
        let (free, lives) = (REGION_UNITS - busy.count(), live.count());
        let (fresh, ripe) = (None, None);
        let (longest, hole, backed) = (free, free.min(RUN_UNITS.into()), 0);
        Region { live, busy, free, longest, hole, backed, dirty, lives, fresh, ripe }
    }
}

impl State {
    /// Whether much was given back since the last freeze, and less is free below the frontier: the
    /// store would grow although it need not.
    fn is_hoarding(&self) -> bool {
        let free = self.frontier.saturating_sub(self.used).saturating_sub(self.kept_back);
        self.given_units >= HOARD.max(self.used / HOARD_PART) && free < self.given_units
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
        self.withhold_range(number, start..REGION_UNITS);
    }

    /// Makes the free units of a range of a region busy, until the next checkpoint.
    fn withhold_range(&mut self, number: u64, range: Range<u64>) {
        let Some(region) = self.regions.get_mut(&number) else { return };
        let mut held = Bitmap::new();
        let count = held.set_clear_in(&region.busy, range);
        if count > 0 {
            region.busy.set_all(&held);
            region.free -= count;
            self.withheld.push((number, held));
        }
    }

    /// Hands out what was held back, now that the device may have room.
    fn relax(&mut self) {
        self.limit = self.ceiling;
        for (number, bits) in std::mem::take(&mut self.withheld) {
            if let Some(region) = self.regions.get_mut(&number) {
                region.forget_longest();
                region.free += region.busy.clear_all(&bits);
                self.holes = RUN_UNITS.into();
            }
        }
        let above: Vec<u64> =
            self.regions.range(self.limit / REGION_UNITS..).map(|(&number, _)| number).collect();
        above.into_iter().for_each(|number| self.withhold(number));
    }

    /// Makes busy units free that are not live.
    fn release(&mut self, layout: &Layout, unit: u64, units: u32) {
        let at = unit - layout.pool_base;
        let start = at % REGION_UNITS;
        if let Some(region) = self.regions.get_mut(&(at / REGION_UNITS)) {
            let range = start..start + u64::from(units);
            region.free += region.busy.clear(range.clone());
            // What a transaction took stays taken, whoever still thinks to hold it.
            let kept = region.busy.set_all_in(&region.live, range.clone());
            region.free -= kept;
            self.holes = self.holes.max(region.freed(range.start, kept > 0));
            if !self.keeps_all {
                let fresh = region.fresh.get_or_insert_with(Bitmap::new);
                fresh.set_clear_in(&region.busy, range);
            }
        }
    }
}
