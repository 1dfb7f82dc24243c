//! Superblock: the root of trust of a store, in a ring of slots kept in two places.
//!
//! The header and the key slots are in the clear, because they are needed before any key is known;
//! they are the associated data of the body, so a change to them does not authenticate. Only the
//! body's tag makes a slot valid; the crc just tells a torn slot from a foreign key.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::Zeroize;

use super::{FORMAT_VERSION, NodePointer, SUITE, SpaceEntry, StoreId};
use crate::error::{Error, Result};
use crate::limits::MAX_WRAPPED_KEK;

/// Bytes of one slot.
pub const SLOT_SIZE: usize = 16 * 1024;
/// Slots of the ring. A torn write damages the slot being written, never the newest valid one.
pub const RING_SLOTS: u64 = 8;
/// Key slots: two domains, each with the current version and one on its way in or out.
pub const KEY_SLOTS: usize = 4;
/// Entries of the highest level of the space map: 126 * 126 * 64 MiB each, 121 TiB in all.
pub const SPACE_ROOTS: usize = 128;

const MAGIC: [u8; 8] = *b"\x89EFSC\r\n\x1a";
const HEADER_LEN: usize = 128;
const KEYS_END: usize = HEADER_LEN + KEY_SLOTS * size_of::<KeySlot>();
const BODY_AT: usize = 9216;
const BODY_LEN: usize = size_of::<SuperblockBody>();

/// The clear header. Magic and version never move.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct SuperblockHeader {
    magic: [u8; 8],
    version: U32,
    /// Which of the two places this is.
    pub place: u8,
    /// Slot in the ring: generation modulo 8.
    pub slot: u8,
    /// Cryptographic suite.
    pub suite: u8,
    reserved: u8,
    /// The store's identity.
    pub store_id: StoreId,
    /// Features that a reader may ignore.
    pub compat: U64,
    /// Features that a reader may ignore if it does not write.
    pub ro_compat: U64,
    /// Features that a reader must know.
    pub incompat: U64,
    /// Number of the checkpoint.
    pub generation: U64,
    /// META KEK version that seals the body.
    pub key_epoch: U32,
    reserved2: [u8; 28],
    /// Nonce of the body.
    pub nonce: [u8; 12],
    /// Tag of the body.
    pub tag: [u8; 16],
    /// crc32 (IEEE) of the slot with this field zero.
    crc: U32,
}

/// One KEK, wrapped by its provider.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct KeySlot {
    /// 0 where the slot is empty, 1 for META, 2 for DATA.
    pub domain: u8,
    reserved: u8,
    len: U16,
    /// KEK version.
    pub version: U32,
    reserved2: [u8; 24],
    /// HKDF commitment of the KEK: tells a wrong key from a damaged store.
    pub commitment: [u8; 32],
    wrapped: [u8; MAX_WRAPPED_KEK],
}

/// The sealed body: everything that a checkpoint commits.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct SuperblockBody {
    /// Root of the STORE tree.
    pub root: NodePointer,
    /// Raised at each open for writing; log sequence numbers, inode generations, change
    /// attributes, data key ids and write verifiers derive from it.
    pub epoch: U64,
    /// First byte of the log ring on the device.
    pub log_base: U64,
    /// Bytes of the log ring.
    pub log_len: U64,
    /// Where in the ring the record after this checkpoint stands.
    pub log_head: U64,
    /// Its sequence number.
    pub log_seq: U64,
    /// Tag of the record before it.
    pub log_tag: [u8; 16],
    /// First unit of the pool that regions divide.
    pub pool_base: U64,
    /// Units of the pool, homes included; where the device grows, the most it may grow to.
    pub pool_units: U64,
    /// Units in use.
    pub used_units: U64,
    /// Bytes that the device had: a shorter device was truncated.
    pub device_len: U64,
    /// Key of the handle MAC, random. Zero in memory: who opens the body takes the keys out of it,
    /// and who seals it puts them in.
    pub handle_key: [u8; 32],
    /// Key of the name hash, likewise.
    pub name_key: [u8; 32],
    /// Creation time, nanoseconds since 1970.
    pub created: U64,
    /// Transactions of the first record of the log that the checkpoint holds already.
    pub log_applied: U64,
    /// No inode number at or above this was ever given out.
    pub next_ino: U64,
    /// Not 0 in a superblock that came back from a backup of the header and knows no state: the
    /// store does not open before a repair found one.
    pub restored: u8,
    /// Zero; later features.
    pub reserved: [u8; 487],
    /// Highest level of the space map.
    pub space: [SpaceEntry; SPACE_ROOTS],
}

