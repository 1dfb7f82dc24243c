//! Recovery: what opening does with the log.
//!
//! The superblock says where its log starts. Records that continue it are applied in order; the
//! first that does not verify, or whose contents did not reach the device, is the end: as far as
//! can be told it was never acknowledged. What cannot be read for now is no end. Replay only knows
//! edits, so it needs no contents key. Opening for writing ends with a checkpoint of a new epoch:
//! the log is empty, and no record of the old epoch can follow one of the new.
//!
//! Recovery changes nothing that the durable superblock references, so a crash in it is like none.

use std::io::ErrorKind;
use std::sync::Arc;

use zerocopy::little_endian::U64;

use super::checkpoint::Reason;
use super::inode_numbers::AHEAD;
use super::numbers::{COUNT_BITS, next_epoch};
use super::{Class, Edits, Engine, EngineOptions};
use crate::block::{LogTail, Ownership, Sealer, holds_other_keys, may_be_outdated, write_place};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{
    Edit, EditReader, FIRST_FS_TREE, RING_SLOTS, RootRow, STORE_TREE, StoreKey, Superblock, TreeId,
    units_check,
};
use crate::limits::{RUN_UNITS, UNIT};

/// Makes the superblock that was read durable. A process that died before its flush leaves bytes
/// that can be read and may still be lost; nothing may be reused on their word before. The place
/// that it was read from comes last, so that a torn write leaves a sound one.
pub(super) fn make_durable(
    device: &dyn Device,
    sealer: &Sealer,
    superblock: &Superblock,
) -> Result<()> {
    let flush = || device.flush().map_err(|error| Error::io("flush", Object::Store, error));
    flush()?;
    let sound = superblock.header.place.min(1);
    for place in [1 - sound, sound] {
        write_place(device, sealer, superblock, place)?;
        flush()?;
    }
    Ok(())
}

/// Sees that a device has all that a superblock needs.
///
/// # Errors
/// [`Error::Truncated`]; those of the device.
pub(super) fn check_whole(device: &dyn Device, superblock: &Superblock) -> Result<()> {
    let need = superblock.body.device_len.get();
    let have = device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
    if have < need { Err(Error::Truncated { have, need }) } else { Ok(()) }
}

/// What opening found in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Log records that were applied.
    pub records: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Slots of the superblock ring that no writer of this store left there: their checksums fit
    /// and their seals do not. Somebody forged them, or wrote to the wrong place.
    pub rejected_slots: u32,
    /// Whether slots of the ring held other wrapped keys than the newest, which opening
    /// overwrote: those from before a rewrap that was interrupted.
    pub finished_rewrap: bool,
}

impl Engine {
    /// Recovers a store that is open to nobody else, or that is only to be read: then the device
    /// may lack its end.
    pub(super) fn recover(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        superblock: Superblock,
        rejected: u32,
        options: &EngineOptions,
        ownership: Option<Ownership>,
    ) -> Result<Engine> {
        let whole = check_whole(&*device, &superblock);
        if !options.read_only {
            whole?;
            return Engine::recover_whole(device, sealer, superblock, rejected, options, ownership);
        }
        let read = Engine::recover_whole(device, sealer, superblock, rejected, options, ownership);
        // What is left can be read, where that is enough to open it.
        read.map_err(|error| match (error, whole) {
            (Error::Io { source, .. }, Err(truncated))
                if source.kind() == ErrorKind::UnexpectedEof =>
            {
                truncated
            }
            (error, _) => error,
        })
    }

