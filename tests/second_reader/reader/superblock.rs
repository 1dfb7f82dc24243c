//! Section 5: the superblock; section 3.1: wrapped KEKs.

use std::collections::BTreeMap;

use super::Result;
use super::crypto::{Seal, subkey};
use super::fields::{u16_at, u32_at, u64_at};

const SLOT: usize = 16_384;
const BODY: std::ops::Range<usize> = 9216..14_040;
const MAGIC: [u8; 8] = [0x89, 0x45, 0x46, 0x53, 0x43, 0x0d, 0x0a, 0x1a];

#[derive(Clone, Copy, PartialEq)]
pub enum Domain {
    Meta = 1,
    Data = 2,
}

/// A superblock in its slot, and its body once it is open.
pub struct Superblock {
    slot: Vec<u8>,
    pub store_id: [u8; 16],
    pub key_epoch: u32,
}

/// The key slot of a domain.
pub struct KeySlot<'a>(&'a [u8]);

/// What a provider is shown of a wrapped KEK.
pub struct Wrapped<'a> {
    pub provider: &'a str,
    pub key_id: &'a str,
    pub blob: &'a [u8],
}

enum Slot {
    Absent,
    Newer,
    Sound(Vec<u8>),
}

/// The superblocks of an image, still sealed: by generation, newest first.
pub fn find(image: &[u8]) -> Result<Vec<Vec<Superblock>>> {
    let (mut sound, mut newer): (Vec<Vec<u8>>, [Vec<usize>; 2]) = Default::default();
    for (place, newer) in newer.iter_mut().enumerate() {
        for number in 0..8 {
            let at = 262_144 * place + SLOT * number;
            let Some(slot) = image.get(at..at + SLOT) else { continue };
            match parse(slot, place as u8, number as u8) {
                Slot::Absent => {}
                Slot::Newer => newer.push(number),
                Slot::Sound(slot) => sound.push(slot),
            }
        }
    }
    if newer[0].iter().any(|number| newer[1].contains(number)) {
        return Err("a newer version".into());
    }
    let mut generations: BTreeMap<u64, Vec<Superblock>> = BTreeMap::new();
    for slot in sound {
        let generation = generations.entry(u64_at(&slot, 56)).or_default();
        generation.push(Superblock {
            store_id: slot[16..32].try_into().expect("16 bytes"),
            key_epoch: u32_at(&slot, 64),
            slot,
        });
    }
    Ok(generations.into_values().rev().collect())
}

fn parse(slot: &[u8], place: u8, number: u8) -> Slot {
    if slot[..8] != MAGIC {
        return Slot::Absent;
    }
    if u32_at(slot, 8) != 1 {
        return Slot::Newer;
    }
    let mut zeroed = slot.to_vec();
    zeroed[124..128].fill(0);
    let there =
        (slot[12], slot[13]) == (place, number) && u64_at(slot, 56) % 8 == u64::from(number);
    if crc32fast::hash(&zeroed) != u32_at(slot, 124) || !there {
        return Slot::Absent;
    }
    if slot[14] != 1 || u64_at(slot, 48) != 0 {
        return Slot::Newer;
    }
    Slot::Sound(slot.to_vec())
}

/// The canonical encryption context of a store without pairs of its caller's.
pub fn context(store: &[u8; 16], domain: Domain) -> Vec<u8> {
    let id: String = store.iter().map(|byte| format!("{byte:02x}")).collect();
    let word = if domain == Domain::Meta { "META" } else { "DATA" };
    let mut out = 2u16.to_le_bytes().to_vec();
    for text in ["efscrypt:domain", word, "efscrypt:filesystem:id", &id] {
        out.extend((text.len() as u16).to_le_bytes());
        out.extend(text.as_bytes());
    }
    out
}

