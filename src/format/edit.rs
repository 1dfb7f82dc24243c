//! Edits: what a transaction changes, in the bytes that the log carries.
//!
//! A transaction is encoded once, when it is made; the same bytes are applied, appended to the
//! log and replayed. Row edits carry final values, space edits final addresses: replay needs no
//! file-system code and no contents key.

use super::TreeId;
use crate::error::{Error, Object, Result};
use crate::limits::{MAX_EDIT_BYTES, MAX_EDITS, MAX_KEY_LEN, MAX_VALUE_LEN};
use crate::secret::Wiped;

const PUT: u8 = 1;
const DEL: u8 = 2;
const TAKE: u8 = 3;
const GIVE: u8 = 4;

/// The check of units by the crc32 (IEEE) of each: the crc32 of these, little-endian.
pub fn units_check(crcs: impl IntoIterator<Item = u32>) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    crcs.into_iter().for_each(|crc| hash.update(&crc.to_le_bytes()));
    hash.finalize()
}

/// Bytes in front of a transaction's edits.
const HEADER: usize = 6;

/// One change of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// The row has this value from now on.
    Put {
        /// Tree of the row.
        tree: TreeId,
        /// Key of the row.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// The row does not exist from now on.
    Del {
        /// Tree of the row.
        tree: TreeId,
        /// Key of the row.
        key: &'a [u8],
    },
    /// The units are in use from now on.
    Take {
        /// First unit.
        unit: u64,
        /// Number of units.
        units: u32,
        /// What stands in them: see [`units_check`].
        check: u32,
    },
    /// The units are free from now on.
    Give {
        /// First unit.
        unit: u64,
        /// Number of units.
        units: u32,
    },
}

/// A transaction being made: at most [`MAX_EDITS`] edits and [`MAX_EDIT_BYTES`] bytes.
#[derive(Clone)]
pub struct Edits {
    bytes: Wiped,
    count: usize,
}

impl Default for Edits {
    fn default() -> Edits {
        Edits::new()
    }
}

impl Edits {
    /// An empty transaction.
    pub fn new() -> Edits {
        let mut bytes = Wiped::with_capacity(512);
        bytes.extend_from_slice(&[0; HEADER]);
        Edits { bytes, count: 0 }
    }

    /// Copies decoded edits, checking every one and that there are as many as they say.
    pub fn collect(edits: EditReader<'_>) -> Result<Edits> {
        let mut out = Edits { bytes: vec![0; HEADER].into(), count: 0 };
        out.bytes.extend_from_slice(edits.rest);
        let count = edits.count;
        for edit in edits {
            edit?;
            out.count += 1;
        }
        match out.count == count && out.is_bounded() {
            true => Ok(out),
            false => Err(bad("number of edits")),
        }
    }

    /// Puts a row.
    ///
    /// # Panics
    /// When key or value are longer than the format allows: callers bound them.
    pub fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        assert!(!key.is_empty() && key.len() <= MAX_KEY_LEN && value.len() <= MAX_VALUE_LEN);
        self.bytes.push(PUT);
        self.bytes.extend_from_slice(&tree.to_le_bytes());
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    /// Deletes a row; one that does not exist stays so.
    ///
    /// # Panics
    /// When the key is longer than the format allows.
    pub fn del(&mut self, tree: TreeId, key: &[u8]) {
        assert!(!key.is_empty() && key.len() <= MAX_KEY_LEN);
        self.bytes.push(DEL);
        self.bytes.extend_from_slice(&tree.to_le_bytes());
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(key);
        self.count += 1;
    }

    /// Takes units that were reserved and written before. `check` is the [`units_check`] of what
    /// was written: recovery finds out by it whether the contents of a transaction that was never
    /// acknowledged reached the device.
    pub fn take(&mut self, unit: u64, units: u32, check: u32) {
        self.space(TAKE, unit, units);
        self.bytes.extend_from_slice(&check.to_le_bytes());
    }

    /// Gives units back.
    pub fn give(&mut self, unit: u64, units: u32) {
        self.space(GIVE, unit, units);
    }

    /// Adds all edits of another transaction.
    pub fn append(&mut self, other: &Edits) {
        self.bytes.extend_from_slice(&other.bytes[HEADER..]);
        self.count += other.count;
    }

    fn space(&mut self, op: u8, unit: u64, units: u32) {
        self.bytes.push(op);
        self.bytes.extend_from_slice(&unit.to_le_bytes());
        self.bytes.extend_from_slice(&units.to_le_bytes());
        self.count += 1;
    }

    /// Number of edits.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the transaction is within its bounds.
    pub fn is_bounded(&self) -> bool {
        self.count <= MAX_EDITS && self.bytes.len() <= MAX_EDIT_BYTES
    }

    /// Whether another edit of `bytes` bytes of key and value still fits.
    pub fn has_room(&self, edits: usize, bytes: usize) -> bool {
        self.count + edits <= MAX_EDITS && self.bytes.len() + edits * 17 + bytes <= MAX_EDIT_BYTES
    }

    /// At least the bytes that the put rows take in pages.
    pub fn row_bytes(&self) -> usize {
        self.bytes.len() + 2 * self.count
    }

