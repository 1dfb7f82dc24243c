//! Which records of a log count where some of them are lost.
//!
//! What follows a gap counts where something says that the gap was durable: a later record of the
//! epoch, or the next epoch, which began behind it. Else the log ended at the gap, as an open would
//! say: a power cut tears any of the records that one flush was to make durable, and leaves others.

use crate::block::{LogRecord, LogTail};
use crate::txn::numbers::COUNT_BITS;

/// The records of a log in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub known: Vec<LogRecord>,
    /// How many are missing between them, at least.
    pub lost: u64,
}

impl Records {
    /// Puts records that follow each other behind `tail` and what is left behind them together, the
    /// latter by their numbers.
    pub fn new(tail: LogTail, chain: Vec<LogRecord>, rest: Vec<LogRecord>) -> Records {
        let mut records = Records { known: chain, lost: 0 };
        let mut rest = &rest[..];
        while let Some(first) = rest.first() {
            let at = records.known.last().map_or(tail, |record| record.next);
            let same = |epoch: u64, from: &[LogRecord]| {
                from.partition_point(|record| record.at.epoch() == epoch)
            };
            let (here, later) = rest.split_at(same(at.epoch(), rest));
            let missing = match here.is_empty() {
                // Of two with one number the first that chains counts.
                false if first.at.seq <= at.seq && first.at.tag != at.tag => {
                    rest = &rest[1..];
                    continue;
                }
                false => first.at.seq - at.seq,
                true if records.rewind(&tail, first) => 0,
                // Nobody knows how many records the epoch before had.
                true => (first.at.seq & COUNT).max(1),
            };
            let (here, later) = match here.is_empty() {
                false => (here, later),
                true => rest.split_at(same(first.at.epoch(), rest)),
            };
            let begins = begins_epoch(first);
            if missing > 0 && !begins && !is_durable(first.at.seq - missing, here, later.first()) {
                rest = later;
                continue;
            }
            records.lost += missing;
            records.known.push(*first);
            rest = &rest[1..];
        }
        records
    }

    /// Goes back to the record that an epoch began behind; `false` where that is not known.
    fn rewind(&mut self, tail: &LogTail, first: &LogRecord) -> bool {
        if !begins_epoch(first) {
            return false;
        }
        let before = self.known.iter().rposition(|record| record.next.tag == first.at.tag);
        match before {
            Some(before) => self.known.truncate(before + 1),
            None if tail.tag == first.at.tag => self.known.clear(),
            None => return false,
        }
        true
    }
}

/// The part of a sequence number that counts within its epoch.
const COUNT: u64 = (1 << COUNT_BITS) - 1;

fn begins_epoch(record: &LogRecord) -> bool {
    record.at.seq & COUNT == 0
}

/// Whether the record of a number was durable, as later ones of its epoch say, or the first of a
/// later one.
fn is_durable(seq: u64, here: &[LogRecord], later: Option<&LogRecord>) -> bool {
    let begun = later.filter(|record| begins_epoch(record)).map(|record| record.at.tag);
    here.iter().any(|record| record.durable >= seq || begun == Some(record.next.tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of an epoch, which knows the records before `durable` to be durable. Its tag is
    /// its number, but for the first of an epoch's log.
    fn record(epoch: u64, n: u64, durable: u64) -> LogRecord {
        let seq = epoch << COUNT_BITS | n;
        let tail = |seq: u64| LogTail { offset: n << 12, seq, tag: tag(epoch, seq & COUNT) };
        LogRecord {
            at: tail(seq),
            durable: (epoch << COUNT_BITS) + durable - 1,
            next: tail(seq + 1),
        }
    }

    fn tag(epoch: u64, n: u64) -> [u8; 16] {
        (u128::from(epoch) << 64 | u128::from(n)).to_le_bytes()
    }

    /// Numbers of the records that count, and how many are lost.
    fn of(chain: &[LogRecord], rest: &[LogRecord]) -> (Vec<(u64, u64)>, u64) {
        let records = Records::new(record(5, 0, 0).at, chain.to_vec(), rest.to_vec());
        let numbers = records.known.iter().map(|r| (r.at.epoch(), r.at.seq & COUNT));
        (numbers.collect(), records.lost)
    }

    #[test]
    fn what_follows_a_gap_counts_where_the_gap_was_durable() {
        let chain = [record(5, 0, 0), record(5, 1, 1)];
        assert_eq!(of(&chain, &[]), (vec![(5, 0), (5, 1)], 0));
        // One flush was to make 2 to 4 durable, and did not return.
        let torn = [record(5, 3, 2), record(5, 4, 2)];
        assert_eq!(of(&chain, &torn), (vec![(5, 0), (5, 1)], 0));
        let lost = [record(5, 3, 2), record(5, 4, 3)];
        assert_eq!(of(&chain, &lost), (vec![(5, 0), (5, 1), (5, 3), (5, 4)], 1));
        // The second gap was never durable.
        let both = [record(5, 3, 3), record(5, 5, 4)];
        assert_eq!(of(&chain, &both), (vec![(5, 0), (5, 1), (5, 3)], 1));
        assert_eq!(of(&[], &both), (vec![(5, 3)], 3));
    }

    #[test]
    fn an_epoch_follows_the_record_that_it_began_behind() {
        let chain = [record(5, 0, 0), record(5, 1, 1)];
        let mut first = record(6, 0, 0);
        first.at.tag = tag(5, 2);
        let next = record(6, 1, 1);
        assert_eq!(of(&chain, &[first, next]), (vec![(5, 0), (5, 1), (6, 0), (6, 1)], 0));
        // What was left behind a torn record is none of it.
        let torn = [record(5, 3, 2), first, next];
        assert_eq!(of(&chain, &torn), (vec![(5, 0), (5, 1), (6, 0), (6, 1)], 0));
        // What an open gave up, because contents lacked, stays so.
        first.at.tag = tag(5, 1);
        assert_eq!(of(&chain, &[first, next]), (vec![(5, 0), (6, 0), (6, 1)], 0));
        first.at.tag = tag(5, 0);
        assert_eq!(of(&chain, &[first, next]), (vec![(6, 0), (6, 1)], 0));
        // It began behind what chains to a lost record.
        first.at.tag = tag(5, 4);
        let lost = [record(5, 3, 2), first];
        assert_eq!(of(&chain, &lost), (vec![(5, 0), (5, 1), (5, 3), (6, 0)], 1));
        // Nothing is left of what it began behind, or of its beginning.
        assert_eq!(of(&chain, &[first]), (vec![(5, 0), (5, 1), (6, 0)], 1));
        assert_eq!(of(&chain, &[record(6, 2, 1)]), (vec![(5, 0), (5, 1), (6, 2)], 2));
        assert_eq!(of(&chain, &[record(6, 2, 0)]), (vec![(5, 0), (5, 1)], 0));
    }
}