impl Superblock {
    pub fn store_id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The slot of a domain's newest KEK.
    pub fn key(&self, domain: Domain) -> Result<KeySlot<'_>> {
        let slots = self.slot[128..8576].chunks_exact(2112);
        let slots = slots.filter(|slot| slot[0] == domain as u8);
        slots.max_by_key(|slot| u32_at(slot, 4)).map(KeySlot).ok_or("no key slot".into())
    }

    /// Opens the body in place, under a version of the META KEK.
    pub fn open(mut self, meta: &[u8; 32], version: u32) -> Result<Superblock> {
        if version != self.key_epoch {
            return Err("sealed under another KEK".into());
        }
        let key = subkey(meta, &self.store_id, "meta-superblock", &version.to_le_bytes());
        open_body(&Seal::new(&key), &mut self.slot)?;
        Ok(self)
    }

    fn field(&self, at: usize) -> u64 {
        u64_at(&self.slot[BODY], at)
    }

    /// Refuses a layout that no store has, and a device that is too short.
    pub fn check(&self, image: &[u8]) -> Result<()> {
        let (log, units) = (self.log_len(), self.pool_units());
        let sound = self.field(72) == 524_288
            && (524_288..=1 << 30).contains(&log)
            && log.is_multiple_of(4096)
            && self.log_head() < log
            && self.log_head().is_multiple_of(4096)
            && self.pool_base() == (524_288 + log) / 4096
            && (1024..=128 * 126 * 126 * 16_384).contains(&units);
        if !sound || self.field(64) >= 1 << 23 {
            return Err("layout".into());
        }
        match self.field(144) <= image.len() as u64 {
            true => Ok(()),
            false => Err("truncated".into()),
        }
    }

    pub fn root(&self) -> &[u8] {
        &self.slot[BODY][..64]
    }

    pub fn log_len(&self) -> u64 {
        self.field(80)
    }

    pub fn log_head(&self) -> u64 {
        self.field(88)
    }

    pub fn log_seq(&self) -> u64 {
        self.field(96)
    }

    pub fn log_tag(&self) -> [u8; 16] {
        self.slot[BODY][104..120].try_into().expect("16 bytes")
    }

    pub fn pool_base(&self) -> u64 {
        self.field(120)
    }

    pub fn pool_units(&self) -> u64 {
        self.field(128)
    }

    pub fn used_units(&self) -> u64 {
        self.field(136)
    }

    pub fn handle_key(&self) -> &[u8; 32] {
        self.slot[BODY][152..184].try_into().expect("32 bytes")
    }

    pub fn name_key(&self) -> &[u8; 32] {
        self.slot[BODY][184..216].try_into().expect("32 bytes")
    }

    pub fn log_applied(&self) -> u64 {
        self.field(224)
    }

    /// Entries of the highest level of the space map.
    pub fn space(&self) -> impl Iterator<Item = &[u8]> {
        self.slot[BODY][728..].chunks_exact(32)
    }
}

fn open_body(seal: &Seal, slot: &mut [u8]) -> Result<()> {
    let (nonce, tag) = (slot[96..108].to_vec(), slot[108..124].to_vec());
    let mut aad = slot[..BODY.start].to_vec();
    aad[96..128].fill(0);
    seal.open(&nonce, &aad, &mut slot[BODY], &tag)
}

impl<'a> KeySlot<'a> {
    pub fn version(&self) -> u32 {
        u32_at(self.0, 4)
    }

    pub fn commitment(&self) -> [u8; 32] {
        self.0[32..64].try_into().expect("32 bytes")
    }

    /// The encoding of section 3.1.
    pub fn wrapped(&self) -> Result<Wrapped<'a>> {
        let len = u16_at(self.0, 2);
        let bytes = self.0[64..].get(..len).ok_or("length of a wrapped KEK")?;
        let (&[version, name], rest) = bytes.split_first_chunk::<2>().ok_or("wrapped KEK")?;
        let (provider, rest) = rest.split_at_checked(name.into()).ok_or("provider's name")?;
        let (key_id, rest) = take(rest)?;
        let (blob, rest) = take(rest)?;
        if version != 1 || !rest.is_empty() {
            return Err("encoding of a wrapped KEK".into());
        }
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| "not UTF-8");
        Ok(Wrapped { provider: text(provider)?, key_id: text(key_id)?, blob })
    }
}

fn take(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>().ok_or("a length")?;
    rest.split_at_checked(u16::from_le_bytes(*len).into()).ok_or("a field".into())
}
