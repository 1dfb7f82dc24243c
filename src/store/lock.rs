//! Locking: contents out of reach while the store stays open.

use std::sync::Arc;

use super::Store;
use super::open::data_key;
use crate::crypto::Domain;
use crate::error::{Error, Result};
use crate::keys::newest;

impl Store {
    /// Locks the DATA domain: when this returns every key of contents is zeroized, and contents
    /// answer [`Error::KeyUnavailable`]; reads and writes that were under way have ended or answer
    /// that. Names, attributes, renaming, deleting, durability and checks go on as before.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn lock_data(&self) -> Result<()> {
        self.check_process()?;
        self.keys.lock();
        Ok(())
    }

    /// Has the provider unlock the DATA domain, after [`Store::lock_data`] or where it could not
    /// be unlocked when the store was opened. One provider call.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`] where the store was opened without a provider for contents; those
    /// of the provider, and [`Error::WrongKey`]: the domain then stays as it was.
    pub fn unlock_data(&self) -> Result<()> {
        self.check_process()?;
        // A rewrap changes provider and slot together.
        let _one = self.rewrapping.lock();
        let provider = self.data.lock().as_ref().map(Arc::clone).ok_or(Error::KeyUnavailable)?;
        let superblock = self.engine.superblock();
        let slot = newest(&superblock.keys, Domain::Data)?;
        let (context, store_id) = (&self.options.context, self.engine.store_id());
        let (version, key) = data_key(&*provider, slot, context, store_id, &self.arena)?;
        self.keys.unlock(version, key);
        Ok(())
    }

    /// Whether contents can be read and written: the DATA domain is unlocked.
    pub fn has_data_key(&self) -> bool {
        self.keys.is_unlocked()
    }
}
