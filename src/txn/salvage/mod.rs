//! Salvage: the best state that can be made of a damaged store, in memory, and its commit.
//!
//! ```text
//! choose   the newest superblock that opens
//! graft    trees of the nodes that verify; lost ones above the leaves are made anew over the
//!          children that are found by their headers
//! replay   the log, over gaps
//! amend    rows, by the layers that know what they mean
//! commit   units counted anew by their owners; one checkpoint of a new epoch
//! ```
//!
//! Up to the superblock of that checkpoint nothing is overwritten that the store held: nodes go to
//! units that neither the old state nor the new one nor the log has, pages of the space map to the
//! homes that are not current. A crash leaves the store as it was, or mended.
//!
//! Whether a node that was found is in use is said by the space map of the same superblock: a unit
//! that is in use has one owner. Where that cannot be read the newest node of a range of keys is
//! taken, and [`Wreck::uncertain`] says so.

mod commit;
mod log;
mod missing;
mod records;
mod seek;
mod strays;
mod superblock;
mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;

use zerocopy::FromZeros;

pub use log::LogLoss;
pub use seek::Evidence;

use super::check::Owners;
use super::inode_numbers::AHEAD;
use super::newest::Unlocked;
use super::numbers::next_epoch;
use super::{Edits, Engine, EngineOptions, Recovery};
use crate::block::{Layout, LogTail, MetaKeys, Recount};
use crate::crypto::{Rng, Slot};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{
    DataRow, FIRST_FS_TREE, FsKey, RING_SLOTS, RootRow, STORE_TREE, StoreKey, Superblock, TreeId,
    UnverifiedSuperblock,
};
use crate::limits::{NODE_UNITS, UNIT};
use crate::tree::{Losses, Visit};
use seek::Start;
use strays::{Older, Strays};
use unread::Watched;

/// What is wrong with a store, below the meaning of its rows.
#[derive(Debug, Default)]
pub struct Wreck {
    /// Generation of the state that salvage starts from.
    pub generation: u64,
    /// Superblocks that have a fitting crc and do not open.
    pub refused: Vec<Error>,
    /// Whether the superblock of that state is missing in one of the two places.
    pub alone: bool,
    /// Whether a newer state may have been lost with its superblock.
    pub outdated: bool,
    /// Whether nothing says where the file system's tree starts.
    pub no_root: bool,
    /// Nodes that do not verify, and keys whose rows are gone, if there were any.
    pub losses: Losses,
    /// How many leaves may be lost that no node names: more is in use than is known of.
    pub missing: u64,
    /// Whether rows may be of an older state, or some that were deleted may be there again.
    pub uncertain: bool,
    /// What is missing of the log.
    pub log: LogLoss,
    /// Bytes that the device has and had, where it was cut.
    pub cut: Option<(u64, u64)>,
    /// Whether the header came back from a backup.
    pub restored: bool,
    /// How old the state is that serves.
    pub evidence: Evidence,
}

impl Wreck {
    /// Whether nothing was found wrong below the rows. The space map is not part of it.
    pub fn is_sound(&self) -> bool {
        self.refused.is_empty()
            && self.cut.is_none()
            && !(self.alone || self.outdated || self.no_root || self.uncertain)
            && self.losses.damaged.is_empty()
            && self.log == LogLoss::default()
    }
}

/// A state that was salvaged. In memory alone, until it is committed.
pub struct Salvage {
    engine: Engine,
    watched: Arc<Watched>,
    wreck: Wreck,
    superblock: Superblock,
    /// Whether the superblock ring holds what an open or a repair would stumble over.
    unsound: bool,
    /// Units that the old state reaches.
    kept: Owners,
    /// Units that the log gave back: what stands there was deleted.
    given: Owners,
    /// What the log says of units: first, number, and whether they are taken or given.
    logged: Vec<(u64, u32, bool)>,
    tail: LogTail,
    /// Rows of keys that are lost, as leaves say that are not in use any more.
    older: Older,
    /// Keys of contents and inodes that the log put, and the number of the transaction that did.
    replayed: BTreeMap<Vec<u8>, u64>,
    /// Transactions of the log that were applied.
    transactions: u64,
    /// Units that have an owner; counted when it is asked for first.
    owned: Option<Owners>,
    start: Start,
    /// The highest generation of a node, where all of the device was read.
    newest: Option<u64>,
}

