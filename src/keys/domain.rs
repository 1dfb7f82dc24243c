//! The KEKs of a store's two domains: made, unlocked and rewrapped with a provider.

use crate::crypto::{Domain, commitment, commits_to};
use crate::error::{Error, Object, Result};
use crate::format::{KEY_SLOTS, KeySlot, StoreId};
use crate::secret::Secret;

use super::{EncryptionContext, KeyProvider, WrappedKey};

/// A domain's key-encryption key, unlocked, with the slot that keeps it in the superblock.
pub struct Kek {
    /// The key; it goes from here into the arena and is wiped.
    pub secret: Secret<32>,
    /// Its version, from 1 on.
    pub version: u32,
    /// The slot of the superblock.
    pub slot: KeySlot,
}

impl Kek {
    /// Has a provider make the first KEK of a domain under `key`, and unwrap it again. Two provider
    /// calls.
    ///
    /// # Errors
    /// Those of the provider; [`Error::WrongKey`] where it unwraps to another key.
    pub fn generate(
        provider: &dyn KeyProvider,
        key: &str,
        context: &EncryptionContext,
        store_id: &StoreId,
        domain: Domain,
    ) -> Result<Kek> {
        let context = context.for_store(store_id, domain);
        let (secret, wrapped) = provider.generate(key, &context)?;
        let version = 1;
        let committed = commitment(&secret, store_id, domain, version);
        let slot = KeySlot::new(domain as u8, version, committed, &wrapped.encode())?;
        Kek::prove(provider, &slot, &context, store_id)?;
        Ok(Kek { secret, version, slot })
    }

    /// Has the provider unwrap the KEK of a slot, and checks that it is the one that the store
    /// commits to. One provider call.
    ///
    /// # Errors
    /// [`Error::WrongKey`] where the provider answers with another key than the store's.
    pub fn unlock(
        provider: &dyn KeyProvider,
        slot: &KeySlot,
        context: &EncryptionContext,
        store_id: &StoreId,
    ) -> Result<Kek> {
        let domain = domain_of(slot)?;
        let wrapped = WrappedKey::decode(slot.wrapped())?;
        let secret = provider.unwrap(&wrapped, &context.for_store(store_id, domain))?;
        let version = slot.version.get();
        if !commits_to(&slot.commitment, &secret, store_id, domain, version) {
            return Err(Error::WrongKey(Object::Store));
        }
        Ok(Kek { secret, version, slot: *slot })
    }

    /// The slot of the same KEK under another provider key, which was seen to unwrap it. Two
    /// provider calls.
    ///
    /// # Errors
    /// Those of the provider; [`Error::WrongKey`] where it unwraps to another key.
    pub fn rewrap(
        &self,
        provider: &dyn KeyProvider,
        key: &str,
        context: &EncryptionContext,
        store_id: &StoreId,
    ) -> Result<KeySlot> {
        let domain = domain_of(&self.slot)?;
        let context = context.for_store(store_id, domain);
        let wrapped = provider.wrap(key, &context, &self.secret)?;
        let version = self.version;
        let slot = KeySlot::new(domain as u8, version, self.slot.commitment, &wrapped.encode())?;
        Kek::prove(provider, &slot, &context, store_id)?;
        Ok(slot)
    }

    /// Has the provider unwrap what it just wrapped: a wrap that does not open would lose the
    /// store, and is refused while another one, or nothing, is at stake.
    fn prove(
        provider: &dyn KeyProvider,
        slot: &KeySlot,
        context: &EncryptionContext,
        store_id: &StoreId,
    ) -> Result<()> {
        let domain = domain_of(slot)?;
        let secret = provider.unwrap(&WrappedKey::decode(slot.wrapped())?, context)?;
        match commits_to(&slot.commitment, &secret, store_id, domain, slot.version.get()) {
            true => Ok(()),
            false => Err(Error::WrongKey(Object::WrappedKey)),
        }
    }
}

/// The slot of a domain's newest KEK.
pub fn newest(slots: &[KeySlot; KEY_SLOTS], domain: Domain) -> Result<&KeySlot> {
    slots
        .iter()
        .filter(|slot| slot.domain == domain as u8)
        .max_by_key(|slot| slot.version.get())
        .ok_or(Error::corrupt(Object::Store, "a domain has no key slot"))
}

fn domain_of(slot: &KeySlot) -> Result<Domain> {
    match slot.domain {
        1 => Ok(Domain::Meta),
        2 => Ok(Domain::Data),
        _ => Err(Error::corrupt(Object::Store, "key slot of no domain")),
    }
}
