//! Contents: the value of a DATA row, `4 | ino | unit`: an extent of sealed units, or inline bytes.
//!
//! An extent stands for `logical` units of the file from the row's unit on. Unit `i` of it was
//! sealed under the tweak `first tweak + i` and stands at `unit + i` of the device, so any part of
//! an extent is an extent. Inline bytes stand for unit 0 of the file; what they lack is zeros.

use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::SUITE;
use crate::error::{Error, Object, Result};
use crate::limits::{MAX_FILE_SIZE, MAX_INLINE_LEN, MAX_VALUE_LEN, RUN_UNITS, UNIT};

/// Bytes of the tag of one unit: MAC and crc32.
pub const UNIT_TAG_LEN: usize = 20;
/// Units of the largest file: a DATA row never reaches beyond.
pub const MAX_FILE_UNITS: u64 = MAX_FILE_SIZE.div_ceil(UNIT as u64);

const EXTENT: u8 = 1;
const INLINE: u8 = 2;
const LOST: u8 = 3;
/// Contents stand as they are; other codecs may come.
const CODEC_NONE: u8 = 0;
/// Device addresses: 8 bits of device, of which there is one, and 56 of unit.
const UNIT_BITS: u32 = 56;

/// The fixed part of an extent's value.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawExtent {
    kind: u8,
    suite: u8,
    codec: u8,
    reserved: u8,
    logical: U16,
    stored: U16,
    key_id: U64,
    unit: U64,
    birth: U64,
    first_tweak: [u8; 16],
}

/// The fixed part of an inline value.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawInline {
    kind: u8,
    suite: u8,
    codec: u8,
    reserved: u8,
    len: U16,
    reserved2: U16,
    key_id: U64,
    nonce: [u8; 12],
    tag: [u8; 16],
}

/// What inline bytes are bound to: the associated data of their seal.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct InlineIdentity {
    kind: u8,
    suite: u8,
    codec: u8,
    reserved: u8,
    len: U16,
    reserved2: U16,
    key_id: U64,
    ino: U64,
}

/// Encoded form of a lost stretch.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawLost {
    kind: u8,
    reserved: [u8; 7],
    units: U64,
}

const _: () = assert!(size_of::<RawExtent>() == 48);
const _: () = assert!(size_of::<RawInline>() == 44);
const _: () = assert!(size_of::<RawExtent>() + RUN_UNITS as usize * UNIT_TAG_LEN <= MAX_VALUE_LEN);
const _: () = assert!(size_of::<RawInline>() + MAX_INLINE_LEN <= MAX_VALUE_LEN);

/// Where the units of an extent are, and what they were sealed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of units, 1 to [`RUN_UNITS`].
    pub units: u32,
    /// First unit on the device.
    pub unit: u64,
    /// Data key that sealed them.
    pub key_id: u64,
    /// Tweak of the first unit; unit `i` has `first_tweak + i`.
    pub first_tweak: u128,
    /// Generation that changes belonged to when the extent was made: never above the generation
    /// of the checkpoint that first recorded it.
    pub birth: u64,
}

impl Extent {
    /// The units from `from` on and below `to`, as an extent of its own.
    pub fn part(&self, from: u32, to: u32) -> Extent {
        Extent {
            units: to - from,
            unit: self.unit + u64::from(from),
            first_tweak: self.first_tweak.wrapping_add(u128::from(from)),
            ..*self
        }
    }

    /// Appends the row's value to `out`. `tags` are [`UNIT_TAG_LEN`] bytes for each unit.
    pub fn encode(&self, tags: &[u8], out: &mut Vec<u8>) {
        let raw = RawExtent {
            kind: EXTENT,
            suite: SUITE,
            codec: CODEC_NONE,
            reserved: 0,
            logical: U16::new(self.units as u16),
            stored: U16::new(self.units as u16),
            key_id: U64::new(self.key_id),
            unit: U64::new(self.unit),
            birth: U64::new(self.birth),
            first_tweak: self.first_tweak.to_le_bytes(),
        };
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(tags);
    }