impl Salvage {
    /// Makes the best state of what a device holds. Reads the trees, and all of the device where
    /// nodes are missing. Writes nothing. `unlock` is called with superblocks, newest first, until
    /// it succeeds.
    ///
    /// # Errors
    /// Those of finding a superblock: [`Error::NotAStore`], [`Error::Unsupported`],
    /// [`Error::Truncated`], [`Error::Corrupt`]; those of `unlock` where it never succeeds; those
    /// of the device.
    pub fn read(
        device: Arc<dyn Device>,
        mut unlock: impl FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)>,
        options: &EngineOptions,
    ) -> Result<Salvage> {
        let salvage = Salvage::read_from(Arc::clone(&device), &mut unlock, options, false)?;
        let wreck = &salvage.wreck;
        let damaged = !wreck.losses.damaged.is_empty() || wreck.no_root;
        let newer = salvage.newest.is_some_and(|newest| newest > wreck.evidence.serves + 1);
        match damaged && newer && matches!(salvage.start, Start::Superblock) {
            // What is damaged was overwritten by states that are newer.
            true => Salvage::read_from(device, &mut unlock, options, true),
            false => Ok(salvage),
        }
    }

    /// As [`Salvage::read`], and searches all of the device for states that are newer than the
    /// superblock.
    ///
    /// # Errors
    /// As there.
    pub fn read_suspicious(
        device: Arc<dyn Device>,
        unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
        options: &EngineOptions,
    ) -> Result<Salvage> {
        Salvage::read_from(device, unlock, options, true)
    }

    fn read_from(
        device: Arc<dyn Device>,
        mut unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
        options: &EngineOptions,
        suspicious: bool,
    ) -> Result<Salvage> {
        see_medium(&*device)?;
        let watched = Arc::new(Watched::new(device));
        let device: Arc<dyn Device> = Arc::clone(&watched) as _;
        let chosen = choose(&watched, &mut unlock)?;
        let superblock = chosen.superblock;
        let (cut, fitted) = fit(&*device, &superblock)?;
        watched.had(superblock.body.device_len.get());
        let sealer = Arc::new(chosen.sealer);
        // As if read-only: nodes get no places, and nothing can be written by mistake.
        let options = EngineOptions { read_only: true, ..options.clone() };
        let restored = superblock.body.restored != 0;
        let assemble = |superblock: Superblock| {
            let (device, sealer) = (Arc::clone(&device), Arc::clone(&sealer));
            Engine::assemble(device, sealer, superblock, &options, Recovery::default())
        };
        let (mut engine, start, evidence) =
            begin(&assemble, fitted, restored, suspicious || chosen.outdated)?;
        // Each state that was lost may have begun an epoch, and promised numbers of inodes.
        let opened_later = evidence.epoch > superblock.body.epoch.get();
        let lost = match (&start, chosen.outdated || opened_later) {
            (Start::Superblock, false) => 0,
            (Start::Superblock, true) => RING_SLOTS,
            _ => LOST_OPENS,
        };
        let epoch = next_epoch(superblock.body.epoch.get().max(evidence.epoch) + lost)?;
        engine.set_epoch(epoch, Recovery::default());
        let promised = superblock.body.next_ino.get();
        engine.raise_ino(promised.saturating_add(lost * AHEAD).saturating_sub(1));
        let outdated = match start {
            Start::Superblock => chosen.outdated || opened_later,
            Start::Root(_) => false,
            Start::Headers => true,
        };
        let (generation, refused, alone) = (evidence.serves, chosen.refused, chosen.alone);
        let wreck = Wreck { cut, restored, evidence, ..Wreck::default() };
        let wreck = Wreck { generation, refused, alone, outdated, ..wreck };
        let (kept, unsound) = (Owners::new(&engine.space), chosen.unsound);
        let body = &superblock.body;
        let tail =
            LogTail { offset: body.log_head.get(), seq: body.log_seq.get(), tag: body.log_tag };
        let (given, logged) = (Owners::new(&engine.space), Vec::new());
        let (older, replayed, owned) = (Older::new(), BTreeMap::new(), None);
        let mut salvage = Salvage {
            engine,
            watched,
            wreck,
            superblock,
            unsound,
            kept,
            given,
            logged,
            tail,
            older,
            replayed,
            transactions: 0,
            owned,
            start,
            newest: None,
        };
        salvage.assemble()?;
        salvage.promise_numbers()?;
        Ok(salvage)
    }

    fn assemble(&mut self) -> Result<()> {
        let engine = &self.engine;
        let generation = self.wreck.generation;
        let (base, (_, units)) = (engine.space.pool_base(), engine.space.usage());
        let pool = (base, base + units);
        let (device, space) = (Arc::clone(&engine.device), Arc::clone(&engine.space));
        let sealer = Arc::clone(&engine.sealer);
        let mut strays = Strays::new(device, sealer, space, pool, generation, self.wreck.outdated);
        if self.wreck.outdated || !matches!(self.start, Start::Superblock) {
            // Nodes of states that were lost lie about, and may not be taken for new ones.
            let written = self.superblock.header.generation.get();
            let newest = strays.newest()?.max(self.wreck.evidence.newest);
            engine.forest.begin(next_generation(written, newest));
        }
        let (forest, losses) = (&engine.forest, &mut self.wreck.losses);
        let root = match self.start {
            Start::Superblock => Ok(self.superblock.body.root),
            Start::Root(root) => Ok(root),
            Start::Headers => Err(strays.height(STORE_TREE)?.map_or(0, |level| level + 1)),
        };
        forest.graft(STORE_TREE, root, &mut strays, losses)?;
        let row =
            forest.get(STORE_TREE, &StoreKey::Root(FIRST_FS_TREE).encode(), RootRow::parse)?;
        match row {
            Some(Ok(row)) if row.pointer.is_empty() => forest.add(FIRST_FS_TREE, None),
            Some(Ok(row)) => forest.graft(FIRST_FS_TREE, Ok(row.pointer), &mut strays, losses)?,
            _ => {
                self.wreck.no_root = true;
                match strays.height(FIRST_FS_TREE)? {
                    Some(level) => {
                        forest.graft(FIRST_FS_TREE, Err(level + 1), &mut strays, losses)?;
                    }
                    None => forest.add(FIRST_FS_TREE, None),
                }
            }
        }
        losses.sort();
        self.wreck.uncertain = strays.uncertain;
        self.newest = strays.newest_known();
        let (older, leaves) = strays.older(&losses.ranges)?;
        self.older = older;
        let mut kept = self.owners()?;
        self.find_missing(&kept)?;
        // A repair that is interrupted must not cost the next one the older rows.
        for &unit in self.wreck.losses.nodes.iter().chain(&leaves) {
            kept.own(unit, NODE_UNITS);
        }
        // All of the pool was searched: what contents own was no node.
        self.watched.forget(|offset| !kept.has(offset / UNIT as u64));
        let (tail, applied) = (self.tail, self.superblock.body.log_applied.get());
        self.tail = match self.start {
            Start::Superblock => self.replay_log(tail, applied, &mut kept)?,
            _ => self.replay_found(&mut kept)?,
        };
        if !self.wreck.outdated && matches!(self.start, Start::Superblock) {
            let (ring, end) = (&self.engine.ring, self.tail);
            self.watched.forget(|offset| ring.may_reach(&tail, &end, offset));
        }
        self.kept = kept;
        if let Some((have, _)) = self.wreck.cut {
            self.engine.space.cut(have);
        }
        Ok(())
    }

    /// Whether units lie behind the end of the device. They count as not read then: perhaps they
    /// are still there elsewhere.
    ///
    /// # Errors
    /// Those of the device.
    pub fn is_cut_off(&self, unit: u64) -> Result<bool> {
        let len = self.engine.device.len();
        let len = len.map_err(|error| Error::io("measure", Object::Store, error))?;
        let offset = unit.saturating_mul(UNIT as u64);
        let off = offset.saturating_add(UNIT as u64) > len;
        if off {
            self.watched.note(offset);
        }
        Ok(off)
    }

    /// Sees that numbers of inodes begin above all that are known, and that some can be given out:
    /// the commit promises more than are in use.
    fn promise_numbers(&mut self) -> Result<()> {
        if !matches!(self.start, Start::Superblock) {
            let epoch = self.newest_epoch()?.max(self.superblock.body.epoch.get());
            self.engine.set_epoch(next_epoch(epoch + LOST_OPENS)?, Recovery::default());
        }
        let end = FsKey::Inode(u64::MAX).encode();
        let last = self.engine.floor(FIRST_FS_TREE, &end, |key, _| FsKey::parse(key))?;
        if let Some(Ok(FsKey::Inode(ino))) = last {
            self.engine.raise_ino(ino);
        }
        self.engine.inodes.promised(self.engine.inodes.promise());
        Ok(())
    }

    /// What is wrong with the store below its rows.
    pub fn wreck(&self) -> &Wreck {
        &self.wreck
    }

    /// What is wrong with the store below its rows, to be taken out.
    pub fn wreck_mut(&mut self) -> &mut Wreck {
        &mut self.wreck
    }

    /// Units that could not be read, although each was tried twice, and that count as lost for
    /// it.
    pub fn unread(&self) -> u64 {
        self.watched.units()
    }

    /// An error that names the first of them; `None` where all could be read.
    pub fn unread_error(&self) -> Option<Error> {
        self.watched.error()
    }

    /// Reads contents of which nothing is given up where they cannot be read.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read_contents(&self, unit: u64, bytes: &mut [u8]) -> Result<()> {
        self.watched.unwatched(|| self.engine.read_units(unit, bytes))
    }

    /// The engine, to read rows and units. It writes nothing, and checkpoints do nothing.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether there are older rows of keys that are lost.
    pub fn has_older(&self) -> bool {
        !self.older.is_empty()
    }

    /// What an older leaf says of a key that is lost, and that the log does not speak of.
    pub fn older(&self, tree: TreeId, key: &[u8]) -> Option<&[u8]> {
        let kept = self.older.get(&(tree, key.to_vec()));
        kept.map(|(_, value)| &value[..])
    }

    /// Older rows of a tree from a key on and below another, in the order of their keys.
    pub fn older_rows(
        &self,
        tree: TreeId,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&[u8], &[u8])> {
        let rows = self.older.range((tree, from.to_vec())..(tree, to.to_vec()));
        rows.map(|((_, key), (_, value))| (&key[..], &value[..]))
    }

    /// Which of the log's transactions put the contents or the inode at a key, from 1; 0 where none
    /// did.
    pub fn replayed(&self, key: &[u8]) -> u64 {
        self.replayed.get(key).copied().unwrap_or(0)
    }

    /// Claims a unit that is in use, that nothing owns, and whose contents have a crc. `false`
    /// where it is not such a unit, or where that cannot be told.
    ///
    /// # Errors
    /// Those of reading nodes.
    pub fn claim(&mut self, unit: u64, crc: u32) -> Result<bool> {
        if self.owned.is_none() {
            self.owned = Some(self.owners()?);
        }
        let Some(owned) = &mut self.owned else { return Ok(false) };
        let mut bytes = [0; UNIT];
        let claimed = !owned.has(unit)
            && !self.given.has(unit)
            && self.engine.space.is_live(unit, 1) == Some(true)
            && self.engine.read_units(unit, &mut bytes).is_ok()
            && crc32fast::hash(&bytes) == crc;
        if claimed {
            owned.own(unit, 1);
        }
        Ok(claimed)
    }

    /// The superblock that salvage starts from.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Visits all rows, those of the STORE tree first, in the order of their keys.
    ///
    /// # Errors
    /// Those of the device: what did not verify is left out by now.
    pub fn rows(&self, mut visit: impl FnMut(TreeId, &[u8], &[u8])) -> Result<()> {
        self.walk(&mut |tree, node| {
            if let Visit::Node(_, page) | Visit::Dirty(page) = node
                && page.level() == 0
            {
                (0..page.len()).for_each(|slot| visit(tree, page.key(slot), page.value(slot)));
            }
        })
    }

    fn walk(&self, visit: &mut dyn FnMut(TreeId, Visit<'_>)) -> Result<()> {
        for tree in [STORE_TREE, FIRST_FS_TREE] {
            let mut failed = None;
            self.engine.forest.walk_nodes(tree, &mut |node| match node {
                Visit::Damaged(error) => {
                    failed = Some(error);
                    false
                }
                node => {
                    visit(tree, node);
                    true
                }
            })?;
            if let Some(error) = failed {
                // It verified when the tree was grafted.
                return Err(error);
            }
        }
        Ok(())
    }

    /// Changes rows in memory. Space edits have no effect: a commit counts units by their owners.
    ///
    /// # Errors
    /// Those of reading nodes.
    pub fn amend(&mut self, edits: &Edits) -> Result<()> {
        self.engine.forest.prepare(edits, 0, |missing| {
            self.engine.forest.add_places(vec![u64::MAX; missing]);
            Ok(())
        })?;
        self.engine.forest.apply(edits)
    }

    /// The units that nodes and contents own.
    fn owners(&self) -> Result<Owners> {
        let mut owners = Owners::new(&self.engine.space);
        self.walk(&mut |tree, node| {
            let page = match node {
                Visit::Node(pointer, page) => {
                    owners.own_node(pointer);
                    page
                }
                Visit::Dirty(page) => page,
                Visit::Damaged(_) => return,
            };
            if tree != STORE_TREE && page.level() == 0 {
                for slot in 0..page.len() {
                    let units = units_of(page.key(slot), page.value(slot));
                    if let Some((unit, units)) = units {
                        owners.own(unit, units);
                    }
                }
            }
        })?;
        Ok(owners)
    }

    /// The units that nodes stand in.
    ///
    /// # Errors
    /// Those of reading nodes.
    pub fn nodes(&self) -> Result<Owners> {
        let mut owners = Owners::new(&self.engine.space);
        self.walk(&mut |_, node| {
            if let Visit::Node(pointer, _) = node {
                owners.own_node(pointer);
            }
        })?;
        Ok(owners)
    }

    /// How the space map on the device differs from what owns units now, transactions of the log
    /// included.
    ///
    /// # Errors
    /// Those of reading nodes.
    pub fn recount(&self) -> Result<Recount> {
        let owners = self.owners()?;
        let mut logged = self.logged.clone();
        // Nodes that changes to rows replace.
        let retired = self.engine.forest.retired_units().into_iter();
        logged.extend(retired.map(|unit| (unit, NODE_UNITS as u32, false)));
        Ok(self.engine.space.rebuild(&owners.regions, &self.kept.regions, &logged))
    }
}