    fn recover_whole(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        superblock: Superblock,
        rejected: u32,
        options: &EngineOptions,
        ownership: Option<Ownership>,
    ) -> Result<Engine> {
        if !options.read_only {
            make_durable(&*device, &sealer, &superblock)?;
        }
        let (root, mut epoch) = (superblock.body.root, superblock.body.epoch.get());
        let applied = superblock.body.log_applied.get();
        let tail = LogTail {
            offset: superblock.body.log_head.get(),
            seq: superblock.body.log_seq.get(),
            tag: superblock.body.log_tag,
        };
        let (generation, promised) =
            (superblock.header.generation.get(), superblock.body.next_ino.get());
        let mut engine =
            Engine::assemble(device, sealer, superblock, options, Recovery::default())?;
        engine.ownership = ownership;
        if !options.read_only {
            engine.see_medium(&tail)?;
            // A state that is gone may have given out numbers, and left records that would follow
            // here. So may several. Each checkpoint from now on says so, those of the replay too.
            if rejected > 0 || may_be_outdated(&*engine.device, generation)? {
                epoch = epoch.saturating_add(RING_SLOTS);
                engine.committed.get_mut().body.epoch = U64::new(epoch);
                if promised > 0 {
                    let last = promised.saturating_add(RING_SLOTS * AHEAD).saturating_sub(1);
                    engine.raise_ino(last);
                }
            }
        }
        engine.forest.add(STORE_TREE, (!root.is_empty()).then_some(root));
        engine.add_tree(FIRST_FS_TREE)?;
        let (tail, mut recovery) =
            engine.replay(tail, applied).map_err(|error| engine.no_room(error))?;
        if !options.read_only {
            let next = next_epoch(epoch)?;
            let first = LogTail { seq: next << COUNT_BITS, ..tail };
            let begun = engine.checkpoint_with(Reason::Epoch(next, first));
            begun.map_err(|error| engine.no_room(error))?;
            engine.queue.restart(first);
            recovery.finished_rewrap = engine.finish_rewrap()?;
            engine.set_epoch(next, recovery);
            engine.watch.arm();
        } else {
            engine.set_epoch(epoch, recovery);
        }
        Ok(engine)
    }

    /// What keeps a recovery from its room, which a sound store always has: a part of the space map
    /// that cannot be read counts as full.
    fn no_room(&self, error: Error) -> Error {
        match error {
            Error::NoSpace => self.space.damage().unwrap_or(Error::NoSpace),
            error => error,
        }
    }

    /// Overwrites wrapped keys from before a rewrap; returns whether there were any.
    fn finish_rewrap(&self) -> Result<bool> {
        let keys = self.superblock().keys;
        if !holds_other_keys(&*self.device, &keys) {
            return Ok(false);
        }
        self.write_keys(keys)?;
        Ok(true)
    }

    /// Where something is in the log, sees that what follows reads the medium. A failed flush may
    /// have left records and contents that only the host's cache holds, and that no later flush
    /// writes; nor can they be written again here: where they were durable after all, a power cut
    /// in that write would cost what was acknowledged.
    fn see_medium(&self, tail: &LogTail) -> Result<()> {
        if self.ring.next_header(tail)?.is_some() {
            let seen = self.device.drop_cache();
            seen.map_err(|error| Error::io("read anew", Object::Store, error))?;
        }
        Ok(())
    }

    fn add_tree(&self, tree: TreeId) -> Result<()> {
        let row = self.forest.get(STORE_TREE, &StoreKey::Root(tree).encode(), RootRow::parse)?;
        let row = row.ok_or(Error::corrupt(Object::Store, "the file system has no root row"))??;
        self.forest.add(tree, (!row.pointer.is_empty()).then_some(row.pointer));
        Ok(())
    }

    /// Applies the records behind `tail` but for its first `applied` transactions, and returns the
    /// tail behind the last.
    ///
    /// A checkpoint on the way starts the log behind a record only where all of that was applied:
    /// else a crash after it would let records be applied that follow a gap.
    ///
    /// A first pass claims the units that the log takes: a node placed there by the replay of an
    /// earlier transaction would be overwritten by contents.
    fn replay(&self, tail: LogTail, applied: u64) -> Result<(LogTail, Recovery)> {
        let logged = self.survey(tail, applied)?;
        let (mut tail, mut done) = (tail, Recovery::default());
        for record in 0..logged.records {
            let (payload, next) = self.ring.next(&tail)?.ok_or(self.changed(&tail))?;
            let skip = if record == 0 { applied } else { 0 };
            let mut rest = &payload[..];
            let mut at = 0;
            while !rest.is_empty() && done.transactions < logged.transactions {
                let edits = EditReader::transaction(&mut rest)?;
                if at >= skip {
                    self.replay_transaction(Edits::collect(edits)?, at)?;
                    done.transactions += 1;
                }
                at += 1;
            }
            done.records += 1;
            done.bytes += payload.len() as u64;
            tail = next;
            if rest.is_empty() {
                self.queue.restart(tail);
                if self.forest.dirty_bytes() > self.dirty_cap() {
                    self.checkpoint()?;
                }
            }
        }
        Ok((tail, done))
    }

    fn changed(&self, tail: &LogTail) -> Error {
        Error::corrupt(Object::Log { offset: tail.offset }, "it changed while it was read")
    }

