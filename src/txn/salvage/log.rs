//! The log with gaps in it: what can be read of it is applied.
//!
//! Rows that a record puts are final values, so a later one is right whatever was lost before it.
//! What a lost record did to rows that no later one touches stays undone.

use std::collections::HashMap;

use super::records::Records;
use super::{Salvage, seek};
use crate::block::{LogRecord, LogTail};
use crate::error::Result;
use crate::format::{
    Edit, EditReader, Edits, FIRST_FS_TREE, FsKey, RING_SLOTS, STORE_TREE, StoreKey,
};
use crate::txn::check::Owners;
use crate::txn::numbers::COUNT_BITS;

/// What is missing of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogLoss {
    /// Records that are lost although later ones are there: they were acknowledged.
    pub records: u64,
    /// Transactions of records that were read and make no sense.
    pub transactions: u64,
    /// Transactions of which it cannot be read whether their contents are there: no open for
    /// writing passes them.
    pub unread: u64,
}

impl Salvage {
    /// Applies to the trees what the log holds behind `tail` but for its first `applied`
    /// transactions, and returns the tail behind the last record. Units that it takes go to
    /// `kept`.
    pub(super) fn replay_log(
        &mut self,
        tail: LogTail,
        applied: u64,
        kept: &mut Owners,
    ) -> Result<LogTail> {
        let records = self.log_records(tail);
        self.wreck.log.records = records.lost;
        self.replay(&records.known, tail, applied, kept)
    }

    /// As [`Salvage::replay_log`], for a state of which nothing says where its log starts.
    pub(super) fn replay_found(&mut self, kept: &mut Owners) -> Result<LogTail> {
        let records = self.records_behind()?;
        // Behind whatever stands in the ring, so that nothing there is overwritten.
        let last = seek::all_records(&self.engine).last().map(|record| record.next);
        let tail = last.unwrap_or(LogTail { offset: 0, seq: 1 << COUNT_BITS, tag: [0; 16] });
        self.replay(&records, tail, 0, kept)
    }

    fn replay(
        &mut self,
        records: &[LogRecord],
        tail: LogTail,
        applied: u64,
        kept: &mut Owners,
    ) -> Result<LogTail> {
        // What later records were written behind was durable, whatever those before say.
        let mut durable = HashMap::<u64, u64>::new();
        for record in records {
            let known = durable.entry(record.at.epoch()).or_default();
            *known = record.durable.max(*known);
        }
        let (mut end, mut ended) = (tail, None);
        for record in records {
            let at = record.at;
            if ended == Some(at.epoch()) {
                continue;
            }
            let Some((payload, next)) = self.engine.ring.next(&at)? else { break };
            // Those that were applied stand in the first record, which may be lost.
            let mut skip = if at.seq == tail.seq { applied } else { 0 };
            let may_lack = durable.get(&at.epoch()).is_none_or(|durable| at.seq > *durable);
            match self.replay_record(&payload, &mut skip, may_lack, kept)? {
                true => end = next,
                false => ended = Some(at.epoch()),
            }
        }
        Ok(end)
    }

    /// The records of the log.
    fn log_records(&self, tail: LogTail) -> Records {
        let (mut chain, mut at) = (Vec::new(), tail);
        while let Ok(Some(record)) = self.engine.ring.next_header(&at) {
            chain.push(record);
            at = record.next;
        }
        // Each state that was lost may have begun an epoch.
        let later = self.wreck.evidence.epoch.saturating_sub(tail.epoch());
        let epochs = if self.wreck.outdated { RING_SLOTS.max(later) } else { 0 };
        let rest = self.engine.ring.survivors(&at, epochs);
        Records::new(tail, chain, rest)
    }

    /// Applies a record; `false` where it is the end of the log.
    fn replay_record(
        &mut self,
        payload: &[u8],
        skip: &mut u64,
        may_lack: bool,
        kept: &mut Owners,
    ) -> Result<bool> {
        let mut rest = payload;
        while !rest.is_empty() {
            let Ok(edits) = EditReader::transaction(&mut rest).and_then(Edits::collect) else {
                self.wreck.log.transactions += 1;
                return Ok(true);
            };
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            if may_lack {
                let mut unread = None;
                if !self.engine.has_contents(&edits, &mut unread)? {
                    return Ok(false);
                }
                // It counts, and contents that cannot be read are read by nobody.
                self.wreck.log.unread += u64::from(unread.is_some());
            }
            let mut rows = Edits::new();
            self.transactions += 1;
            for edit in edits.iter() {
                match edit? {
                    Edit::Put { tree, key, value } if is_row(tree, key) => {
                        self.older.remove(&(tree, key.to_vec()));
                        let told =
                            matches!(FsKey::parse(key), Ok(FsKey::Data(..) | FsKey::Inode(_)));
                        if told && tree == FIRST_FS_TREE {
                            self.replayed.insert(key.to_vec(), self.transactions);
                        }
                        rows.put(tree, key, value);
                    }
                    Edit::Del { tree, key } if is_row(tree, key) => {
                        self.older.remove(&(tree, key.to_vec()));
                        rows.del(tree, key);
                    }
                    Edit::Take { unit, units, .. } => {
                        kept.own(unit, u64::from(units));
                        self.given.disown(unit, u64::from(units));
                        self.logged.push((unit, units, true));
                    }
                    Edit::Give { unit, units } => {
                        self.given.own(unit, u64::from(units));
                        self.logged.push((unit, units, false));
                    }
                    Edit::Put { .. } | Edit::Del { .. } => {}
                }
            }
            self.amend(&rows)?;
        }
        Ok(true)
    }
}

/// Whether a transaction may change a row: the roots of trees are the checkpoint's.
fn is_row(tree: u32, key: &[u8]) -> bool {
    let root = matches!(StoreKey::parse(key), Ok(StoreKey::Root(_)));
    tree == FIRST_FS_TREE || (tree == STORE_TREE && !root)
}
