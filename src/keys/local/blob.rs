//! The blob of a key that `LocalKms` wrapped.
//!
//! ```text
//! byte 0       1, the version of this layout
//! bytes 1-16   id of the wrapping key
//! bytes 17-20  version of the wrapping key, little-endian
//! bytes 21-28  a value derived from the wrapping key and the encryption context
//! bytes 29-40  nonce
//! bytes 41-56  tag
//! bytes 57-88  the wrapped key, sealed with AES-256-GCM-SIV
//! ```
//!
//! The value tells another encryption context, which the caller can mend, from damage. It says
//! nothing to who does not hold the wrapping key, and proves nothing: the seal does.
//!
//! The associated data binds the layout, the service, the wrapping key, its version, and the
//! encryption context in canonical form.

use crate::crypto::{self, Label, Rng, SealKey};
use crate::error::{Error, Object, Result};
use crate::secret::{Secret, ct_eq};

use super::sealed::SealedKey;
use crate::keys::EncryptionContext;

const LAYOUT: u8 = 1;
const LEN: usize = 1 + 16 + 4 + 8 + SealedKey::LEN;

/// A parsed blob. Nothing in it is proven until [`Blob::open`] succeeds.
pub(super) struct Blob {
    /// Id of the wrapping key.
    pub key: [u8; 16],
    /// Version of the wrapping key.
    pub version: u32,
    /// What recognizes the context.
    context: [u8; 8],
    sealed: SealedKey,
}

impl Blob {
    /// Wraps `secret` under version `version`, with material `material`, of a key.
    pub(super) fn seal(
        service: &[u8; 16],
        (key, version, material): (&[u8; 16], u32, &Secret<32>),
        context: &EncryptionContext,
        secret: &Secret<32>,
        rng: &Rng,
    ) -> Result<Self> {
        let aad = aad(service, key, version, context);
        let sealed = SealedKey::seal(&SealKey::new(material.expose()), &aad, secret, rng)?;
        let context = recognize(service, material, context);
        Ok(Blob { key: *key, version, context, sealed })
    }

    /// The wrapped key, where `material`, the service and the context are those it was wrapped
    /// under.
    ///
    /// # Errors
    /// `WrongContext`; `Corrupt` where it is not the context.
    pub(super) fn open(
        &self,
        service: &[u8; 16],
        material: &Secret<32>,
        context: &EncryptionContext,
    ) -> Result<Secret<32>> {
        if !ct_eq(&self.context, &recognize(service, material, context)) {
            return Err(Error::WrongContext);
        }
        let aad = aad(service, &self.key, self.version, context);
        let opened = self.sealed.open(&SealKey::new(material.expose()), &aad);
        opened.ok_or_else(|| corrupt("it does not authenticate"))
    }

    pub(super) fn to_bytes(&self) -> [u8; LEN] {
        let mut bytes = [LAYOUT; LEN];
        bytes[1..17].copy_from_slice(&self.key);
        bytes[17..21].copy_from_slice(&self.version.to_le_bytes());
        bytes[21..29].copy_from_slice(&self.context);
        bytes[29..].copy_from_slice(&self.sealed.to_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (&layout, rest) = bytes.split_first().ok_or_else(|| corrupt("it is empty"))?;
        if layout != LAYOUT {
            return Err(Error::Unsupported("a wrapped key in a later layout"));
        }
        let fields = rest.split_first_chunk::<16>().and_then(|(key, rest)| {
            let (version, rest) = rest.split_first_chunk::<4>()?;
            let (context, sealed) = rest.split_first_chunk::<8>()?;
            Some((key, version, context, <&[u8; SealedKey::LEN]>::try_from(sealed).ok()?))
        });
        let (key, version, context, sealed) =
            fields.ok_or_else(|| corrupt("it has the wrong length"))?;
        Ok(Blob {
            key: *key,
            version: u32::from_le_bytes(*version),
            context: *context,
            sealed: SealedKey::from_bytes(sealed),
        })
    }
}

fn recognize(service: &[u8; 16], material: &Secret<32>, context: &EncryptionContext) -> [u8; 8] {
    let mut value = [0; 8];
    crypto::derive(material, service, Label::KmsContext, &context.canonical(), &mut value);
    value
}

fn aad(service: &[u8; 16], key: &[u8; 16], version: u32, context: &EncryptionContext) -> Vec<u8> {
    let fixed = [b"efscrypt-kms/1/wrap", &service[..], key, &version.to_le_bytes()].concat();
    [fixed, context.canonical()].concat()
}

fn corrupt(why: &'static str) -> Error {
    Error::corrupt(Object::WrappedKey, why)
}
