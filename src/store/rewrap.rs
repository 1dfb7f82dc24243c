//! Rewrap: the same KEKs under other provider keys.

use std::sync::Arc;

use super::Store;
use crate::crypto::Domain;
use crate::error::{Error, Object, Result};
use crate::format::{KEY_SLOTS, KeySlot};
use crate::keys::{Kek, KeyProvider, newest};

/// Which domains a rewrap puts under which provider keys, each by its name: both take the same
/// types, and contents under the key of names would be readable by whoever lists them.
///
/// A domain that is not named stays as it is.
#[derive(Clone, Default)]
pub struct Rewrap<'a> {
    metadata: Option<(Arc<dyn KeyProvider>, &'a str)>,
    data: Option<(Arc<dyn KeyProvider>, &'a str)>,
}

impl<'a> Rewrap<'a> {
    /// Of no domain.
    pub fn new() -> Self {
        Rewrap::default()
    }

    /// Names, directories and inodes go under the provider's `key`, an id or another name of it.
    pub fn metadata(self, provider: Arc<dyn KeyProvider>, key: &'a str) -> Self {
        Rewrap { metadata: Some((provider, key)), ..self }
    }

    /// Contents of files go under the provider's `key`, an id or another name of it.
    pub fn data(self, provider: Arc<dyn KeyProvider>, key: &'a str) -> Self {
        Rewrap { data: Some((provider, key)), ..self }
    }
}

impl Store {
    /// Wraps the KEKs of one or both domains under other provider keys: one commit, whatever the
    /// store's size, after which every slot of the superblock ring is written anew. When this
    /// returns, the old provider keys open nothing in the store's current bytes; where a crash
    /// comes between, the next open for writing sees to that. They still open copies of the store
    /// that were made before, and what the medium itself keeps of overwritten blocks; only
    /// destroying the provider key closes those.
    ///
    /// The old provider keys must be enabled: each domain takes one call of the old provider and
    /// two of the new, which wraps the KEK and has to unwrap it again before the old wrap goes.
    ///
    /// # Errors
    /// Those of the providers, and [`Error::WrongKey`] where the new one does not unwrap what it
    /// wrapped: nothing changed then. [`Error::KeyUnavailable`] for contents of a store that was
    /// opened without their provider. Those of the device, which poison the store.
    pub fn rewrap(&self, to: Rewrap<'_>) -> Result<()> {
        let Rewrap { metadata, data } = to;
        self.check_process()?;
        if self.engine.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let _one = self.rewrapping.lock();
        let mut slots = self.engine.superblock().keys;
        if let Some((provider, key)) = &data {
            let old = self.data.lock().clone().ok_or(Error::KeyUnavailable)?;
            self.replace(&mut slots, Domain::Data, &*old, &**provider, key)?;
        }
        if let Some((provider, key)) = &metadata {
            let old = self.metadata.lock().clone();
            self.replace(&mut slots, Domain::Meta, &*old, &**provider, key)?;
        }
        self.engine.write_keys(slots)?;
        if let Some((provider, _)) = data {
            *self.data.lock() = Some(provider);
        }
        if let Some((provider, _)) = metadata {
            *self.metadata.lock() = provider;
        }
        Ok(())
    }

    fn replace(
        &self,
        slots: &mut [KeySlot; KEY_SLOTS],
        domain: Domain,
        old: &dyn KeyProvider,
        new: &dyn KeyProvider,
        key: &str,
    ) -> Result<()> {
        let (context, store_id) = (&self.options.context, self.engine.store_id());
        let current = *newest(slots, domain)?;
        let kek = Kek::unlock(old, &current, context, store_id)?;
        let fresh = kek.rewrap(new, key, context, store_id)?;
        let same =
            |slot: &&mut KeySlot| slot.domain == current.domain && slot.version == current.version;
        let slot = slots.iter_mut().find(same);
        *slot.ok_or(Error::corrupt(Object::Store, "key slot"))? = fresh;
        Ok(())
    }
}