    /// The encoded transaction, as the log carries it.
    pub fn encode(&mut self) -> &[u8] {
        let len = (self.bytes.len() - HEADER) as u32;
        self.bytes[..4].copy_from_slice(&len.to_le_bytes());
        self.bytes[4..HEADER].copy_from_slice(&(self.count as u16).to_le_bytes());
        &self.bytes
    }

    /// The edits in order.
    pub fn iter(&self) -> EditReader<'_> {
        EditReader { rest: &self.bytes[HEADER..], count: self.count }
    }
}

/// Decodes edits; hostile bytes end in an error.
pub struct EditReader<'a> {
    rest: &'a [u8],
    /// How many there should be.
    count: usize,
}

impl<'a> EditReader<'a> {
    /// Splits the first transaction off `bytes` and moves `bytes` behind it.
    pub fn transaction(bytes: &mut &'a [u8]) -> Result<EditReader<'a>> {
        let mut rest = *bytes;
        let len = u32::from_le_bytes(take(&mut rest)?) as usize;
        let count = usize::from(u16::from_le_bytes(take(&mut rest)?));
        if len > MAX_EDIT_BYTES || len > rest.len() {
            return Err(bad("transaction length"));
        }
        let (edits, after) = rest.split_at(len);
        *bytes = after;
        Ok(EditReader { rest: edits, count })
    }

    fn decode(&mut self) -> Result<Edit<'a>> {
        let rest = &mut self.rest;
        let [op] = take(rest)?;
        match op {
            PUT => {
                let tree = TreeId::from_le_bytes(take(rest)?);
                let [key_len] = take(rest)?;
                let value_len = usize::from(u16::from_le_bytes(take(rest)?));
                let key = slice(rest, usize::from(key_len), 1..=MAX_KEY_LEN)?;
                let value = slice(rest, value_len, 0..=MAX_VALUE_LEN)?;
                Ok(Edit::Put { tree, key, value })
            }
            DEL => {
                let tree = TreeId::from_le_bytes(take(rest)?);
                let [key_len] = take(rest)?;
                Ok(Edit::Del { tree, key: slice(rest, usize::from(key_len), 1..=MAX_KEY_LEN)? })
            }
            TAKE | GIVE => {
                let unit = u64::from_le_bytes(take(rest)?);
                let units = u32::from_le_bytes(take(rest)?);
                if op == GIVE {
                    return Ok(Edit::Give { unit, units });
                }
                let check = u32::from_le_bytes(take(rest)?);
                Ok(Edit::Take { unit, units, check })
            }
            _ => Err(bad("edit code")),
        }
    }
}

impl<'a> Iterator for EditReader<'a> {
    type Item = Result<Edit<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let edit = self.decode();
        if edit.is_err() {
            self.rest = &[];
        }
        Some(edit)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or_else(|| bad("edit is cut short"))?;
    *bytes = rest;
    Ok(*head)
}

fn slice<'a>(
    bytes: &mut &'a [u8],
    len: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<&'a [u8]> {
    if !range.contains(&len) || len > bytes.len() {
        return Err(bad("row length"));
    }
    let (head, rest) = bytes.split_at(len);
    *bytes = rest;
    Ok(head)
}

fn bad(why: &'static str) -> Error {
    Error::corrupt(Object::Log { offset: 0 }, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_back_in_order() {
        let mut edits = Edits::new();
        edits.put(1, b"key", b"value");
        edits.del(0, b"other");
        edits.take(77, 3, 0xabcd);
        edits.give(1 << 40, 64);
        let bytes = edits.encode().to_vec();
        let mut rest = &bytes[..];
        let decoded: Result<Vec<_>> = EditReader::transaction(&mut rest).unwrap().collect();
        assert!(rest.is_empty());
        assert_eq!(
            decoded.unwrap(),
            vec![
                Edit::Put { tree: 1, key: b"key", value: b"value" },
                Edit::Del { tree: 0, key: b"other" },
                Edit::Take { unit: 77, units: 3, check: 0xabcd },
                Edit::Give { unit: 1 << 40, units: 64 },
            ]
        );
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut edits = Edits::new();
        edits.put(1, b"key", b"value");
        edits.take(77, 3, 0);
        let bytes = edits.encode().to_vec();
        for cut in 0..bytes.len() {
            assert!(EditReader::transaction(&mut &bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_wrong_number_of_edits_is_refused() {
        let mut edits = Edits::new();
        edits.give(77, 3);
        let mut bytes = edits.encode().to_vec();
        let collect = |bytes: &[u8]| Edits::collect(EditReader::transaction(&mut &bytes[..])?);
        assert_eq!(collect(&bytes).unwrap().len(), 1);
        bytes[4] = 2;
        assert!(collect(&bytes).is_err());
        let mut many = Edits::new();
        (0..=MAX_EDITS).for_each(|_| many.give(77, 3));
        assert!(collect(many.encode()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
        ) {
            let mut reader = EditReader { rest: &bytes, count: 0 };
            let mut steps = 0;
            while reader.next().is_some() { steps += 1; }
            proptest::prop_assert!(steps <= bytes.len());
        }
    }
}