/// Sees what the medium holds: what only a cache of the host holds may never reach it.
fn see_medium(device: &dyn Device) -> Result<()> {
    if device.flush().is_ok() {
        let seen = device.drop_cache();
        seen.map_err(|error| Error::io("read anew", Object::Store, error))?;
    }
    Ok(())
}

/// The engine of the state that salvage starts from, and which that is.
fn begin(
    assemble: &dyn Fn(Superblock) -> Result<Engine>,
    superblock: Superblock,
    restored: bool,
    suspicious: bool,
) -> Result<(Engine, Start, Evidence)> {
    let engine = assemble(superblock.clone())?;
    let (start, evidence) = seek::seek(&engine, restored, suspicious)?;
    if let Start::Superblock = start {
        return Ok((engine, start, evidence));
    }
    // Its map of space is that of another state.
    let mut without = superblock;
    without.body.space = FromZeros::new_zeroed();
    let engine = assemble(without)?;
    engine.space.distrust();
    Ok((engine, start, evidence))
}

/// Openings of a store that may have left no trace where its newest superblocks are lost.
const LOST_OPENS: u64 = 64;

/// Whether a store may be repaired from a superblock: what the device has and had where it was cut,
/// and the superblock of a store that fits what is left.
fn fit(device: &dyn Device, superblock: &Superblock) -> Result<(Option<(u64, u64)>, Superblock)> {
    if superblock.header.ro_compat.get() != 0 {
        return Err(Error::Unsupported("it can only be opened read-only"));
    }
    let io = |error| Error::io("measure", Object::Store, error);
    let need = superblock.body.device_len.get();
    let have = device.len().map_err(io)?;
    let mut fitted = superblock.clone();
    if have >= need {
        return Ok((None, fitted));
    }
    let body = &mut fitted.body;
    let units = (have / UNIT as u64).saturating_sub(body.pool_base.get());
    let fixed = device.capacity().map_err(io)?.is_some();
    if units < if fixed { Layout::LEAST_UNITS } else { 1 } {
        return Err(Error::Truncated { have, need });
    }
    if fixed {
        // It does not grow: what it had room for is not there any more.
        body.pool_units = body.pool_units.get().min(units).into();
        body.used_units = body.used_units.get().min(body.pool_units.get()).into();
    }
    Ok((Some((have, need)), fitted))
}

