//! A check without any key: what the clear headers, their crcs and the wrapped keys show.
//!
//! It finds what rot, torn writes and lost blocks did. It cannot find a forgery, since anyone can
//! make a crc fit, nor say of a node whether the store still uses it: the pointers are sealed. So
//! a node or page whose crc does not fit is a *suspect*: damaged, or given back and since then
//! overwritten in part.

use std::fmt;

use crate::block::{Found, RingSlot, SlotState, inspect_ring, scan};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{KeySlot, RING_SLOTS, UnverifiedSuperblock};
use crate::keys::{Domain, WrappedKey};
use crate::txn::MAX_DAMAGED;

/// First unit behind both places of the superblock ring.
const BEHIND_RING: u64 = 128;

/// What a check without keys saw and found.
#[derive(Debug, Default)]
pub struct KeylessReport {
    /// The store's identity.
    pub id: [u8; 16],
    /// The newest checkpoint that a sound superblock says it is.
    pub generation: u64,
    /// Superblocks whose crc fits, in both places together.
    pub superblocks: u64,
    /// Wrapped keys of the newest superblock.
    pub keys: Vec<KeylessKey>,
    /// Nodes whose crc fits, whether the store still uses them or not.
    pub nodes: u64,
    /// Pages of the space map whose crc fits.
    pub pages: u64,
    /// Headers of log records. They have no crc.
    pub records: u64,
    /// First units of nodes and pages whose crc does not fit.
    pub suspects: Vec<u64>,
    /// How many more of those, and of units that cannot be read, are not listed: 1000 are.
    pub unlisted: u64,
    /// What is wrong.
    pub findings: Vec<KeylessFinding>,
}

/// A wrapped key.
#[derive(Debug)]
pub struct KeylessKey {
    /// What the KEK is for.
    pub domain: Domain,
    /// Version of the KEK.
    pub version: u32,
    /// Name of the provider that wrapped it.
    pub provider: String,
    /// Id of the provider key that wrapped it.
    pub key_id: String,
}

/// Something that a check without keys found wrong.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by what they are; the text explains each")]
pub enum KeylessFinding {
    /// A superblock that is torn or damaged.
    Superblock { place: u8, slot: u8 },
    /// A superblock that the device does not read.
    SuperblockUnread { place: u8, slot: u8 },
    /// A superblock that needs a newer version, or whose version is damaged.
    SuperblockNewer { place: u8, slot: u8 },
    /// The newest superblock stands in one place only.
    OnePlace { place: u8 },
    /// A superblock that says it is another store's.
    Foreign { place: u8, slot: u8 },
    /// A wrapped key that is not in the form that providers give.
    Key { slot: usize },
    /// A domain without a wrapped key.
    NoKey { domain: Domain },
    /// Units that the device does not read.
    Unread { unit: u64, units: u64 },
}

impl fmt::Display for KeylessFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use KeylessFinding as F;
        match self {
            F::Superblock { place, slot } => {
                write!(f, "superblock slot {slot} of place {place} is torn or damaged")
            }
            F::SuperblockUnread { place, slot } => {
                write!(f, "superblock slot {slot} of place {place} cannot be read")
            }
            F::SuperblockNewer { place, slot } => {
                write!(f, "superblock slot {slot} of place {place} asks for a newer version")
            }
            F::OnePlace { place } => {
                write!(f, "the newest superblock stands in place {place} only")
            }
            F::Foreign { place, slot } => {
                write!(f, "superblock slot {slot} of place {place} is of another store")
            }
            F::Key { slot } => write!(f, "key slot {slot} holds no wrapped key"),
            F::NoKey { domain: Domain::Meta } => write!(f, "there is no wrapped key for metadata"),
            F::NoKey { domain: Domain::Data } => write!(f, "there is no wrapped key for contents"),
            F::Unread { unit, units: 1 } => write!(f, "unit {unit} cannot be read"),
            F::Unread { unit, units } => write!(f, "{units} units from {unit} cannot be read"),
        }
    }
}

