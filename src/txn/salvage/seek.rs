//! Seek: the newest state on the medium, where the superblock that opens may be an older one, or
//! came back from a backup and knows none.
//!
//! Nodes authenticate, so what is newer was written by this store. Nodes of the generation behind
//! the superblock's may be of a checkpoint that never became durable; those of later ones are not:
//! a state between was durable. The root of a state is the node of the STORE tree that stands
//! highest of its generation, and all below it is verified as below a superblock.

use std::sync::Arc;

use super::Salvage;
use super::strays::Strays;
use crate::block::{LogRecord, LogTail};
use crate::error::Result;
use crate::format::{
    Edit, EditReader, Edits, FIRST_FS_TREE, FsKey, InodeRow, NodePointer, STORE_TREE, StoreKey,
};
use crate::txn::Engine;
use crate::txn::numbers::COUNT_BITS;

/// What the medium shows beside the superblock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Generation of the superblock; 0 where it came back from a backup.
    pub superblock: u64,
    /// Highest generation of a node.
    pub newest: u64,
    /// Generation of the state that serves.
    pub serves: u64,
    /// Highest epoch of a record of the log.
    pub epoch: u64,
    /// Whether the state that serves is not the superblock's.
    pub found: bool,
    /// Whether a state that was durable is newer than the one that serves.
    pub is_older: bool,
}

/// The state that salvage starts from, other than the superblock's.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// That of the superblock.
    Superblock,
    /// That of a root that was found.
    Root(NodePointer),
    /// Nothing says where it starts: what is found by headers serves.
    Headers,
}

/// Everything in a log that authenticates, by number.
pub(super) fn all_records(engine: &Engine) -> Vec<LogRecord> {
    engine.ring.survivors(&LogTail { offset: 0, seq: 0, tag: [0; 16] }, u64::MAX)
}

/// Decides where salvage starts. Reads the log, and all of the device where `suspicious` or the log
/// says that the superblock may be an older one.
pub(super) fn seek(engine: &Engine, restored: bool, suspicious: bool) -> Result<(Start, Evidence)> {
    let superblock = engine.superblock();
    let own = if restored { 0 } else { superblock.header.generation.get() };
    let epoch = all_records(engine).last().map_or(0, |record| record.at.epoch());
    let mut evidence =
        Evidence { superblock: own, newest: own, serves: own, epoch, ..Evidence::default() };
    if !restored && !suspicious && epoch <= superblock.body.epoch.get() {
        return Ok((Start::Superblock, evidence));
    }
    let (base, (_, units)) = (engine.space.pool_base(), engine.space.usage());
    let (device, space) = (Arc::clone(&engine.device), Arc::clone(&engine.space));
    let sealer = Arc::clone(&engine.sealer);
    let mut strays = Strays::new(device, sealer, space, (base, base + units), own, true);
    evidence.newest = strays.newest()?;
    let opened_later = epoch > superblock.body.epoch.get();
    let is_newer = |root: &NodePointer| {
        let birth = root.birth_gen.get();
        restored || birth > own + 1 || (birth > own && opened_later)
    };
    let mut start = match strays.newest_root(STORE_TREE)?.filter(is_newer) {
        Some(root) => {
            evidence.serves = root.birth_gen.get();
            Start::Root(root)
        }
        None if restored => Start::Headers,
        None => Start::Superblock,
    };
    evidence.is_older = evidence.newest > evidence.serves + 1;
    if restored && evidence.is_older {
        // The nodes of a root that is lost say more than an older root.
        start = Start::Headers;
        (evidence.is_older, evidence.serves) = (false, own);
    }
    evidence.found = !matches!(start, Start::Superblock);
    Ok((start, evidence))
}

impl Salvage {
    /// The records of the log behind the state of a root that was found: from the first on that is
    /// not in it. Counts as lost what may be missing before them.
    pub(super) fn records_behind(&mut self) -> Result<Vec<LogRecord>> {
        let all = all_records(&self.engine);
        let Some(last) = all.last() else { return Ok(Vec::new()) };
        // Those of the newest epoch that follow each other up to the last.
        let mut first = all.len() - 1;
        while let Some(before) = first.checked_sub(1)
            && all[before].at.epoch() == last.at.epoch()
            && all[before].next.tag == all[first].at.tag
            && all[before].next.seq == all[first].at.seq
        {
            first -= 1;
        }
        let chain = &all[first..];
        let newest = self.newest_change()?;
        let mut from = 0;
        let mut uncovered = false;
        for (n, record) in chain.iter().enumerate() {
            match self.is_covered(record, newest)? {
                Some(true) if !uncovered => from = n + 1,
                Some(false) => uncovered = true,
                _ => {}
            }
        }
        if !uncovered {
            return Ok(Vec::new());
        }
        let begins = chain[0].at.seq & ((1 << COUNT_BITS) - 1) == 0;
        if from == 0 && !begins {
            self.wreck.log.records += 1;
        }
        Ok(chain[from..].to_vec())
    }

    /// Whether the state holds the changes of a record already; `None` where that cannot be told.
    /// Each change of an inode has a higher number than those before.
    fn is_covered(&self, record: &LogRecord, newest: u64) -> Result<Option<bool>> {
        let Some((payload, _)) = self.engine.ring.next(&record.at)? else { return Ok(None) };
        let (mut rest, mut told) = (&payload[..], None);
        while !rest.is_empty() {
            let Ok(edits) = EditReader::transaction(&mut rest).and_then(Edits::collect) else {
                return Ok(told);
            };
            for edit in edits.iter() {
                let Edit::Put { tree: FIRST_FS_TREE, key, value } = edit? else { continue };
                let Ok(FsKey::Inode(ino)) = FsKey::parse(key) else { continue };
                let Ok(row) = InodeRow::parse(value, ino) else { continue };
                let known = self.engine.get(FIRST_FS_TREE, key, |value| {
                    InodeRow::parse(value, ino).map(|row| row.change.get())
                })?;
                let known = known.and_then(Result::ok).unwrap_or(newest);
                if row.change.get() > known {
                    return Ok(Some(false));
                }
                told = Some(true);
            }
        }
        Ok(told)
    }

    /// The highest change number of an inode.
    fn newest_change(&self) -> Result<u64> {
        let (from, to) = (FsKey::Inode(1).encode(), FsKey::Inode(u64::MAX).encode());
        let mut newest = 0;
        self.engine.scan(FIRST_FS_TREE, &from, &to, |key, value| {
            if let Ok(FsKey::Inode(ino)) = FsKey::parse(key)
                && let Ok(row) = InodeRow::parse(value, ino)
            {
                newest = newest.max(row.change.get()).max(row.generation.get());
            }
            true
        })?;
        Ok(newest)
    }

    /// The highest epoch that rows and the log speak of.
    pub(super) fn newest_epoch(&self) -> Result<u64> {
        let mut newest = self.newest_change()?;
        let (from, to) = (StoreKey::DataKey(0).encode(), StoreKey::DataKey(u64::MAX).encode());
        self.engine.scan(STORE_TREE, &from, &to, |key, _| {
            if let Ok(StoreKey::DataKey(id)) = StoreKey::parse(key) {
                newest = newest.max(id);
            }
            true
        })?;
        Ok((newest >> COUNT_BITS).max(self.wreck.evidence.epoch))
    }
}
