//! Opening a store.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{DataAccess, Providers, Store, StoreOptions};
use crate::block::MetaKeys;
use crate::crypto::{Domain, KeyArena, Rng, Slot, WrapKey};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Object, Result};
use crate::format::{KeySlot, StoreId, UnverifiedSuperblock};
use crate::fs::FileSystem;
use crate::fs::data::{Contents, DataKeys};
use crate::keys::{EncryptionContext, Kek, KeyProvider, newest};
use crate::txn::{Engine, FIRST_FS_TREE, Opener};

impl Store {
    /// Opens a store: has the providers unlock its domains, two calls in all, and recovers what
    /// the log holds. Reads a bounded number of blocks, whatever the store's size.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for options; [`Error::NotAStore`], [`Error::Truncated`],
    /// [`Error::Unsupported`], [`Error::Corrupt`]; [`Error::InUseBy`] where somebody has it open,
    /// as [`StoreOptions::takeover`] says; [`Error::WrongKey`] and those of the providers;
    /// [`Error::KeyUnavailable`] where contents are required and nobody has their key; those of the
    /// device.
    pub fn open(
        device: Arc<dyn Device>,
        providers: Providers,
        options: StoreOptions,
    ) -> Result<Store> {
        options.check()?;
        let arena = options.arena()?;
        let context = &options.context;
        let mut data = None;
        let engine = Engine::open_as(
            device,
            |superblock| {
                let store_id = &superblock.header.store_id;
                let slot = newest(&superblock.keys, Domain::Meta)?;
                let kek = Kek::unlock(&*providers.metadata, slot, context, store_id)?;
                let meta = MetaKeys::derive(&arena, &kek.secret, store_id, kek.version)?;
                // Before recovery changes anything.
                data = unlock_data(superblock, &arena, &providers, &options)?;
                Ok((meta, Arc::new(Rng::new(&arena)?)))
            },
            &options.engine,
            &Opener::this(options.takeover),
        )?;
        Store::assemble(Arc::new(engine), arena, providers, options, data)
    }

    pub(super) fn assemble(
        engine: Arc<Engine>,
        arena: Arc<KeyArena>,
        providers: Providers,
        options: StoreOptions,
        data: Option<(u32, Slot<WrapKey>)>,
    ) -> Result<Store> {
        let rng = Arc::clone(engine.rng());
        let keys = Arc::new(DataKeys::new(Arc::clone(&arena), *engine.store_id(), rng));
        if let Some((version, key)) = data {
            keys.unlock(version, key);
        }
        let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, Arc::clone(&keys));
        let mount = options.mount.clone();
        let fs = FileSystem::mount(Arc::clone(&engine), &arena, contents, mount)?;
        let Providers { metadata, data } = providers;
        let (metadata, data) = (Mutex::new(metadata), Mutex::new(data));
        let rewrapping = Mutex::new(());
        Ok(Store { engine, arena, options, metadata, data, keys, rewrapping, fs })
    }
}

/// The contents key, or `None` where the options do without one that nobody unlocks.
fn unlock_data(
    superblock: &UnverifiedSuperblock,
    arena: &Arc<KeyArena>,
    providers: &Providers,
    options: &StoreOptions,
) -> Result<Option<(u32, Slot<WrapKey>)>> {
    let slot = newest(&superblock.keys, Domain::Data)?;
    let store_id = &superblock.header.store_id;
    let unlocked = providers
        .data()
        .and_then(|provider| data_key(&**provider, slot, &options.context, store_id, arena));
    match unlocked {
        Err(error) if options.data_access == DataAccess::IfAvailable && is_refused(&error) => {
            Ok(None)
        }
        unlocked => unlocked.map(Some),
    }
}

/// What wraps data keys, and its version. One provider call.
pub(super) fn data_key(
    provider: &dyn KeyProvider,
    slot: &KeySlot,
    context: &EncryptionContext,
    store_id: &StoreId,
    arena: &Arc<KeyArena>,
) -> Result<(u32, Slot<WrapKey>)> {
    let kek = Kek::unlock(provider, slot, context, store_id)?;
    Ok((kek.version, WrapKey::derive(arena, &kek.secret, store_id, kek.version)?))
}

/// Whether nobody unlocks the contents key, other than damage: nobody is asked, refuses, or has
/// the key. A key that unlocks to another one than the store's is a failure in any case.
fn is_refused(error: &Error) -> bool {
    use ErrorKind::{KeyDenied, KeyDisabled, KeyNotFound, KeyUnavailable, KeyUnreachable};
    matches!(error.kind(), KeyDenied | KeyDisabled | KeyNotFound | KeyUnavailable | KeyUnreachable)
        || matches!(error, Error::WrongKey(Object::WrappedKey))
}
