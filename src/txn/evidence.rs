//! Evidence: whether the contents that a log record speaks of reached the device.
//!
//! One flush makes a record and the contents that it took durable together, so a crash before it
//! returned may leave the record without the contents. The crc of each unit stands in its row:
//! no key is needed to see what is there.

use super::Engine;
use crate::error::{Error, Result};
use crate::format::{DataRow, Edit, EditReader, Extent, FsKey, STORE_TREE, UNIT_TAG_LEN};
use crate::limits::UNIT;

/// Bytes of the crc at the end of a unit's tag.
const CRC_LEN: usize = 4;

impl Engine {
    /// Whether the units that a record's transactions take hold what their rows say.
    pub(super) fn wrote_what_it_took(&self, mut payload: &[u8]) -> Result<bool> {
        let mut buf = Vec::new();
        while !payload.is_empty() {
            let transaction = payload;
            let mut taken = Vec::new();
            for edit in EditReader::transaction(&mut payload)? {
                if let Edit::Take { unit, units } = edit? {
                    taken.push(unit..unit + u64::from(units));
                }
            }
            if taken.is_empty() {
                continue;
            }
            for edit in EditReader::transaction(&mut &*transaction)? {
                let Some((extent, tags)) = extent_of(edit?)? else { continue };
                let end = extent.unit + u64::from(extent.units);
                for range in &taken {
                    let (from, to) = (range.start.max(extent.unit), range.end.min(end));
                    if from < to && !self.holds(&extent, tags, from..to, &mut buf)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether units of an extent match their crc. What cannot be read is believed: the failure
    /// shows to whoever needs those bytes, and does not keep the store closed.
    fn holds(
        &self,
        extent: &Extent,
        tags: &[u8],
        units: std::ops::Range<u64>,
        buf: &mut Vec<u8>,
    ) -> Result<bool> {
        buf.resize((units.end - units.start) as usize * UNIT, 0);
        match self.read_units(units.start, buf) {
            Err(Error::Io { source, .. }) => {
                return Ok(source.kind() != std::io::ErrorKind::UnexpectedEof);
            }
            other => other?,
        }
        let tags = tags.chunks(UNIT_TAG_LEN).skip((units.start - extent.unit) as usize);
        Ok(buf.chunks(UNIT).zip(tags).all(|(unit, tag)| {
            tag[UNIT_TAG_LEN - CRC_LEN..] == crc32fast::hash(unit).to_le_bytes()
        }))
    }
}

/// The extent that an edit puts, with its tags.
fn extent_of(edit: Edit<'_>) -> Result<Option<(Extent, &[u8])>> {
    let Edit::Put { tree, key, value } = edit else { return Ok(None) };
    if tree == STORE_TREE {
        return Ok(None);
    }
    let Ok(FsKey::Data(ino, first)) = FsKey::parse(key) else { return Ok(None) };
    Ok(match DataRow::parse(ino, first, value)? {
        DataRow::Extent(extent, tags) => Some((extent, tags)),
        DataRow::Inline(..) => None,
    })
}