    fn parse(bytes: &[u8], first: u64) -> Result<(Extent, &[u8]), &'static str> {
        let (raw, tags) = RawExtent::read_from_prefix(bytes).map_err(|_| "extent length")?;
        let units = u32::from(raw.logical.get());
        if raw.suite != SUITE || raw.codec != CODEC_NONE || raw.reserved != 0 {
            return Err("extent suite");
        }
        if !(1..=RUN_UNITS).contains(&units) || raw.stored != raw.logical {
            return Err("extent units");
        }
        if tags.len() != units as usize * UNIT_TAG_LEN {
            return Err("extent tags");
        }
        let unit = raw.unit.get();
        if unit == 0 || unit >> UNIT_BITS != 0 || (unit + u64::from(units)) >> UNIT_BITS != 0 {
            return Err("extent address");
        }
        if raw.key_id == U64::ZERO {
            return Err("extent key");
        }
        if first >= MAX_FILE_UNITS || first + u64::from(units) > MAX_FILE_UNITS {
            return Err("extent beyond the largest file");
        }
        let extent = Extent {
            units,
            unit,
            key_id: raw.key_id.get(),
            first_tweak: u128::from_le_bytes(raw.first_tweak),
            birth: raw.birth.get(),
        };
        Ok((extent, tags))
    }
}

/// How inline bytes were sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inline {
    /// Number of bytes, 1 to [`MAX_INLINE_LEN`].
    pub len: usize,
    /// Data key that sealed them.
    pub key_id: u64,
    /// Nonce, random.
    pub nonce: [u8; 12],
    /// Tag over the bytes and what they are bound to.
    pub tag: [u8; 16],
}

impl Inline {
    /// The associated data of the seal of `len` bytes of file `ino` under a data key.
    pub fn identity(len: usize, key_id: u64, ino: u64) -> [u8; 24] {
        zerocopy::transmute!(InlineIdentity {
            kind: INLINE,
            suite: SUITE,
            codec: CODEC_NONE,
            reserved: 0,
            len: U16::new(len as u16),
            reserved2: U16::ZERO,
            key_id: U64::new(key_id),
            ino: U64::new(ino),
        })
    }

    /// Appends the row's value to `out`.
    pub fn encode(&self, ciphertext: &[u8], out: &mut Vec<u8>) {
        let raw = RawInline {
            kind: INLINE,
            suite: SUITE,
            codec: CODEC_NONE,
            reserved: 0,
            len: U16::new(self.len as u16),
            reserved2: U16::ZERO,
            key_id: U64::new(self.key_id),
            nonce: self.nonce,
            tag: self.tag,
        };
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(ciphertext);
    }

    fn parse(bytes: &[u8], first: u64) -> Result<(Inline, &[u8]), &'static str> {
        let (raw, ciphertext) = RawInline::read_from_prefix(bytes).map_err(|_| "inline length")?;
        if raw.suite != SUITE || raw.codec != CODEC_NONE || raw.reserved != 0 {
            return Err("inline suite");
        }
        let len = usize::from(raw.len.get());
        if !(1..=MAX_INLINE_LEN).contains(&len) || ciphertext.len() != len {
            return Err("inline bytes");
        }
        if raw.reserved2 != U16::ZERO || raw.key_id == U64::ZERO {
            return Err("inline key");
        }
        if first != 0 {
            return Err("inline bytes behind unit 0");
        }
        let inline = Inline { len, key_id: raw.key_id.get(), nonce: raw.nonce, tag: raw.tag };
        Ok((inline, ciphertext))
    }
}

/// Units of a file whose contents are gone: what a repair puts where it cannot tell a hole from
/// what was lost. Reading them fails; whole units may be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Units of the file.
    pub units: u64,
}

impl Lost {
    /// Appends the row's value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let raw = RawLost { kind: LOST, reserved: [0; 7], units: U64::new(self.units) };
        out.extend_from_slice(raw.as_bytes());
    }

    fn parse(bytes: &[u8], first: u64) -> Result<Lost, &'static str> {
        let raw = RawLost::read_from_bytes(bytes).map_err(|_| "length of a lost stretch")?;
        if raw.reserved != [0; 7] {
            return Err("lost stretch");
        }
        let units = raw.units.get();
        let end = first.checked_add(units).filter(|end| *end <= MAX_FILE_UNITS);
        match units > 0 && end.is_some() {
            true => Ok(Lost { units }),
            false => Err("lost stretch beyond the largest file"),
        }
    }
}

