//! Defragmenting: contents that stand in pieces are sealed anew in one run.
//!
//! A segment of a file is looked at as it would be read in order: a piece is what one request of
//! the device reads. Where that is worth it, a run is reserved for all of it, and filled by
//! ordinary transactions, each of which moves a few rows: units are opened, sealed under new
//! tweaks, and the old ones given back. A crash or a failure leaves the contents as they are, part
//! of them moved.

use super::buffer::Scratch;
use super::change::{MAX_OLD, Plain};
use super::map::{Detail, Map, Row};
use super::read::REQUEST;
use super::stream::Held;
use super::{Contents, Finish};
use crate::error::{Error, Result};
use crate::format::InodeRow;
use crate::limits::{RUN_UNITS, UNIT};
use crate::txn::Class;

/// Units of a segment: bounds working memory, and how long the inode is locked.
const SEGMENT: u64 = 256;
/// A segment is moved where it has so many times the pieces that it would have.
const GAIN: u64 = 2;

/// What became of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// The unit of the file at which the next segment starts; `None` where nothing follows.
    pub next: Option<u64>,
    /// In how many pieces its units stood before, and stand now.
    pub before: u64,
    pub after: u64,
    /// Units that were moved.
    pub units: u64,
}

/// How units of a file stand on the device.
#[derive(Default)]
struct Pieces {
    /// How many requests read them in order.
    have: u64,
    /// How many would if they stood one after another.
    least: u64,
    units: u64,
}

impl Contents {
    /// Looks at the segment that holds the first contents at or after a unit of a file, and moves
    /// it into one run of the device where it gains by that and there is one. The caller holds the
    /// inode's lock, exclusive.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] while the DATA domain is locked; [`Error::Corrupt`] for contents
    /// that do not authenticate; those of the device.
    pub fn defragment(
        &self,
        ino: u64,
        row: &mut InodeRow,
        first: u64,
        finish: &mut Finish<'_>,
    ) -> Result<Moved> {
        self.keys.check()?;
        let start = self.seek_data(ino, row, first.saturating_mul(UNIT as u64))?;
        let Some(start) = start.map(|start| start / UNIT as u64) else {
            return Ok(Moved::default());
        };
        // What a truncation left behind the end is about to go.
        let all = row.size.get().div_ceil(UNIT as u64);
        let end = (start + SEGMENT).min(all);
        let next = (end < all).then_some(end);
        let before = self.pieces(ino, start, end)?;
        let still = Moved { next, before: before.have, after: before.have, units: 0 };
        if before.have < before.least.saturating_mul(GAIN).max(2) {
            return Ok(still);
        }
        self.streams.end(ino);
        let want = before.units.min(row_room(self, row)) as u32;
        let run = match self.engine.try_reserve(want) {
            Ok(run) => run,
            Err(Error::NoSpace) => return Ok(still),
            Err(error) => return Err(error),
        };
        // A shorter run moves as much of it, in whole requests.
        if want == 0 || run.units() < want.min(RUN_UNITS) {
            return Ok(still);
        }
        let want = run.units();
        let mut held = self.streams.start();
        held.refill(run, self.engine.rng().tweak_start()?, row.key_id.get());
        let mut moved = 0;
        let mut at = start;
        while at < end && moved < u64::from(want) {
            let most = u64::from(want) - moved;
            match self.move_rows(ino, row, at..end, most, &mut held, finish) {
                Ok((to, units)) => (at, moved) = (to, moved + units),
                // What was moved is.
                Err(Error::NoSpace) => break,
                Err(error) => return Err(error),
            }
        }
        let after = self.pieces(ino, start, end)?.have;
        Ok(Moved { after, units: moved, ..still })
    }

    /// Moves the first rows of a range to the units that are next in the run: one transaction.
    /// Returns where the next rows are to be looked for, and how many units were moved.
    fn move_rows<'a>(
        &'a self,
        ino: u64,
        row: &mut InodeRow,
        range: std::ops::Range<u64>,
        most: u64,
        held: &mut Held<'a>,
        finish: &mut Finish<'_>,
    ) -> Result<(u64, u64)> {
        let mut scratch = self.pool.take(ino);
        let Scratch { old, new, tail, cipher, value, .. } = &mut *scratch;
        let pin = self.engine.pin_for(ino);
        // The row before may grow.
        let from = range.start.saturating_sub(1);
        let covered = self.lookup(ino, from..range.end, Detail::Whole, MAX_OLD, old)?;
        let (first, end) = match stretch(old, range.start, covered.min(range.end)) {
            Some(found) => found,
            None => return Ok((covered, 0)),
        };
        let end = end.min(first + most);
        let plain = tail.units((end - first) as usize);
        for (n, unit) in (first..end).zip(plain.chunks_mut(UNIT)) {
            // Rows of many units are read one by one here: they are few where this is worth it.
            self.read_unit(ino, n, old, unit)?;
        }
        drop(pin);
        let mut change = self.change(ino, row);
        change.draw(held, (end - first) as u32)?;
        new.clear();
        let plain = Plain { body: plain, ..Plain::default() };
        let units = change.store(first, &plain, cipher, new)?;
        new.join(old, RUN_UNITS);
        change.replace(first..first + units, old, new, value);
        change.commit(row, Class::Normal, finish)?;
        Ok((first + units, units))
    }

    /// How the units of a range stand. One with contents that are gone is as good as it gets.
    fn pieces(&self, ino: u64, start: u64, end: u64) -> Result<Pieces> {
        let mut scratch = self.pool.take(ino);
        let map = &mut scratch.old;
        self.lookup(ino, start..end, Detail::Place, usize::MAX, map)?;
        if !map.lost().is_empty() || map.inline().is_some() {
            return Ok(Pieces::default());
        }
        let mut pieces = Pieces::default();
        let (mut in_piece, mut in_stretch, mut last) = (0, 0, None);
        for row in map.rows() {
            let (from, to) = (row.first.max(start), row.end().min(end));
            let unit = row.extent.unit + (from - row.first);
            let (follows, joins) = last.map_or((false, false), |(file, device)| {
                (file == from && device == unit, file == from)
            });
            (in_piece, pieces.have) =
                count(if follows { in_piece } else { 0 }, to - from, pieces.have);
            (in_stretch, pieces.least) =
                count(if joins { in_stretch } else { 0 }, to - from, pieces.least);
            pieces.units += to - from;
            last = Some((to, unit + (to - from)));
        }
        Ok(pieces)
    }
}

/// Adds units to a request that has some, and counts requests.
fn count(have: u64, units: u64, requests: u64) -> (u64, u64) {
    let all = have + units;
    let more = all.div_ceil(REQUEST) - have.div_ceil(REQUEST);
    (all, requests + more)
}

/// Units that the file's key still seals.
fn row_room(contents: &Contents, row: &InodeRow) -> u64 {
    contents.key_units.saturating_sub(row.sealed_units.get())
}

/// The first rows of a range that follow one another: where they start and end.
fn stretch(map: &Map, start: u64, end: u64) -> Option<(u64, u64)> {
    let mut rows = map.rows().iter().filter(|row| row.end() > start && row.first < end);
    let first = rows.next()?;
    let mut to = first.end();
    for row in rows.take_while(|row: &&Row| row.first < end) {
        if row.first != to {
            break;
        }
        to = row.end();
    }
    Some((first.first.max(start), to.min(end)))
}
