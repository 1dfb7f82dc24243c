//! Wrapped data keys: a 32-byte key sealed under a subkey of a DATA KEK, bound to where it
//! belongs; and the commitment by which a KEK is recognized.
//!
//! GCM-SIV does not commit to its key, so each KEK version has a commitment that is compared
//! before anything is unwrapped under it: a wrong key and damaged bytes are told apart.

use std::sync::Arc;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::aead::{AuthError, SealKey};
use super::arena::{KeyArena, Slot};
use super::kdf::{Label, derive};
use super::rng::Rng;
use crate::error::Result;
use crate::secret::{Secret, ct_eq};

/// Which of a store's two hierarchies a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Domain {
    /// Names, directories, inodes: the service's key.
    Meta = 1,
    /// File contents: the customer's key.
    Data = 2,
}

/// What a wrapped key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// The data key of a file.
    DataKey = 1,
}

/// Version of the wrap record.
const RECORD_VERSION: u8 = 1;

/// What a wrap is bound to. A wrapped key opens only where all of it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapContext {
    /// Id of the store.
    pub store_id: [u8; 16],
    /// Id of the wrapped key in the store.
    pub key_id: u64,
    /// Domain of the KEK.
    pub domain: Domain,
    /// Version of the KEK.
    pub kek_version: u32,
    /// Suite that the wrapped key is used with.
    pub suite: u8,
    /// What the wrapped key is for.
    pub purpose: Purpose,
}

/// A wrapped 32-byte key as it is stored: 60 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct WrappedKey {
    /// Random nonce.
    pub nonce: [u8; 12],
    /// The key's ciphertext.
    pub key: [u8; 32],
    /// Tag over the key and the context.
    pub tag: [u8; 16],
}

const _: () = assert!(size_of::<WrappedKey>() == 60);

/// The associated data of a wrap: [`WrapContext`] as bytes.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Binding {
    record_version: u8,
    suite: u8,
    domain: u8,
    purpose: u8,
    kek_version: U32,
    key_id: U64,
    store_id: [u8; 16],
}

const _: () = assert!(size_of::<Binding>() == 32);

impl WrapContext {
    fn binding(&self) -> Binding {
        Binding {
            record_version: RECORD_VERSION,
            suite: self.suite,
            domain: self.domain as u8,
            purpose: self.purpose as u8,
            kek_version: U32::new(self.kek_version),
            key_id: U64::new(self.key_id),
            store_id: self.store_id,
        }
    }
}

/// The wrapping subkey of one version of a DATA KEK.
pub struct WrapKey {
    seal: SealKey,
}

impl WrapKey {
    /// Derives the subkey, in the arena.
    ///
    /// # Errors
    /// As [`KeyArena::place`].
    pub fn derive(
        arena: &Arc<KeyArena>,
        kek: &Secret<32>,
        store_id: &[u8; 16],
        kek_version: u32,
    ) -> Result<Slot<WrapKey>> {
        let mut key = Secret::<32>::zeroed();
        derive(kek, store_id, Label::DataWrap, &kek_version.to_le_bytes(), key.expose_mut());
        arena.place(|| Ok(WrapKey { seal: SealKey::new(key.expose()) }))
    }

    /// Wraps a data key under a fresh nonce.
    ///
    /// # Errors
    /// As [`Rng::fill`].
    pub fn wrap(&self, rng: &Rng, context: &WrapContext, key: &Secret<32>) -> Result<WrappedKey> {
        let mut wrapped = WrappedKey { nonce: rng.nonce()?, key: [0; 32], tag: [0; 16] };
        let mut buf = Secret::<32>::zeroed();
        buf.expose_mut().copy_from_slice(key.expose());
        let aad = context.binding();
        wrapped.tag = self.seal.seal(&wrapped.nonce, aad.as_bytes(), buf.expose_mut());
        wrapped.key.copy_from_slice(buf.expose());
        Ok(wrapped)
    }

    /// Unwraps a data key.
    ///
    /// # Errors
    /// [`AuthError`] if the record is damaged, or was wrapped under another KEK, store, key id,
    /// domain, version, suite or purpose.
    pub fn unwrap(
        &self,
        context: &WrapContext,
        wrapped: &WrappedKey,
    ) -> std::result::Result<Secret<32>, AuthError> {
        let mut key = Secret::<32>::zeroed();
        key.expose_mut().copy_from_slice(&wrapped.key);
        let aad = context.binding();
        self.seal.open(&wrapped.nonce, aad.as_bytes(), key.expose_mut(), &wrapped.tag)?;
        Ok(key)
    }
}

