//! Directory entry: the row of class 2 of a file-system tree.
//!
//! A cookie is 55 bits of the name's keyed hash and 8 bits that tell names with equal hashes
//! apart. It never changes while the entry exists: readdir hands it out.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Error, Object, Result};
use crate::limits::MAX_NAME_LEN;

/// Bits of a cookie that tell names with equal hashes apart.
pub const COOKIE_COUNTER_BITS: u32 = 8;

/// Cookies below this one are not entries: the start of a directory, ".", and "..".
pub const FIRST_COOKIE: u64 = 3;

const HEADER_LEN: usize = size_of::<Header>();

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    ino: U64,
    kind: u8,
    name_len: u8,
}

/// A directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRow<'a> {
    /// Inode that the name leads to.
    pub ino: u64,
    /// Its type, as in `d_type`.
    pub kind: u8,
    /// The name: 1 to 255 bytes, without `/` and NUL.
    pub name: &'a [u8],
}

/// An encoded entry.
pub struct EntryBytes {
    bytes: [u8; HEADER_LEN + MAX_NAME_LEN],
    len: usize,
}

impl std::ops::Deref for EntryBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'a> EntryRow<'a> {
    /// The encoded value.
    ///
    /// # Panics
    /// When the name is longer than the format allows: callers bound it.
    pub fn encode(&self) -> EntryBytes {
        let name_len = self.name.len();
        assert!((1..=MAX_NAME_LEN).contains(&name_len));
        let header = Header { ino: self.ino.into(), kind: self.kind, name_len: name_len as u8 };
        let mut bytes = [0; HEADER_LEN + MAX_NAME_LEN];
        bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
        bytes[HEADER_LEN..][..name_len].copy_from_slice(self.name);
        EntryBytes { bytes, len: HEADER_LEN + name_len }
    }

    /// Reads an entry.
    pub fn parse(bytes: &'a [u8]) -> Result<EntryRow<'a>> {
        let bad = |why| Error::corrupt(Object::Row { class: 2 }, why);
        let (header, name) =
            Header::read_from_prefix(bytes).map_err(|_| bad("length of an entry"))?;
        if name.is_empty() || name.len() != usize::from(header.name_len) {
            return Err(bad("length of a name"));
        }
        if name.iter().any(|byte| matches!(byte, 0 | b'/')) || matches!(name, b"." | b"..") {
            return Err(bad("a name that no entry may have"));
        }
        Ok(EntryRow { ino: header.ino.get(), kind: header.kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back() {
        for name in [&b"a"[..], &[0xff; 255], b"...", b"\x01 \xc3\x28"] {
            let row = EntryRow { ino: 77, kind: 8, name };
            assert_eq!(EntryRow::parse(&row.encode()).unwrap(), row);
        }
    }

    #[test]
    fn impossible_names_are_refused() {
        for name in [&b"."[..], b"..", b"a/b", b"a\0", b"/"] {
            let bytes = EntryRow { ino: 1, kind: 4, name }.encode();
            assert!(EntryRow::parse(&bytes).is_err(), "{name:?}");
        }
        let bytes = EntryRow { ino: 1, kind: 4, name: b"name" }.encode();
        for cut in 0..bytes.len() {
            assert!(EntryRow::parse(&bytes[..cut]).is_err());
        }
        assert!(EntryRow::parse(&[&bytes[..], b"x"].concat()).is_err());
    }
}