/// The checked value of a DATA row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataRow<'a> {
    /// An extent and its tags, [`UNIT_TAG_LEN`] bytes for each unit.
    Extent(Extent, &'a [u8]),
    /// Inline bytes and their ciphertext.
    Inline(Inline, &'a [u8]),
    /// A stretch of the file whose contents are gone.
    Lost(Lost),
}

impl<'a> DataRow<'a> {
    /// Reads the row that starts at unit `first` of file `ino`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the file and the offset.
    pub fn parse(ino: u64, first: u64, bytes: &'a [u8]) -> Result<DataRow<'a>> {
        let parsed = match bytes.first() {
            Some(&EXTENT) => Extent::parse(bytes, first).map(|(e, tags)| DataRow::Extent(e, tags)),
            Some(&INLINE) => Inline::parse(bytes, first).map(|(i, text)| DataRow::Inline(i, text)),
            Some(&LOST) => Lost::parse(bytes, first).map(DataRow::Lost),
            _ => Err("kind of contents"),
        };
        let object = Object::File { ino, offset: first.saturating_mul(UNIT as u64) };
        parsed.map_err(|why| Error::corrupt(object, why))
    }

    /// Units of the file that the row stands for.
    pub fn units(&self) -> u64 {
        match self {
            DataRow::Extent(extent, _) => u64::from(extent.units),
            DataRow::Inline(..) => 1,
            DataRow::Lost(lost) => lost.units,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Extent =
        Extent { units: 64, unit: 77, key_id: 5, first_tweak: u128::MAX - 2, birth: 9 };

    fn encoded(extent: &Extent) -> Vec<u8> {
        let tags: Vec<u8> = (0..extent.units as usize * UNIT_TAG_LEN).map(|n| n as u8).collect();
        let mut bytes = Vec::new();
        extent.encode(&tags, &mut bytes);
        bytes
    }

    #[test]
    fn extents_come_back_and_divide() {
        let bytes = encoded(&SAMPLE);
        let DataRow::Extent(extent, tags) = DataRow::parse(1, 3, &bytes).unwrap() else {
            panic!("not an extent");
        };
        assert_eq!((extent, tags.len()), (SAMPLE, 64 * UNIT_TAG_LEN));
        let part = extent.part(4, 10);
        assert_eq!((part.units, part.unit, part.first_tweak), (6, 81, 1));
        assert_eq!((part.key_id, part.birth), (5, 9));
    }

    #[test]
    fn inline_bytes_come_back() {
        let inline = Inline { len: 3, key_id: 5, nonce: [1; 12], tag: [2; 16] };
        let mut bytes = Vec::new();
        inline.encode(b"abc", &mut bytes);
        assert_eq!(DataRow::parse(1, 0, &bytes).unwrap(), DataRow::Inline(inline, b"abc"));
        assert!(DataRow::parse(1, 1, &bytes).is_err());
        assert_ne!(Inline::identity(3, 5, 1), Inline::identity(3, 5, 2));
        assert_ne!(Inline::identity(3, 5, 1), Inline::identity(2, 5, 1));
    }

    #[test]
    fn lost_stretches_come_back_and_stay_within_a_file() {
        let encoded = |units| {
            let mut bytes = Vec::new();
            Lost { units }.encode(&mut bytes);
            bytes
        };
        let bytes = encoded(70);
        assert_eq!(DataRow::parse(1, 5, &bytes).unwrap(), DataRow::Lost(Lost { units: 70 }));
        assert!(DataRow::parse(1, MAX_FILE_UNITS - 70, &bytes).is_ok());
        assert!(DataRow::parse(1, MAX_FILE_UNITS - 69, &bytes).is_err());
        assert!(DataRow::parse(1, 1, &encoded(u64::MAX)).is_err());
        assert!(DataRow::parse(1, 0, &encoded(0)).is_err());
        assert!(DataRow::parse(1, 0, &bytes[..15]).is_err());
        let mut bad = bytes;
        bad[3] = 1;
        assert!(DataRow::parse(1, 0, &bad).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let good = encoded(&SAMPLE);
        for cut in 0..good.len() {
            assert!(DataRow::parse(1, 0, &good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(DataRow::parse(1, MAX_FILE_UNITS - 64, &good).is_ok());
        assert!(DataRow::parse(1, MAX_FILE_UNITS - 63, &good).is_err());
        assert!(DataRow::parse(1, u64::MAX, &good).is_err());
        let mut far = good.clone();
        far[16..24].fill(0xff);
        assert!(DataRow::parse(1, 0, &far).is_err());
        // Kind, suite, codec, reserved, units, stored units, key, address.
        for (at, value) in [(0, 4), (1, 0), (2, 1), (3, 1), (4, 0), (6, 1), (8, 0), (23, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            let error = DataRow::parse(7, 2, &bad).unwrap_err();
            let object = Object::File { ino: 7, offset: 8192 };
            assert!(matches!(error, Error::Corrupt { object: o, .. } if o == object), "{at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            kind in 0u8..5,
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            first in proptest::prelude::any::<u64>(),
        ) {
            let bytes = [&[kind, 1, 0, 0][..], &rest].concat();
            if let Ok(row) = DataRow::parse(1, first, &bytes) {
                proptest::prop_assert!(first + row.units() <= MAX_FILE_UNITS);
            }
        }
    }
}