const _: () = assert!(size_of::<SuperblockHeader>() == HEADER_LEN);
const _: () = assert!(KEYS_END <= BODY_AT);
const _: () = assert!(BODY_AT + BODY_LEN <= SLOT_SIZE);

impl KeySlot {
    /// A slot without a key.
    pub const EMPTY: KeySlot = KeySlot {
        domain: 0,
        reserved: 0,
        len: U16::ZERO,
        version: U32::ZERO,
        reserved2: [0; 24],
        commitment: [0; 32],
        wrapped: [0; MAX_WRAPPED_KEK],
    };

    /// A slot with a wrapped KEK.
    pub fn new(domain: u8, version: u32, commitment: [u8; 32], wrapped: &[u8]) -> Result<KeySlot> {
        let mut slot = KeySlot { domain, version: U32::new(version), commitment, ..Self::EMPTY };
        slot.wrapped
            .get_mut(..wrapped.len())
            .ok_or(Error::InvalidArgument("a wrapped KEK is longer than 2,048 bytes"))?
            .copy_from_slice(wrapped);
        slot.len = U16::new(wrapped.len() as u16);
        Ok(slot)
    }

    /// The provider's blob; empty where the stored length is impossible.
    pub fn wrapped(&self) -> &[u8] {
        self.wrapped.get(..usize::from(self.len.get())).unwrap_or(&[])
    }
}

/// A superblock with its body open.
#[derive(Clone)]
pub struct Superblock {
    /// The clear header.
    pub header: SuperblockHeader,
    /// The wrapped KEKs.
    pub keys: [KeySlot; KEY_SLOTS],
    /// What the checkpoint committed.
    pub body: SuperblockBody,
}

/// A slot whose crc fits and whose features are known, but whose body is still sealed.
#[derive(Clone)]
pub struct UnverifiedSuperblock {
    bytes: Box<[u8]>,
    /// The clear header. Nothing of it is certain before the body opened.
    pub header: SuperblockHeader,
    /// The wrapped KEKs.
    pub keys: [KeySlot; KEY_SLOTS],
}

impl Superblock {
    /// A first superblock.
    pub fn new(store_id: StoreId, keys: [KeySlot; KEY_SLOTS], body: SuperblockBody) -> Superblock {
        let header = SuperblockHeader {
            magic: MAGIC,
            version: U32::new(FORMAT_VERSION),
            place: 0,
            slot: 0,
            suite: SUITE,
            reserved: 0,
            store_id,
            compat: U64::ZERO,
            ro_compat: U64::ZERO,
            incompat: U64::ZERO,
            generation: U64::ZERO,
            key_epoch: U32::new(1),
            reserved2: [0; 28],
            nonce: [0; 12],
            tag: [0; 16],
            crc: U32::ZERO,
        };
        Superblock { header, keys, body }
    }

    /// Encodes the slot for one place. `seal` gets nonce-independent associated data and the body
    /// to seal in place, and returns nonce and tag.
    pub fn encode(
        &self,
        place: u8,
        seal: impl FnOnce(&[u8], &mut [u8]) -> Result<([u8; 12], [u8; 16])>,
    ) -> Result<Box<[u8]>> {
        let mut header = self.header;
        header.place = place;
        header.slot = (header.generation.get() % RING_SLOTS) as u8;
        let mut bytes = vec![0u8; SLOT_SIZE].into_boxed_slice();
        bytes[HEADER_LEN..KEYS_END].copy_from_slice(self.keys.as_bytes());
        let (clear, body) = bytes.split_at_mut(BODY_AT);
        let body = &mut body[..BODY_LEN];
        body.copy_from_slice(self.body.as_bytes());
        clear[..HEADER_LEN].copy_from_slice(header.sealed_part().as_bytes());
        (header.nonce, header.tag) = seal(clear, body)?;
        header.crc = U32::ZERO;
        bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
        header.crc = U32::new(crc32fast::hash(&bytes));
        bytes[..HEADER_LEN].copy_from_slice(header.as_bytes());
        Ok(bytes)
    }
}

