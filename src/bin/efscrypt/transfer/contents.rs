//! Contents of files, from one side to the other: data only, holes stay holes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use efscrypt::Error;
use efscrypt::fs::FileSystem;

use super::host::{data_range, next_data};
use super::monitor::{Count, Monitor};
use super::trouble::{Result, Trouble};

/// Bytes of contents that authenticate, or do not, together.
const UNIT: usize = 4096;

/// What of a file could not be read, and is zeros in its copy.
#[derive(Default)]
pub struct Losses {
    /// Why, for the first of them.
    pub why: Option<Error>,
    /// In order, none next to another.
    pub ranges: Vec<Range<u64>>,
}

impl Losses {
    fn add(&mut self, lost: Range<u64>, why: Error) {
        self.why.get_or_insert(why);
        match self.ranges.last_mut() {
            Some(last) if last.end == lost.start => last.end = lost.end,
            _ => self.ranges.push(lost),
        }
    }
}

/// Whether both sides have the same contents.
pub enum Same {
    No,
    /// They have, and a change at this moment might not show.
    Now,
    /// They have, until a time of the file on the machine or of the one in the store moves.
    Lasting,
}

/// Whether something cannot be read because of what or where it is.
pub fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Io { .. })
}

/// The two sides of a copy, and what it takes.
pub struct Copy<'a> {
    pub store: &'a FileSystem,
    pub ino: u64,
    pub file: &'a File,
    /// Bytes of the source.
    pub size: u64,
    pub monitor: &'a Monitor,
}

impl Copy<'_> {
    /// From the machine into an empty file of the store, whose size it sets.
    pub fn import(&self, buffer: &mut [u8]) -> Result<()> {
        let mut end = 0;
        while let Some(data) = next_data(self.file, end, self.size)? {
            for piece in pieces(&data, buffer.len()) {
                self.go_on()?;
                let bytes = &mut buffer[..(piece.end - piece.start) as usize];
                read_exact(self.file, piece.start, bytes)?;
                self.write(piece.start, bytes)?;
                self.monitor.add(Count::Bytes, bytes.len() as u64);
            }
            end = data.end;
        }
        Ok(())
    }

    /// From the store into an empty file of the machine, whose size it sets. What is damaged ends
    /// it, unless there are `losses` to take it: then zeros stand for it.
    pub fn export(&self, buffer: &mut [u8], mut losses: Option<&mut Losses>) -> Result<()> {
        let mut end = 0;
        loop {
            let data = match (self.next_data(end), &losses) {
                // Where its data is nobody knows: all may be.
                (Err(Trouble::Store(error)), Some(_)) if is_damage(&error) => {
                    end..self.size.min(end + buffer.len() as u64)
                }
                (data, _) => match data? {
                    Some(data) => data,
                    None => break,
                },
            };
            for piece in pieces(&data, buffer.len()) {
                self.go_on()?;
                let bytes = &mut buffer[..(piece.end - piece.start) as usize];
                match (self.export_piece(piece.start, bytes), &mut losses) {
                    (Err(Trouble::Store(error)), Some(losses)) if is_damage(&error) => {
                        self.rescue(&piece, bytes, losses)?;
                    }
                    (exported, _) => exported?,
                }
            }
            end = data.end;
        }
        Ok(self.file.set_len(self.size)?)
    }

    fn export_piece(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.read(offset, bytes)?;
        self.file.write_all_at(bytes, offset)?;
        self.monitor.add(Count::Bytes, bytes.len() as u64);
        Ok(())
    }

    /// What can be read of a piece that cannot be read as a whole.
    fn rescue(&self, piece: &Range<u64>, buffer: &mut [u8], losses: &mut Losses) -> Result<()> {
        for unit in pieces(piece, UNIT) {
            let bytes = &mut buffer[..(unit.end - unit.start) as usize];
            match self.export_piece(unit.start, bytes) {
                Err(Trouble::Store(error)) if is_damage(&error) => losses.add(unit, error),
                exported => exported?,
            }
        }
        Ok(())
    }

    /// Whether both have the same bytes, which are counted as `what`. Where both have a hole
    /// nothing is read.
    pub fn is_same(&self, what: Count, buffer: &mut [u8]) -> Result<bool> {
        let (ours, theirs) = buffer.split_at_mut(buffer.len() / 2);
        let mut end = 0;
        loop {
            let (there, here) = (self.next_data(end)?, next_data(self.file, end, self.size)?);
            let Some(data) = there.into_iter().chain(here).min_by_key(|range| range.start) else {
                return Ok(true);
            };
            for piece in pieces(&data, ours.len()) {
                self.go_on()?;
                let len = (piece.end - piece.start) as usize;
                let (ours, theirs) = (&mut ours[..len], &mut theirs[..len]);
                self.read(piece.start, ours)?;
                read_exact(self.file, piece.start, theirs)?;
                if ours != theirs {
                    return Ok(false);
                }
                self.monitor.add(what, len as u64);
            }
            end = data.end;
        }
    }

    /// The next range with data in the store's file.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>> {
        if from >= self.size {
            return Ok(None);
        }
        let Some(start) = self.store.seek_data(self.ino, from)? else { return Ok(None) };
        let hole = self.store.seek_hole(self.ino, start)?.unwrap_or(self.size);
        Ok(data_range(start, hole, self.size))
    }

    fn read(&self, mut offset: u64, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            let len = self.store.read(self.ino, offset, bytes)?.len;
            if len == 0 {
                return Err(Trouble::Changed);
            }
            (offset, bytes) = (offset + len as u64, &mut bytes[len..]);
        }
        Ok(())
    }

    fn write(&self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let len = self.store.write(self.ino, offset, bytes)?.len;
            (offset, bytes) = (offset + len as u64, &bytes[len..]);
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        if self.monitor.has_stopped() { Err(Trouble::Stopped) } else { Ok(()) }
    }
}

/// Reads all of `bytes`; a file that ends before was cut since its size was asked for.
pub fn read_exact(file: &File, offset: u64, bytes: &mut [u8]) -> Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Trouble::Changed,
        _ => error.into(),
    })
}

/// A range in pieces that end at multiples of their largest length.
fn pieces(range: &Range<u64>, most: usize) -> impl Iterator<Item = Range<u64>> {
    let (mut at, end, most) = (range.start, range.end, most as u64);
    std::iter::from_fn(move || {
        let start = at;
        at = end.min((start / most + 1) * most);
        (start < end).then_some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges are compared")]
    #[test]
    fn pieces_cover_a_range_and_are_aligned() {
        let all = |range: Range<u64>| pieces(&range, 10).collect::<Vec<_>>();
        assert_eq!(all(0..0), []);
        assert_eq!(all(0..10), vec![0..10]);
        assert_eq!(all(3..25), [3..10, 10..20, 20..25]);
        assert_eq!(all(20..21), vec![20..21]);
    }
}
