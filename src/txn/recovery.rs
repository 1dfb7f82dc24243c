//! Recovery: what opening does with the log.
//!
//! The superblock says where its log starts. Records that continue it are applied in order; the
//! first that does not verify is the end: it was never acknowledged. Replay only knows edits, so it
//! needs no contents key. Opening for writing ends with a checkpoint of a new epoch: the log is
//! empty, and no record of the old epoch can follow one of the new.
//!
//! Recovery changes nothing that the durable superblock references, so a crash in it is like none.

use std::collections::VecDeque;
use std::sync::Arc;

use super::checkpoint::Reason;
use super::{Class, Edits, Engine, EngineOptions};
use crate::block::{LogTail, Sealer};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{
    Edit, EditReader, FIRST_FS_TREE, RootRow, STORE_TREE, StoreKey, Superblock, TreeId,
};

/// What opening found in the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Log records that were applied.
    pub records: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Engine {
    pub(super) fn recover(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        superblock: Superblock,
        options: &EngineOptions,
    ) -> Result<Engine> {
        let need = superblock.body.device_len.get();
        let have = device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
        if have < need {
            return Err(Error::Truncated { have, need });
        }
        let (root, epoch) = (superblock.body.root, superblock.body.epoch.get());
        let tail = LogTail {
            offset: superblock.body.log_head.get(),
            seq: superblock.body.log_seq.get(),
            tag: superblock.body.log_tag,
        };
        let mut engine =
            Engine::assemble(device, sealer, superblock, options, Recovery::default())?;
        engine.forest.add(STORE_TREE, (!root.is_empty()).then_some(root));
        engine.add_tree(FIRST_FS_TREE)?;
        let (tail, recovery) = engine.replay(tail)?;
        if !options.read_only {
            let next = epoch.checked_add(1).filter(|epoch| *epoch < 1 << 23);
            let next = next.ok_or(Error::Unsupported("it was opened for writing too often"))?;
            let first = LogTail { seq: next << 40, ..tail };
            engine.checkpoint_with(Reason::Epoch(next, first))?;
            engine.queue.restart(first);
            engine.set_epoch(next, recovery);
        } else {
            engine.set_epoch(epoch, recovery);
        }
        Ok(engine)
    }

    fn add_tree(&self, tree: TreeId) -> Result<()> {
        let row = self.forest.get(STORE_TREE, &StoreKey::Root(tree).encode(), RootRow::parse)?;
        let row = row.ok_or(Error::corrupt(Object::Store, "the file system has no root row"))??;
        self.forest.add(tree, (!row.pointer.is_empty()).then_some(row.pointer));
        Ok(())
    }

    /// Applies the records behind `tail`, and returns the tail behind the last.
    ///
    /// A first pass claims the units that the log takes: a node placed there by the replay of an
    /// earlier transaction would be overwritten by contents.
    fn replay(&self, tail: LogTail) -> Result<(LogTail, Recovery)> {
        let records = self.claim_logged(tail)?;
        let (mut tail, mut done) = (tail, Recovery::default());
        for _ in 0..records {
            let Some(record) = self.ring.next(&tail)? else {
                let object = Object::Log { offset: tail.offset };
                return Err(Error::corrupt(object, "it changed while it was read"));
            };
            let mut rest = &record.payload[..];
            while !rest.is_empty() {
                self.replay_transaction(EditReader::transaction(&mut rest)?)?;
                done.transactions += 1;
            }
            done.records += 1;
            done.bytes += record.payload.len() as u64;
            tail = record.next;
            self.queue.restart(tail);
            if self.forest.dirty_bytes() > self.dirty_cap() {
                self.checkpoint()?;
            }
        }
        Ok((tail, done))
    }

    /// Claims the units that the log takes, and counts its records.
    ///
    /// A record is believed when a later one says that it was durable: what it took was written
    /// before the same flush. Those that none vouches for were perhaps never acknowledged, and
    /// are believed as far as what they took is there.
    fn claim_logged(&self, mut tail: LogTail) -> Result<u64> {
        let (mut records, mut unsure) = (0, VecDeque::new());
        while let Some(record) = self.ring.next(&tail)? {
            unsure.push_back((tail.seq, record.payload));
            while let Some((_, payload)) = unsure.pop_front_if(|(seq, _)| *seq <= record.durable) {
                self.claim(&payload)?;
                records += 1;
            }
            tail = record.next;
        }
        for (_, payload) in unsure {
            if !self.wrote_what_it_took(&payload)? {
                break;
            }
            self.claim(&payload)?;
            records += 1;
        }
        Ok(records)
    }

    /// Claims the units that a record takes.
    fn claim(&self, mut payload: &[u8]) -> Result<()> {
        while !payload.is_empty() {
            for edit in EditReader::transaction(&mut payload)? {
                if let Edit::Take { unit, units } = edit? {
                    self.space.claim(unit, units)?;
                }
            }
        }
        Ok(())
    }

    fn replay_transaction(&self, edits: EditReader<'_>) -> Result<()> {
        let edits = Edits::collect(edits)?;
        let mut prepared = self.replay_prepared(&edits);
        if matches!(prepared, Err(Error::NoSpace)) && self.could_reclaim() {
            self.checkpoint()?;
            prepared = self.replay_prepared(&edits);
        }
        prepared
    }

    fn replay_prepared(&self, edits: &Edits) -> Result<()> {
        let _writer = self.writer.lock();
        self.prepare(edits, Class::Freeing)?;
        self.apply(edits)
    }
}
