//! Contents of files, from one side to the other: data only, holes stay holes.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use efscrypt::Error;
use efscrypt::fs::{FileSystem, SetAttr};

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
    /// Bytes of the source, or of the store's file where both are compared.
    pub size: u64,
    pub monitor: &'a Monitor,
}

impl Copy<'_> {
    /// From the machine into an empty file of the store, whose size it does not set. Returns the
    /// size of what was read and the bytes that were copied. `still` fails when somebody wrote to
    /// the file meanwhile: where nobody did and it ends elsewhere than its size says, as files do
    /// that a kernel makes up while they are read, what was read counts.
    pub fn import(&self, buffer: &mut [u8], still: impl Fn() -> Result<()>) -> Result<(u64, u64)> {
        match self.import_ranges(buffer) {
            Ok(Some(bytes)) => Ok((self.size, bytes)),
            Ok(None) => self.import_stream(buffer, still).map(|size| (size, size)),
            Err(trouble) => Err(trouble),
        }
    }

    /// `None` for a file that ends before or after its size.
    fn import_ranges(&self, buffer: &mut [u8]) -> Result<Option<u64>> {
        let (mut end, mut copied) = (0, 0);
        while let Some(data) = next_data(self.file, end, self.size)? {
            for piece in pieces(&data, buffer.len()) {
                self.go_on()?;
                let bytes = &mut buffer[..(piece.end - piece.start) as usize];
                match read_exact(self.file, piece.start, bytes) {
                    Err(Trouble::Changed) => return Ok(None),
                    read => read?,
                }
                self.write(piece.start, bytes)?;
                copied += bytes.len() as u64;
                self.monitor.add(Count::Moved, bytes.len() as u64);
            }
            end = data.end;
        }
        Ok(ends_at(self.file, self.size)?.then_some(copied))
    }

    fn import_stream(&self, buffer: &mut [u8], still: impl Fn() -> Result<()>) -> Result<u64> {
        still()?;
        let cut = SetAttr { size: Some(0), ..SetAttr::default() };
        self.store.setattr(self.ino, &cut)?;
        rewind(self.file)?;
        let mut size = 0;
        loop {
            self.go_on()?;
            let len = read_until_full(self.file, buffer)?;
            if len == 0 {
                return Ok(size);
            }
            self.write(size, &buffer[..len])?;
            size += len as u64;
            self.monitor.add(Count::Moved, len as u64);
            // Who appends faster than this reads is not waited for.
            still()?;
        }
    }

    /// From the store into an empty file of the machine, whose size it sets. What is damaged ends
    /// it, unless there are `losses` to take it: then zeros stand for it. Returns the bytes that
    /// were copied.
    pub fn export(&self, buffer: &mut [u8], mut losses: Option<&mut Losses>) -> Result<u64> {
        let (mut end, mut copied) = (0, 0);
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
                        copied += self.rescue(&piece, bytes, losses)?;
                    }
                    (exported, _) => copied += exported?,
                }
            }
            end = data.end;
        }
        self.file.set_len(self.size)?;
        Ok(copied)
    }

    fn export_piece(&self, offset: u64, bytes: &mut [u8]) -> Result<u64> {
        self.read(offset, bytes)?;
        self.file.write_all_at(bytes, offset)?;
        self.monitor.add(Count::Moved, bytes.len() as u64);
        Ok(bytes.len() as u64)
    }

    /// What can be read of a piece that cannot be read as a whole.
    fn rescue(&self, piece: &Range<u64>, buffer: &mut [u8], losses: &mut Losses) -> Result<u64> {
        let mut copied = 0;
        for unit in pieces(piece, UNIT) {
            let bytes = &mut buffer[..(unit.end - unit.start) as usize];
            match self.export_piece(unit.start, bytes) {
                Err(Trouble::Store(error)) if is_damage(&error) => losses.add(unit, error),
                exported => copied += exported?,
            }
        }
        Ok(copied)
    }

    /// Compares two files of which the one in the store has `size` bytes, and the one of the
    /// machine is said to have `said`. Returns whether both have the same bytes, and how many were
    /// read. Where both have a hole nothing is read.
    pub fn compare(&self, said: u64, buffer: &mut [u8]) -> Result<(bool, u64)> {
        // Only what lies about its size is worth reading.
        if said != self.size && !self.lies(said)? {
            return Ok((false, 0));
        }
        match self.compare_ranges(said, buffer) {
            Ok((Some(same), bytes)) => Ok((same, bytes)),
            Ok((None, _)) => self.compare_stream(buffer),
            Err(trouble) => Err(trouble),
        }
    }

    fn lies(&self, said: u64) -> Result<bool> {
        let before = said > 0 && ends_at(self.file, said - 1)?;
        Ok(before || !ends_at(self.file, said)?)
    }

    fn compare_ranges(&self, said: u64, buffer: &mut [u8]) -> Result<(Option<bool>, u64)> {
        if said != self.size || !ends_at(self.file, said)? {
            return Ok((None, 0));
        }
        let (ours, theirs) = buffer.split_at_mut(buffer.len() / 2);
        let (mut end, mut read) = (0, 0);
        loop {
            let (there, here) = (self.next_data(end)?, next_data(self.file, end, self.size)?);
            let Some(data) = there.into_iter().chain(here).min_by_key(|range| range.start) else {
                return Ok((Some(true), read));
            };
            for piece in pieces(&data, ours.len()) {
                self.go_on()?;
                let len = (piece.end - piece.start) as usize;
                let (ours, theirs) = (&mut ours[..len], &mut theirs[..len]);
                self.read(piece.start, ours)?;
                match read_exact(self.file, piece.start, theirs) {
                    Err(Trouble::Changed) => return Ok((None, read)),
                    read => read?,
                }
                if ours != theirs {
                    return Ok((Some(false), read));
                }
                read += len as u64;
                self.monitor.add(Count::Moved, len as u64);
            }
            end = data.end;
        }
    }

    fn compare_stream(&self, buffer: &mut [u8]) -> Result<(bool, u64)> {
        let (ours, theirs) = buffer.split_at_mut(buffer.len() / 2);
        rewind(self.file)?;
        let mut at = 0;
        loop {
            self.go_on()?;
            let len = read_until_full(self.file, theirs)?;
            if len == 0 {
                return Ok((at == self.size, at));
            }
            if at + len as u64 > self.size {
                return Ok((false, at));
            }
            self.read(at, &mut ours[..len])?;
            if ours[..len] != theirs[..len] {
                return Ok((false, at));
            }
            at += len as u64;
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
fn read_exact(file: &File, offset: u64, bytes: &mut [u8]) -> Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Trouble::Changed,
        _ => error.into(),
    })
}

/// Whether a file has no byte at an offset.
fn ends_at(file: &File, offset: u64) -> Result<bool> {
    Ok(file.read_at(&mut [0], offset)? == 0)
}

/// Reads a file on until a buffer is full or it ends, whatever it says about its size.
pub fn read_until_full(mut file: &File, buffer: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(len)
}

fn rewind(mut file: &File) -> Result<()> {
    file.rewind()?;
    Ok(())
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
