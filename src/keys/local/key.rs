//! A provider key as it stands in the key service file: id, names, state, versions.

use serde::{Deserialize, Serialize};

use crate::crypto::{Rng, SealKey};
use crate::error::{Error, Object, Result};
use crate::secret::Secret;

use super::PROVIDER;
use super::bytes::Hex;
use super::sealed::SealedKey;
use crate::keys::hex;
use crate::keys::{KeyDescription, KeyState};

/// Beginning of every alias.
const ALIAS_PREFIX: &str = "alias/";
/// Longest alias, bytes, with its prefix.
const MAX_ALIAS_LEN: usize = 256;

/// What a caller calls a key.
pub(super) enum KeyName<'a> {
    Id([u8; 16]),
    /// With its prefix.
    Alias(&'a str),
}

impl<'a> KeyName<'a> {
    /// `None` for what no key can be called.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        if name.starts_with(ALIAS_PREFIX) {
            return Some(KeyName::Alias(name));
        }
        let mut id = [0; 16];
        hex::decode_into(name.as_bytes(), &mut id).then_some(KeyName::Id(id))
    }
}

/// A key of the service. Versions are ascending and there is always one; the last one wraps.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRecord {
    pub id: Hex<16>,
    pub aliases: Vec<String>,
    pub state: StateRecord,
    pub versions: Vec<VersionRecord>,
}

/// Whether the key may be used. Dates are seconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StateRecord {
    Enabled,
    Disabled,
    PendingDeletion { at: u64 },
}

/// One version of a key's material. Old versions are kept for unwrap.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionRecord {
    pub version: u32,
    pub created: u64,
    material: SealedKey,
}

/// What seals key material, and for which service.
pub(super) struct Sealer<'a> {
    pub key: &'a SealKey,
    pub service: &'a [u8; 16],
}

impl KeyRecord {
    /// A new key with version 1.
    pub(super) fn create(sealer: &Sealer<'_>, rng: &Rng, now: u64) -> Result<Self> {
        let mut id = Hex([0; 16]);
        rng.fill(&mut id.0)?;
        let mut key =
            KeyRecord { id, aliases: Vec::new(), state: StateRecord::Enabled, versions: vec![] };
        key.add_version(sealer, rng, now)?;
        Ok(key)
    }

    /// Adds a version with new material, which wraps from now on.
    pub(super) fn add_version(&mut self, sealer: &Sealer<'_>, rng: &Rng, now: u64) -> Result<()> {
        let last = self.versions.last().map_or(0, |v| v.version);
        let version = last.checked_add(1).ok_or(corrupt("a key has its last version"))?;
        let aad = material_aad(sealer.service, &self.id.0, version);
        let material = SealedKey::seal(sealer.key, &aad, &rng.secret()?, rng)?;
        self.versions.push(VersionRecord { version, created: now, material });
        Ok(())
    }

    /// Number and material of the version that wraps.
    pub(super) fn newest(&self, sealer: &Sealer<'_>) -> Result<(u32, Secret<32>)> {
        let newest = self.versions.last().ok_or(corrupt("a key without a version"))?;
        Ok((newest.version, self.material(sealer, newest)?))
    }

    /// Material of a version.
    pub(super) fn version(&self, sealer: &Sealer<'_>, version: u32) -> Result<Secret<32>> {
        let found = self.versions.iter().find(|v| v.version == version);
        let found = found.ok_or_else(|| {
            Error::KeyNotFound(format!("{} version {version}", hex::encode(&self.id.0)))
        })?;
        self.material(sealer, found)
    }

    fn material(&self, sealer: &Sealer<'_>, version: &VersionRecord) -> Result<Secret<32>> {
        let aad = material_aad(sealer.service, &self.id.0, version.version);
        let material = version.material.open(sealer.key, &aad);
        material.ok_or_else(|| corrupt("key material does not authenticate"))
    }

    /// Refuses a key that may not be used.
    pub(super) fn check_enabled(&self) -> Result<()> {
        match self.state() {
            KeyState::Enabled => Ok(()),
            other => Err(self.refuse(other)),
        }
    }

    /// Refuses a key whose deletion is under way.
    pub(super) fn check_staying(&self) -> Result<()> {
        match self.state() {
            state @ KeyState::PendingDeletion { .. } => Err(self.refuse(state)),
            _ => Ok(()),
        }
    }

    fn refuse(&self, state: KeyState) -> Error {
        Error::KeyDisabled { id: hex::encode(&self.id.0), state: state.as_str() }
    }

    /// Whether the date of its deletion has come, so that it counts as gone.
    pub(super) fn is_expired(&self, now: u64) -> bool {
        matches!(self.state, StateRecord::PendingDeletion { at } if at <= now)
    }

    /// Whether it is the key of that name.
    pub(super) fn is_named(&self, name: &KeyName<'_>) -> bool {
        match name {
            KeyName::Id(id) => self.id.0 == *id,
            KeyName::Alias(name) => self.aliases.iter().any(|alias| alias == name),
        }
    }

    fn state(&self) -> KeyState {
        match self.state {
            StateRecord::Enabled => KeyState::Enabled,
            StateRecord::Disabled => KeyState::Disabled,
            StateRecord::PendingDeletion { at } => KeyState::PendingDeletion { at },
        }
    }

    pub(super) fn describe(&self) -> KeyDescription {
        let mut description = KeyDescription::new(PROVIDER, &hex::encode(&self.id.0), self.state());
        description.aliases.clone_from(&self.aliases);
        description.aliases.sort_unstable();
        description.created = self.versions.first().map_or(0, |v| v.created);
        if let Some(newest) = self.versions.last() {
            description.version = newest.version;
            description.rotated = newest.created;
        }
        description
    }

    /// What the rest relies on, for a record that came from a file.
    pub(super) fn is_well_formed(&self) -> bool {
        self.aliases.iter().all(|alias| check_alias(alias).is_ok())
            && self.versions.first().is_some_and(|v| v.version > 0)
            && self.versions.windows(2).all(|pair| pair[0].version < pair[1].version)
    }
}

/// Refuses what cannot be an alias: `alias/`, then 1 to 250 of A-Z a-z 0-9 `_` `-` `.` `/`.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
    match alias.strip_prefix(ALIAS_PREFIX) {
        Some(name)
            if !name.is_empty() && alias.len() <= MAX_ALIAS_LEN && name.bytes().all(is_plain) =>
        {
            Ok(())
        }
        _ => Err(Error::InvalidArgument("an alias is alias/ and 1 to 250 of A-Z a-z 0-9 _ - . /")),
    }
}

/// Ties material to its service, key and version.
fn material_aad(service: &[u8; 16], id: &[u8; 16], version: u32) -> Vec<u8> {
    [b"efscrypt-kms/1/key", &service[..], id, &version.to_le_bytes()].concat()
}

fn corrupt(why: &'static str) -> Error {
    Error::corrupt(Object::KeyService, why)
}