impl SuperblockHeader {
    /// The header as associated data: without what the seal itself produces.
    fn sealed_part(&self) -> SuperblockHeader {
        SuperblockHeader { nonce: [0; 12], tag: [0; 16], crc: U32::ZERO, ..*self }
    }
}

impl UnverifiedSuperblock {
    /// Reads a slot. `Ok(None)` where it was never written, is torn or misplaced.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the slot is sound but needs a newer version.
    pub fn parse(bytes: &[u8], place: u8, slot: u8) -> Result<Option<UnverifiedSuperblock>> {
        let Ok((header, _)) = SuperblockHeader::read_from_prefix(bytes) else { return Ok(None) };
        if header.magic != MAGIC || bytes.len() != SLOT_SIZE {
            return Ok(None);
        }
        if header.version.get() != FORMAT_VERSION {
            return Err(Error::Unsupported("its format version is unknown"));
        }
        let mut hash = crc32fast::Hasher::new();
        hash.update(SuperblockHeader { crc: U32::ZERO, ..header }.as_bytes());
        hash.update(&bytes[HEADER_LEN..]);
        let at = header.generation.get() % RING_SLOTS;
        let there = header.place == place && header.slot == slot && at == u64::from(slot);
        if hash.finalize() != header.crc.get() || !there {
            return Ok(None);
        }
        if header.incompat.get() != 0 || header.suite != SUITE {
            return Err(Error::Unsupported("it uses a feature that this version does not know"));
        }
        let Ok(keys) = <[KeySlot; KEY_SLOTS]>::read_from_bytes(&bytes[HEADER_LEN..KEYS_END]) else {
            return Ok(None);
        };
        Ok(Some(UnverifiedSuperblock { bytes: bytes.into(), header, keys }))
    }

    /// Whether a slot begins with the magic, whatever follows.
    pub fn has_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Whether a slot, sound or not, holds other wrapped keys than these, or parts of them.
    pub fn has_other_keys(bytes: &[u8], keys: &[KeySlot; KEY_SLOTS]) -> bool {
        const PIECE: usize = 64;
        let there = bytes.get(HEADER_LEN..KEYS_END).unwrap_or_default().chunks(PIECE);
        // A slot that was torn when it was first written has pieces of zeros.
        there.zip(keys.as_bytes().chunks(PIECE)).any(|(a, b)| a != b && a.iter().any(|x| *x != 0))
    }

    /// The slot's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all bytes behind the body, which nothing authenticates, are zero.
    pub fn ends_with_zeros(&self) -> bool {
        self.bytes[BODY_AT + BODY_LEN..].iter().all(|byte| *byte == 0)
    }

    /// Whether the slot has exactly these wrapped keys.
    pub fn has_keys(&self, keys: &[KeySlot; KEY_SLOTS]) -> bool {
        self.keys.as_bytes() == keys.as_bytes()
    }

