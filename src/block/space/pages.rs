//! The pages of the map: how they are read, and written by a checkpoint.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Entries, Region, Space, State, Units};
use crate::block::bitmap::Bitmap;
use crate::error::{Error, Object, Result};
use crate::format::{ENTRIES_PER_PAGE, SPACE_LEVELS, SPACE_ROOTS, SpaceEntry, SpacePage};
use crate::limits::{REGION_UNITS, UNIT};

type Blocks = Vec<(u64, Box<[u8; UNIT]>)>;

/// The bitmaps of a checkpoint.
pub struct FrozenSpace {
    regions: Vec<(u64, Bitmap)>,
    given: Units,
    /// Units in use as of the checkpoint.
    pub used: u64,
}

impl Space {
    /// Takes the picture of a checkpoint: what was given back moves with it.
    pub fn freeze(&self) -> FrozenSpace {
        let mut state = self.state.lock();
        let mut regions = Vec::new();
        for (&number, region) in &mut state.regions {
            if std::mem::take(&mut region.dirty) {
                regions.push((number, region.live.clone()));
            }
        }
        (state.given_units, state.freezing) = (0, true);
        self.hoarded.store(false, Ordering::Relaxed);
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
                let entry = match used {
                    // As if it had never been written: the device may end before its homes.
                    0 => SpaceEntry::UNTOUCHED,
                    _ => {
                        let home = !self.entry(&mut state, page)?.home();
                        let mut block = Box::new([0u8; UNIT]);
                        let (nonce, tag) = self.sealer.seal_space(page, &body, &mut block)?;
                        blocks.push((self.layout.pool_base + page.home(home), block));
                        SpaceEntry::new(nonce, tag, used, home)
                    }
                };
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
        state.freezing = false;
        state.ripen();
        // The device may have room by now.
        state.relax();
    }

    pub(super) fn load<'a>(&self, state: &'a mut State, number: u64) -> Result<&'a mut Region> {
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
            state.regions.insert(number, Region::new(live, busy, false));
            state.withhold(number);
        }
        state.regions.get_mut(&number).ok_or(Error::Internal("region was just loaded"))
    }

    /// The entry of a page in the level above.
    pub(super) fn entry(&self, state: &mut State, page: SpacePage) -> Result<SpaceEntry> {
        let (parent, slot) = page.parent();
        if parent.level == SPACE_LEVELS {
            let at = slot + parent.index as usize * ENTRIES_PER_PAGE;
            return state.roots.get(at).copied().ok_or(Error::Internal("space map root"));
        }
        Ok(self.index_page(state, parent)?[slot])
    }

    pub(super) fn index_page<'a>(
        &self,
        state: &'a mut State,
        page: SpacePage,
    ) -> Result<&'a mut Entries> {
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
