//! The store's own random keys: of the handle MAC and of the name hash.
//!
//! They are sealed in the body of every superblock. In memory they live in the arena alone: they
//! are taken out of a body in the buffer in which it was opened, and put in where it is sealed.

use std::sync::Arc;

use zeroize::Zeroize;

use crate::crypto::{KeyArena, Rng, Slot};
use crate::error::Result;
use crate::format::SuperblockBody;
use crate::secret::Secret;

/// The random keys of a store. Zeroized on drop.
pub struct StoreKeys {
    handle: [u8; 32],
    name: [u8; 32],
}

impl StoreKeys {
    /// The keys of a new store, made in the arena.
    ///
    /// # Errors
    /// Those of the generator, and as [`KeyArena::place`].
    pub fn generate(arena: &Arc<KeyArena>, rng: &Rng) -> Result<Slot<StoreKeys>> {
        arena.place(|| {
            let mut keys = StoreKeys { handle: [0; 32], name: [0; 32] };
            rng.fill(&mut keys.handle)?;
            rng.fill(&mut keys.name)?;
            Ok(keys)
        })
    }

    /// Moves the keys of an opened body into the arena.
    pub(super) fn take(
        arena: &Arc<KeyArena>,
        body: &mut SuperblockBody,
    ) -> Result<Slot<StoreKeys>> {
        let taken = arena.place(|| Ok(StoreKeys { handle: body.handle_key, name: body.name_key }));
        body.handle_key.zeroize();
        body.name_key.zeroize();
        taken
    }

    /// Puts the keys into a body that is sealed where it stands.
    pub(super) fn put(&self, body: &mut SuperblockBody) {
        body.handle_key.copy_from_slice(&self.handle);
        body.name_key.copy_from_slice(&self.name);
    }

    /// A copy of the key of the handle MAC.
    pub fn handle(&self) -> Secret<32> {
        copy(&self.handle)
    }

    /// A copy of the key of the name hash.
    pub fn name(&self) -> Secret<32> {
        copy(&self.name)
    }
}

fn copy(key: &[u8; 32]) -> Secret<32> {
    let mut secret = Secret::zeroed();
    secret.expose_mut().copy_from_slice(key);
    secret
}

impl Drop for StoreKeys {
    fn drop(&mut self) {
        self.handle.zeroize();
        self.name.zeroize();
    }
}
