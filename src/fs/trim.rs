//! Trim: free space goes back to the host, and how much of it is kept for what comes next.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::FileSystem;
use crate::error::Result;
pub use crate::txn::Trimmed;

/// Seconds of which what was handed out is likely to be wanted again.
const RECENT: i64 = 10;
/// Fewest seconds between two looks that are remembered, and how many are.
const BETWEEN: i64 = 2;
const LOOKS: usize = 8;

/// How much space was handed out by when, as far as somebody looked.
#[derive(Default)]
pub(in crate::fs) struct Activity {
    looks: Mutex<VecDeque<(i64, u64)>>,
}

impl Activity {
    /// Remembers how much was handed out by now.
    fn look(&self, now: i64, handed: u64) {
        let mut looks = self.looks.lock();
        if looks.back().is_some_and(|(last, _)| *last > now) {
            // The clock was set back.
            looks.clear();
        }
        if looks.back().is_none_or(|(last, _)| now - last >= BETWEEN) {
            looks.push_back((now, handed));
            if looks.len() > LOOKS {
                looks.pop_front();
            }
        }
    }

    /// How much was handed out lately: since the last look that is some time ago, or all of it.
    fn recent(&self, now: i64, handed: u64) -> u64 {
        let looks = self.looks.lock();
        let since = looks.iter().rev().find(|(at, _)| now - at >= RECENT);
        handed.saturating_sub(since.map_or(0, |(_, handed)| *handed))
    }
}

impl FileSystem {
    /// Gives all free space of the store back to the host: holes in the store's file, which also
    /// gets shorter where its end is free, or blocks that its device may forget. Others go on
    /// meanwhile. Writes checkpoints: all changes so far are durable.
    ///
    /// # Errors
    /// [`Error::ReadOnly`](crate::Error::ReadOnly); those of the device: in discarding they harm
    /// nothing, and what was given back until then is.
    pub fn trim(&self) -> Result<Trimmed> {
        self.data.rest_all();
        self.engine.trim()
    }

    /// Remembers how busy the store is, for [`FileSystem::maintain`].
    pub(in crate::fs) fn look(&self) {
        let now = (self.options.clock)().seconds;
        self.activity.look(now, self.engine.handed_out());
    }

    /// Gives space back that is not likely to be wanted soon: a bounded amount. Returns whether
    /// nothing is left to give back.
    pub(in crate::fs) fn give_back(&self) -> Result<bool> {
        let (now, handed) = ((self.options.clock)().seconds, self.engine.handed_out());
        let done = self.engine.give_back(self.activity.recent(now, handed));
        self.activity.look(now, self.engine.handed_out());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_lately_counts() {
        let activity = Activity::default();
        assert_eq!(activity.recent(100, 7), 7);
        activity.look(100, 7);
        assert_eq!(activity.recent(105, 9), 9, "nobody looked before");
        activity.look(101, 8);
        activity.look(105, 9);
        assert_eq!(activity.recent(112, 20), 13);
        assert_eq!(activity.recent(115, 20), 11);
        activity.look(50, 20);
        assert_eq!(activity.recent(61, 21), 1);
        (62..99).for_each(|second| activity.look(second, 30));
        assert!(activity.looks.lock().len() <= LOOKS);
    }
}
