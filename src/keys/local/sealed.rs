//! A 256-bit key sealed under another with AES-256-GCM-SIV (RFC 8452) and a random nonce.

use serde::{Deserialize, Serialize};

use crate::crypto::{Rng, SealKey};
use crate::error::Result;
use crate::secret::Secret;

use super::bytes::Hex;

/// A sealed key. What it is, and where it belongs, is bound by the AAD of whoever seals it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedKey {
    nonce: Hex<12>,
    sealed: Hex<32>,
    tag: Hex<16>,
}

impl SealedKey {
    /// Bytes of the binary form: nonce, tag, sealed key.
    pub(super) const LEN: usize = 12 + 16 + 32;

    pub(super) fn seal(key: &SealKey, aad: &[u8], secret: &Secret<32>, rng: &Rng) -> Result<Self> {
        let nonce = rng.nonce()?;
        let mut sealed = *secret.expose();
        let tag = key.seal(&nonce, aad, &mut sealed);
        Ok(SealedKey { nonce: Hex(nonce), sealed: Hex(sealed), tag: Hex(tag) })
    }

    /// The key, or `None` where it does not authenticate under `key` and `aad`.
    pub(super) fn open(&self, key: &SealKey, aad: &[u8]) -> Option<Secret<32>> {
        let mut secret = Secret::zeroed();
        secret.expose_mut().copy_from_slice(&self.sealed.0);
        key.open(&self.nonce.0, aad, secret.expose_mut(), &self.tag.0).ok()?;
        Some(secret)
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..12].copy_from_slice(&self.nonce.0);
        bytes[12..28].copy_from_slice(&self.tag.0);
        bytes[28..].copy_from_slice(&self.sealed.0);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut key = SealedKey { nonce: Hex([0; 12]), sealed: Hex([0; 32]), tag: Hex([0; 16]) };
        key.nonce.0.copy_from_slice(&bytes[..12]);
        key.tag.0.copy_from_slice(&bytes[12..28]);
        key.sealed.0.copy_from_slice(&bytes[28..]);
        key
    }
}
