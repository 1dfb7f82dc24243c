//! Extended attribute: rows of class 3 of a file-system tree.
//!
//! The first chunk has the name and the value's first bytes, the others the bytes that follow.
//! Every chunk but the last is full, so the value's length says how many there are.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Error, Object, Result};
use crate::limits::{MAX_NAME_LEN, MAX_VALUE_LEN, MAX_XATTR_LEN};

const HEADER_LEN: usize = size_of::<Header>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    value_len: U32,
    name_len: u8,
    reserved: [u8; 3],
}

/// The first chunk of an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrRow<'a> {
    /// The name: 1 to 255 bytes, without NUL.
    pub name: &'a [u8],
    /// Bytes of the whole value, up to 64 KiB.
    pub value_len: usize,
    /// The value's first bytes.
    pub value: &'a [u8],
}

impl<'a> XattrRow<'a> {
    /// Reads the first chunk.
    pub fn parse(bytes: &'a [u8]) -> Result<XattrRow<'a>> {
        let bad = |why| Error::corrupt(Object::Row { class: 3 }, why);
        let (header, rest) =
            Header::read_from_prefix(bytes).map_err(|_| bad("length of an attribute"))?;
        let (name_len, value_len) = (usize::from(header.name_len), header.value_len.get() as usize);
        let (name, value) = rest.split_at_checked(name_len).ok_or(bad("length of a name"))?;
        if name.is_empty() || header.reserved != [0; 3] || value_len > MAX_XATTR_LEN {
            return Err(bad("header of an attribute"));
        }
        if value.len() != value_len.min(first_len(name_len)) {
            return Err(bad("length of a value"));
        }
        Ok(XattrRow { name, value_len, value })
    }

    /// The chunks of an attribute, in order.
    ///
    /// # Panics
    /// When name or value are longer than the format allows: callers bound them.
    pub fn encode(name: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
        assert!((1..=MAX_NAME_LEN).contains(&name.len()) && value.len() <= MAX_XATTR_LEN);
        let header = Header {
            value_len: (value.len() as u32).into(),
            name_len: name.len() as u8,
            reserved: [0; 3],
        };
        let (first, rest) = value.split_at(value.len().min(first_len(name.len())));
        let mut chunks = vec![[header.as_bytes(), name, first].concat()];
        chunks.extend(rest.chunks(MAX_VALUE_LEN).map(<[u8]>::to_vec));
        chunks
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u8 {
        let rest = self.value_len.saturating_sub(first_len(self.name.len()));
        1 + rest.div_ceil(MAX_VALUE_LEN) as u8
    }
}

/// Bytes of a value that fit behind a name in the first chunk.
fn first_len(name_len: usize) -> usize {
    MAX_VALUE_LEN - HEADER_LEN - name_len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_come_back() {
        for len in [0, 1, 3900, 3955, 3956, 3957, 7923, 7924, 7925, MAX_XATTR_LEN] {
            let value: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let chunks = XattrRow::encode(b"user", &value);
            let row = XattrRow::parse(&chunks[0]).unwrap();
            assert_eq!((row.name, row.value_len), (&b"user"[..], len));
            assert_eq!(usize::from(row.chunks()), chunks.len());
            assert!(chunks.iter().all(|chunk| chunk.len() <= MAX_VALUE_LEN));
            let back = [row.value, &chunks[1..].concat()].concat();
            assert!(back == value);
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let chunks = XattrRow::encode(b"user", b"value");
        for cut in 0..chunks[0].len() {
            assert!(XattrRow::parse(&chunks[0][..cut]).is_err());
        }
    }
}
