//! What a provider tells about one of its keys.

use std::fmt;

/// Whether a provider key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// Wraps and unwraps.
    Enabled,
    /// Refuses both until it is enabled again.
    Disabled,
    /// Refuses both, and its material is destroyed at a date unless the deletion is cancelled.
    PendingDeletion {
        /// When the material is destroyed, seconds since 1970-01-01 00:00:00 UTC.
        at: u64,
    },
}

impl KeyState {
    /// The state in words: `enabled`, `disabled` or `pending deletion`.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
            KeyState::PendingDeletion { .. } => "pending deletion",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A provider key, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The provider's name.
    pub provider: String,
    /// The key's id, which never changes.
    pub id: String,
    /// Other names of the key, sorted, as they are given to the provider.
    pub aliases: Vec<String>,
    /// Whether it may be used.
    pub state: KeyState,
    /// Version that wraps now; 1 until the key is rotated. 0 where the provider does not say.
    pub version: u32,
    /// When the key was created, seconds since 1970-01-01 00:00:00 UTC. 0 where unknown.
    pub created: u64,
    /// When the version that wraps now was created, in the same unit. 0 where unknown.
    pub rotated: u64,
}

impl KeyDescription {
    /// A description with no alias, version 0 and unknown dates, for a provider to fill in.
    pub fn new(provider: &str, id: &str, state: KeyState) -> Self {
        KeyDescription {
            provider: provider.to_owned(),
            id: id.to_owned(),
            aliases: Vec::new(),
            state,
            version: 0,
            created: 0,
            rotated: 0,
        }
    }
}