    /// Reads the log without applying it: claims the units that it takes, and finds its end.
    ///
    /// The end is the first record that does not verify, or the first transaction whose contents
    /// are not on the device: one flush covers both, and it never returned. Only records above
    /// the last that was known to be durable can lack their contents. Contents that cannot be read
    /// for now end nothing: the open fails, and may be repeated.
    fn survey(&self, mut tail: LogTail, applied: u64) -> Result<Logged> {
        let durable = self.last_durable(tail)?;
        let (mut logged, mut skip) = (Logged::default(), applied);
        while let Some((payload, next)) = self.ring.next(&tail)? {
            let mut rest = &payload[..];
            logged.records += 1;
            while !rest.is_empty() {
                let edits = Edits::collect(EditReader::transaction(&mut rest)?)?;
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                if tail.seq > durable {
                    let mut unread = None;
                    let there = self.has_contents(&edits, &mut unread)?;
                    // To look at the store it does not matter, as its reader will be told.
                    if let Some(error) = unread.filter(|_| !self.options.read_only) {
                        return Err(error);
                    }
                    if !there {
                        return Ok(logged);
                    }
                }
                for edit in edits.iter() {
                    if let Edit::Take { unit, units, .. } = edit? {
                        self.space.claim(unit, units, !self.options.read_only)?;
                        self.reaches(unit, units)?;
                    }
                }
                logged.transactions += 1;
            }
            tail = next;
        }
        match self.ring.is_cut(&tail) {
            true => Err(Error::corrupt(
                Object::Log { offset: tail.offset },
                "a record that was acknowledged is gone",
            )),
            false => Ok(logged),
        }
    }

    /// Sees that the device has units whose contents were durable.
    ///
    /// # Errors
    /// [`Error::Truncated`] to a writer: they were there once.
    fn reaches(&self, unit: u64, units: u32) -> Result<()> {
        let have = self.device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
        let need = unit.saturating_add(units.into()).saturating_mul(UNIT as u64);
        match have < need && !self.options.read_only {
            true => Err(Error::Truncated { have, need }),
            false => Ok(()),
        }
    }

    /// The highest sequence number that some record knows to be durable.
    fn last_durable(&self, mut tail: LogTail) -> Result<u64> {
        let mut durable = tail.seq.saturating_sub(1);
        while let Some(record) = self.ring.next_header(&tail)? {
            durable = durable.max(record.durable);
            tail = record.next;
        }
        Ok(durable)
    }

    /// Whether what a transaction took holds what it says. What cannot be read is taken to be
    /// there, as nothing that was acknowledged is given up for it, and `unread` says why.
    pub(super) fn has_contents(&self, edits: &Edits, unread: &mut Option<Error>) -> Result<bool> {
        let once = self.committed.read().body.device_len.get();
        for edit in edits.iter() {
            let Edit::Take { unit, units, check } = edit? else { continue };
            if units > RUN_UNITS {
                return Err(Error::corrupt(Object::Store, "a run is too long"));
            }
            let mut bytes = vec![0; units as usize * UNIT];
            match self.read_units(unit, &mut bytes) {
                // Nothing was ever written there, unless the device was longer once.
                Err(Error::Io { source, .. })
                    if source.kind() == ErrorKind::UnexpectedEof
                        && unit.saturating_mul(UNIT as u64) >= once =>
                {
                    return Ok(false);
                }
                Err(error @ Error::Io { .. }) => {
                    unread.get_or_insert(error);
                    continue;
                }
                read => read?,
            }
            if units_check(bytes.chunks_exact(UNIT).map(crc32fast::hash)) != check {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Applies a transaction that has `before` others before it in its record.
    fn replay_transaction(&self, edits: Edits, before: u64) -> Result<()> {
        let mut applied = self.replay_prepared(&edits);
        if matches!(applied, Err(Error::NoSpace)) && self.could_reclaim() {
            self.checkpoint_with(Reason::Replay(before))?;
            applied = self.replay_prepared(&edits);
        }
        applied
    }

    fn replay_prepared(&self, edits: &Edits) -> Result<()> {
        let _writer = self.writer.lock();
        self.prepare(edits, Class::Freeing)?;
        self.apply(edits)
    }
}

/// What the log holds.
#[derive(Default)]
struct Logged {
    records: u64,
    transactions: u64,
}