/// The public commitment to one version of a KEK: equal for no other key, and tells nothing
/// about this one.
pub fn commitment(kek: &Secret<32>, store_id: &[u8; 16], domain: Domain, version: u32) -> [u8; 32] {
    let label = match domain {
        Domain::Meta => Label::MetaCommit,
        Domain::Data => Label::DataCommit,
    };
    let mut out = [0u8; 32];
    derive(kek, store_id, label, &version.to_le_bytes(), &mut out);
    out
}

/// Whether `stored` is the commitment to this KEK; compared in constant time.
pub fn commits_to(
    stored: &[u8; 32],
    kek: &Secret<32>,
    store_id: &[u8; 16],
    domain: Domain,
    version: u32,
) -> bool {
    ct_eq(stored, &commitment(kek, store_id, domain, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [3; 16];
    const CONTEXT: WrapContext = WrapContext {
        store_id: STORE,
        key_id: 42,
        domain: Domain::Data,
        kek_version: 7,
        suite: 1,
        purpose: Purpose::DataKey,
    };

    fn setup() -> (Slot<WrapKey>, Rng, Secret<32>) {
        let arena = KeyArena::new().unwrap();
        let kek = Secret::from_slice(&[5; 32]).unwrap();
        let rng = Rng::seeded(&arena, 1).unwrap();
        let dek = rng.secret().unwrap();
        (WrapKey::derive(&arena, &kek, &STORE, 7).unwrap(), rng, dek)
    }

    #[test]
    fn a_wrapped_key_comes_back() {
        let (slot, rng, dek) = setup();
        let key = slot.get().unwrap();
        let wrapped = key.wrap(&rng, &CONTEXT, &dek).unwrap();
        assert!(key.unwrap(&CONTEXT, &wrapped).unwrap().ct_eq(&dek));
        assert_ne!(wrapped.key, *dek.expose());
        assert_ne!(key.wrap(&rng, &CONTEXT, &dek).unwrap(), wrapped);
    }

    #[test]
    fn every_bit_of_the_record_counts() {
        let (slot, rng, dek) = setup();
        let key = slot.get().unwrap();
        let wrapped = key.wrap(&rng, &CONTEXT, &dek).unwrap();
        for bit in 0..60 * 8 {
            let mut bytes = [0u8; 60];
            bytes.copy_from_slice(wrapped.as_bytes());
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damaged = WrappedKey::read_from_bytes(&bytes).unwrap();
            assert!(key.unwrap(&CONTEXT, &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_part_of_the_context_counts() {
        let (slot, rng, dek) = setup();
        let key = slot.get().unwrap();
        let wrapped = key.wrap(&rng, &CONTEXT, &dek).unwrap();
        let mut other_store = STORE;
        other_store[15] ^= 1;
        for other in [
            WrapContext { store_id: other_store, ..CONTEXT },
            WrapContext { key_id: 43, ..CONTEXT },
            WrapContext { domain: Domain::Meta, ..CONTEXT },
            WrapContext { kek_version: 8, ..CONTEXT },
            WrapContext { suite: 2, ..CONTEXT },
        ] {
            assert!(key.unwrap(&other, &wrapped).is_err(), "{other:?}");
        }
    }

    #[test]
    fn another_kek_or_version_does_not_unwrap() {
        let (slot, rng, dek) = setup();
        let key = slot.get().unwrap();
        let wrapped = key.wrap(&rng, &CONTEXT, &dek).unwrap();
        let arena = KeyArena::new().unwrap();
        for (kek, version) in [([6; 32], 7), ([5; 32], 8)] {
            let kek = Secret::from_slice(&kek).unwrap();
            let other = WrapKey::derive(&arena, &kek, &STORE, version).unwrap();
            assert!(other.get().unwrap().unwrap(&CONTEXT, &wrapped).is_err());
        }
    }

    #[test]
    fn commitments_separate_keys_stores_domains_and_versions() {
        let kek = |byte| Secret::<32>::from_slice(&[byte; 32]).unwrap();
        let base = commitment(&kek(1), &STORE, Domain::Data, 1);
        assert!(commits_to(&base, &kek(1), &STORE, Domain::Data, 1));
        assert!(!commits_to(&base, &kek(2), &STORE, Domain::Data, 1));
        assert!(!commits_to(&base, &kek(1), &[4; 16], Domain::Data, 1));
        assert!(!commits_to(&base, &kek(1), &STORE, Domain::Meta, 1));
        assert!(!commits_to(&base, &kek(1), &STORE, Domain::Data, 2));
    }
}
