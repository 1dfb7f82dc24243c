//! Backup of the header: a superblock slot without a state, in a file of its own.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{RING_SLOTS, SLOT_SIZE, UnverifiedSuperblock};
use crate::error::{Error, Object, Result};

const MAGIC: [u8; 8] = *b"\x89EFSH\r\n\x1a";
const VERSION: u32 = 1;

/// Bytes of a backup.
pub const BACKUP_LEN: usize = size_of::<Head>() + SLOT_SIZE;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    version: U32,
    len: U32,
    reserved: [u8; 12],
    crc: U32,
}

/// The file of a backup with a slot in it.
pub fn encode_backup(slot: &[u8]) -> Vec<u8> {
    let (version, len) = (U32::new(VERSION), U32::new(slot.len() as u32));
    let mut head = Head { magic: MAGIC, version, len, reserved: [0; 12], crc: U32::ZERO };
    head.crc = U32::new(crc32fast::hash(&[head.as_bytes(), slot].concat()));
    [head.as_bytes(), slot].concat()
}

/// The slot in a backup. Nothing of it is certain before its body opened.
///
/// # Errors
/// [`Error::NotAStore`] for another file, [`Error::Unsupported`] for a newer version,
/// [`Error::Corrupt`] for a damaged one.
pub fn parse_backup(bytes: &[u8]) -> Result<UnverifiedSuperblock> {
    let damaged = |why| Error::corrupt(Object::Store, why);
    let Ok((head, slot)) = Head::read_from_prefix(bytes) else { return Err(Error::NotAStore) };
    if head.magic != MAGIC {
        return Err(Error::NotAStore);
    }
    if head.version.get() != VERSION {
        return Err(Error::Unsupported("the version of this backup is unknown"));
    }
    let sound = Head { crc: U32::ZERO, ..head };
    let crc = crc32fast::hash(&[sound.as_bytes(), slot].concat());
    let lengths = bytes.len() == BACKUP_LEN && head.len.get() as usize == SLOT_SIZE;
    if !lengths || head.reserved != [0; 12] || crc != head.crc.get() {
        return Err(damaged("the backup of its header is cut or damaged"));
    }
    (0..RING_SLOTS as u8)
        .find_map(|number| UnverifiedSuperblock::parse(slot, 0, number).transpose())
        .ok_or(damaged("the backup of its header holds no superblock"))?
        .and_then(|slot| match slot.ends_with_zeros() {
            true => Ok(slot),
            false => Err(damaged("the backup of its header has bytes that mean nothing")),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hostile_backups_end_in_an_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..64), len in 0usize..20_000,
        ) {
            bytes.resize(len, 0);
            prop_assert!(parse_backup(&bytes).is_err());
            let whole = encode_backup(&bytes);
            prop_assert!(parse_backup(&whole).is_err());
        }
    }
}