/// The first generation above all nodes that were found whose superblock has the slot that the next
/// one has.
fn next_generation(generation: u64, newest: u64) -> u64 {
    let above = newest.saturating_sub(generation).div_ceil(RING_SLOTS) * RING_SLOTS;
    generation.saturating_add(above).saturating_add(1)
}

/// Finds the superblock that salvage starts from. Of the others only one that may be newer counts
/// as given up where it cannot be read.
fn choose(
    watched: &Watched,
    unlock: &mut dyn FnMut(&UnverifiedSuperblock) -> Result<Unlocked>,
) -> Result<superblock::Chosen> {
    let chosen = watched.unwatched(|| {
        let chosen = superblock::choose(watched, unlock);
        match chosen {
            Err(Error::Corrupt { .. }) => chosen.map_err(|e| watched.error().unwrap_or(e)),
            chosen => chosen,
        }
    })?;
    for (place, slot) in &chosen.unread {
        watched.note(Layout::slot(*place, u64::from(*slot)));
    }
    Ok(chosen)
}

/// The units that a row of the file-system tree owns.
fn units_of(key: &[u8], value: &[u8]) -> Option<(u64, u64)> {
    let FsKey::Data(ino, first) = FsKey::parse(key).ok()? else { return None };
    match DataRow::parse(ino, first, value).ok()? {
        DataRow::Extent(extent, _) => Some((extent.unit, u64::from(extent.units))),
        DataRow::Inline(..) | DataRow::Lost(_) => None,
    }
}