impl KeylessReport {
    /// Whether nothing is wrong, as far as that shows without a key. Suspects leave it so.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks what stands in the clear: superblocks, wrapped keys, and the header and crc of each node
/// and space page on the device. Needs no key, writes nothing, and reads the whole device once.
/// Somebody who changes the store meanwhile makes suspects.
///
/// # Errors
/// [`Error::NotAStore`] where no superblock begins as one; [`Error::Corrupt`] where some do and
/// none is sound; [`Error::Unsupported`] where all that are sound need a newer version; those of
/// a device that does not say how long it is.
pub fn check_keyless(device: &dyn Device) -> Result<KeylessReport> {
    let slots = inspect_ring(device)?;
    let newest = newest(&slots)?;
    let header = &newest.header;
    let mut report = KeylessReport {
        id: header.store_id,
        generation: header.generation.get(),
        ..KeylessReport::default()
    };
    report.ring(&slots, newest);
    report.wraps(&newest.keys);
    scan(device, &header.store_id, BEHIND_RING, u64::MAX, |_| true, &mut |unit, found| {
        report.block(unit, &found);
    })?;
    Ok(report)
}

/// The sound slot of the highest generation.
fn newest(slots: &[RingSlot]) -> Result<&UnverifiedSuperblock> {
    let sound = slots.iter().filter_map(|slot| match &slot.state {
        SlotState::Sound(found) => Some(&**found),
        _ => None,
    });
    let has = |state: fn(&SlotState) -> bool| slots.iter().any(|slot| state(&slot.state));
    sound.max_by_key(|found| found.header.generation.get()).ok_or_else(|| {
        if has(|state| matches!(state, SlotState::Newer)) {
            Error::Unsupported("its format version is unknown")
        } else if has(|state| matches!(state, SlotState::Torn)) {
            Error::corrupt(Object::Store, "no sound superblock is left")
        } else {
            Error::NotAStore
        }
    })
}

impl KeylessReport {
    fn ring(&mut self, slots: &[RingSlot], newest: &UnverifiedSuperblock) {
        let mut places = Vec::new();
        for &RingSlot { place, slot, ref state } in slots {
            let finding = match state {
                SlotState::Empty => continue,
                SlotState::Sound(found) if found.header.store_id != newest.header.store_id => {
                    KeylessFinding::Foreign { place, slot }
                }
                SlotState::Sound(found) => {
                    self.superblocks += 1;
                    if found.header.generation == newest.header.generation {
                        places.push(place);
                    }
                    continue;
                }
                SlotState::Newer => KeylessFinding::SuperblockNewer { place, slot },
                SlotState::Torn | SlotState::Other => KeylessFinding::Superblock { place, slot },
                SlotState::Unread => KeylessFinding::SuperblockUnread { place, slot },
            };
            self.findings.push(finding);
        }
        if let [place] = places[..] {
            self.findings.push(KeylessFinding::OnePlace { place });
        }
        debug_assert!(self.superblocks <= 2 * RING_SLOTS);
    }

    fn wraps(&mut self, keys: &[KeySlot]) {
        for (slot, key) in keys.iter().enumerate().filter(|(_, key)| key.domain != 0) {
            let domain = match key.domain {
                1 => Some(Domain::Meta),
                2 => Some(Domain::Data),
                _ => None,
            };
            match (domain, WrappedKey::decode(key.wrapped())) {
                (Some(domain), Ok(wrapped)) => self.keys.push(KeylessKey {
                    domain,
                    version: key.version.get(),
                    provider: wrapped.provider().to_owned(),
                    key_id: wrapped.key_id().to_owned(),
                }),
                _ => self.findings.push(KeylessFinding::Key { slot }),
            }
        }
        for domain in [Domain::Meta, Domain::Data] {
            if !self.keys.iter().any(|key| key.domain == domain) {
                self.findings.push(KeylessFinding::NoKey { domain });
            }
        }
    }

    fn block(&mut self, unit: u64, found: &Found<'_>) {
        match found {
            Found::Node(_, _, true) => self.nodes += 1,
            Found::Page(true) => self.pages += 1,
            Found::Node(_, _, false) | Found::Page(false) => {
                match self.suspects.len() < MAX_DAMAGED {
                    true => self.suspects.push(unit),
                    false => self.unlisted += 1,
                }
            }
            Found::Record => self.records += 1,
            Found::Unread => self.unread(unit),
        }
    }

    fn unread(&mut self, unit: u64) {
        let full = self.findings.len() >= MAX_DAMAGED;
        match self.findings.last_mut() {
            Some(KeylessFinding::Unread { unit: first, units }) if *first + *units == unit => {
                *units += 1;
            }
            _ if full => self.unlisted += 1,
            _ => self.findings.push(KeylessFinding::Unread { unit, units: 1 }),
        }
    }
}
