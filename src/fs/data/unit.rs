//! Units of a file, opened: from the device or the tree into a buffer.

use super::Contents;
use super::map::{Map, Row, gone};
use crate::crypto::UnitTag;
use crate::error::{Error, Object, Result};
use crate::format::Inline;
use crate::limits::UNIT;

impl Contents {
    /// Reads units of the device into `buf`, sealed as they are. `first` is the unit of the file
    /// that they are for; a failure names the one that cannot be read. The caller holds a pin since
    /// before it looked up the row.
    pub(super) fn fetch(&self, ino: u64, first: u64, unit: u64, buf: &mut [u8]) -> Result<()> {
        let object = Object::File { ino, offset: first * UNIT as u64 };
        let read = self.engine.read_units(unit, buf);
        if matches!(read, Err(Error::Io { .. })) && buf.len() > UNIT {
            let singly = (0..).zip(buf.chunks_mut(UNIT));
            return singly
                .map(|(n, buf)| self.fetch(ino, first + n, unit + n, buf))
                .try_for_each(|read| read);
        }
        read.map_err(|error| match error {
            Error::Io { op, source, .. } => Error::io(op, object, source),
            other => other,
        })
    }

    /// Verifies and decrypts in place units of a row from its unit `from` on.
    pub(super) fn open(
        &self,
        ino: u64,
        row: &Row,
        from: u32,
        tags: &[UnitTag],
        buf: &mut [u8],
    ) -> Result<()> {
        let tweak = row.extent.first_tweak.wrapping_add(u128::from(from));
        let guard = self.keys.get(&self.engine, row.extent.key_id, ino)?;
        guard.key()?.open_units(tweak, buf, tags).map_err(|bad| {
            let unit = row.first + u64::from(from) + bad.index as u64;
            unauthentic(ino, unit)
        })
    }

    /// Reads one unit of the file as plaintext: an extent's, inline bytes, or a hole's zeros. `buf`
    /// may be shorter than a unit where the inline bytes fit.
    pub(super) fn read_unit(&self, ino: u64, unit: u64, map: &Map, buf: &mut [u8]) -> Result<()> {
        if let Some(row) = map.find(unit) {
            let from = (unit - row.first) as u32;
            self.fetch(ino, unit, row.extent.unit + u64::from(from), buf)?;
            return self.open(ino, row, from, map.tags(row, from..from + 1), buf);
        }
        buf.fill(0);
        if map.is_lost(unit) {
            return Err(gone(ino, unit));
        }
        match map.inline() {
            Some((inline, ciphertext)) if unit == 0 => {
                self.open_inline(ino, inline, ciphertext, &mut buf[..inline.len])
            }
            _ => Ok(()),
        }
    }

    /// Verifies and decrypts inline bytes into `buf`, which is as long as they are.
    fn open_inline(&self, ino: u64, inline: &Inline, text: &[u8], buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(text);
        let aad = Inline::identity(inline.len, inline.key_id, ino);
        let guard = self.keys.get(&self.engine, inline.key_id, ino);
        let opened = guard.and_then(|guard| {
            let opened = guard.key()?.open_inline(&inline.nonce, &aad, buf, &inline.tag);
            opened.map_err(|_| unauthentic(ino, 0))
        });
        if opened.is_err() {
            buf.fill(0);
        }
        opened
    }
}

fn unauthentic(ino: u64, unit: u64) -> Error {
    Error::corrupt(Object::File { ino, offset: unit * UNIT as u64 }, "it does not authenticate")
}
