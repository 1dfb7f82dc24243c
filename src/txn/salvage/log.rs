//! The log with gaps in it: what can be read of it is applied.
//!
//! Rows that a record puts are final values, so a later one is right whatever was lost before it.
//! What a lost record did to rows that no later one touches stays undone.

use super::Salvage;
use crate::block::LogTail;
use crate::error::Result;
use crate::format::{Edit, EditReader, Edits, FIRST_FS_TREE, FsKey, STORE_TREE, StoreKey};
use crate::txn::check::Owners;

/// What is missing of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogLoss {
    /// Records that are lost although later ones are there: they were acknowledged.
    pub records: u64,
    /// Transactions of records that were read and make no sense.
    pub transactions: u64,
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
        let records = self.log_records(tail)?;
        let known = records.iter().filter_map(|at| self.engine.ring.next_header(at).ok().flatten());
        let durable = known.map(|(durable, _)| durable).fold(tail.seq.saturating_sub(1), u64::max);
        let mut end = tail;
        for at in records {
            let Some((payload, next)) = self.engine.ring.next(&at)? else { break };
            // Those that were applied stand in the first record, which may be lost.
            let mut skip = if at.seq == tail.seq { applied } else { 0 };
            // What later records were written behind was durable, whatever those before say.
            if !self.replay_record(&payload, &mut skip, at.seq > durable, kept)? {
                break;
            }
            end = next;
        }
        Ok(end)
    }

    /// Where the records of the log start, with gaps.
    fn log_records(&mut self, tail: LogTail) -> Result<Vec<LogTail>> {
        let (mut records, mut at) = (Vec::new(), tail);
        loop {
            if let Ok(Some((_, next))) = self.engine.ring.next_header(&at) {
                records.push(at);
                at = next;
                continue;
            }
            let Some(behind) = self.engine.ring.behind_gap(&at)? else { return Ok(records) };
            self.wreck.log.records += behind.seq - at.seq;
            at = behind;
        }
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
            if may_lack && !self.engine.has_contents(&edits)? {
                return Ok(false);
            }
            let mut rows = Edits::new();
            self.transactions += 1;
            for edit in edits.iter() {
                match edit? {
                    Edit::Put { tree, key, value } if is_row(tree, key) => {
                        self.older.remove(&(tree, key.to_vec()));
                        if matches!(FsKey::parse(key), Ok(FsKey::Data(..))) && tree == FIRST_FS_TREE
                        {
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
                        self.logged.push((unit, units, true));
                    }
                    Edit::Give { unit, units } => self.logged.push((unit, units, false)),
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