    /// Opens the body. `open` gets the associated data and the body to open in place, and takes
    /// the keys out of it.
    pub fn verify(
        mut self,
        open: impl FnOnce(&SuperblockHeader, &[u8], &mut [u8]) -> Result<()>,
    ) -> Result<Superblock> {
        let sealed_part = self.header.sealed_part();
        let (clear, body) = self.bytes.split_at_mut(BODY_AT);
        clear[..HEADER_LEN].copy_from_slice(sealed_part.as_bytes());
        let sealed = &mut body[..BODY_LEN];
        open(&self.header, clear, sealed).inspect_err(|_| sealed.zeroize())?;
        let body = SuperblockBody::read_from_bytes(sealed)
            .map_err(|_| Error::Internal("superblock body length"));
        sealed.zeroize();
        let body = body?;
        Ok(Superblock { header: self.header, keys: self.keys, body })
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn sample() -> Superblock {
        let key = KeySlot::new(1, 3, [9; 32], b"wrapped").unwrap();
        let keys = [key, KeySlot::EMPTY, KeySlot::EMPTY, KeySlot::EMPTY];
        let mut superblock = Superblock::new([5; 16], keys, SuperblockBody::new_zeroed());
        superblock.header.generation = U64::new(21);
        superblock.body.epoch = U64::new(4);
        superblock
    }

    fn seal(aad: &[u8], body: &mut [u8]) -> Result<([u8; 12], [u8; 16])> {
        body.iter_mut().for_each(|byte| *byte ^= 0x55);
        let mut tag = [0; 16];
        tag[..4].copy_from_slice(&crc32fast::hash(&[aad, body].concat()).to_le_bytes());
        Ok(([7; 12], tag))
    }

    #[test]
    fn a_slot_comes_back_as_it_was() {
        let bytes = sample().encode(1, seal).unwrap();
        let slot = UnverifiedSuperblock::parse(&bytes, 1, 5).unwrap().unwrap();
        let back = slot
            .verify(|header, aad, body| {
                let crc = crc32fast::hash(&[aad, &body[..]].concat()).to_le_bytes();
                assert_eq!(header.tag[..4], crc);
                body.iter_mut().for_each(|byte| *byte ^= 0x55);
                Ok(())
            })
            .unwrap();
        assert_eq!(back.body.as_bytes(), sample().body.as_bytes());
        assert_eq!(back.keys[0].wrapped(), b"wrapped");
        assert_eq!(back.header.generation.get(), 21);
    }

    #[test]
    fn misplaced_torn_and_foreign_slots_are_none() {
        let bytes = sample().encode(0, seal).unwrap();
        assert!(UnverifiedSuperblock::parse(&bytes, 1, 5).unwrap().is_none());
        assert!(UnverifiedSuperblock::parse(&bytes, 0, 4).unwrap().is_none());
        let mut torn = bytes.clone();
        torn[8192..].fill(0);
        assert!(UnverifiedSuperblock::parse(&torn, 0, 5).unwrap().is_none());
        assert!(UnverifiedSuperblock::parse(&[0; SLOT_SIZE], 0, 0).unwrap().is_none());
        // The slot of another generation, with all else right.
        let mut forged = bytes.clone();
        forged[56] += 1;
        forged[124..128].fill(0);
        let crc = crc32fast::hash(&forged);
        forged[124..128].copy_from_slice(&crc.to_le_bytes());
        assert!(UnverifiedSuperblock::parse(&forged, 0, 5).unwrap().is_none());
    }

    #[test]
    fn other_wrapped_keys_are_noticed_also_in_a_torn_slot() {
        let bytes = sample().encode(0, seal).unwrap();
        let other = KeySlot::new(1, 3, [9; 32], b"wrappec").unwrap();
        let keys = [other, KeySlot::EMPTY, KeySlot::EMPTY, KeySlot::EMPTY];
        let has_other = UnverifiedSuperblock::has_other_keys;
        assert!(!has_other(&bytes, &sample().keys) && has_other(&bytes, &keys));
        assert!(!has_other(&[0; SLOT_SIZE], &keys) && !has_other(&bytes[..100], &keys));
        let mut torn = bytes.clone();
        torn[..HEADER_LEN].fill(0);
        torn[BODY_AT..].fill(0x77);
        assert!(!has_other(&torn, &sample().keys) && has_other(&torn, &keys));
        torn[HEADER_LEN + 2112 * 3] = 1;
        assert!(has_other(&torn, &sample().keys), "a key slot that the newest does not have");
    }

    #[test]
    fn an_unknown_feature_is_refused() {
        let mut superblock = sample();
        superblock.header.incompat = U64::new(1 << 63);
        let bytes = superblock.encode(0, seal).unwrap();
        let answer = UnverifiedSuperblock::parse(&bytes, 0, 5);
        assert!(matches!(answer, Err(Error::Unsupported(_))));
    }
}
