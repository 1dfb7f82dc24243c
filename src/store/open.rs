//! Opening a store.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{DataAccess, Providers, Store, StoreOptions};
use crate::block::MetaKeys;
use crate::crypto::{Domain, KeyArena, Rng, Slot, WrapKey};
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::format::UnverifiedSuperblock;
use crate::fs::FileSystem;
use crate::fs::data::{Contents, DataKeys};
use crate::keys::{Kek, newest};
use crate::txn::{Engine, FIRST_FS_TREE};

impl Store {
    /// Opens a store: has the providers unlock its domains, two calls in all, and recovers what
    /// the log holds. Reads a bounded number of blocks, whatever the store's size.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for options; [`Error::NotAStore`], [`Error::Truncated`],
    /// [`Error::Unsupported`], [`Error::Corrupt`]; [`Error::WrongKey`] and those of the providers;
    /// those of the device.
    pub fn open(
        device: Arc<dyn Device>,
        providers: Providers,
        options: StoreOptions,
    ) -> Result<Store> {
        options.check()?;
        let arena = options.arena()?;
        let context = &options.context;
        let mut data = None;
        let engine = Engine::open(
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
        let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, keys);
        let mount = options.mount.clone();
        let fs = FileSystem::mount(Arc::clone(&engine), &arena, contents, mount)?;
        let Providers { metadata, data } = providers;
        let (metadata, data) = (Mutex::new(metadata), Mutex::new(data));
        Ok(Store { engine, arena, options, metadata, data, rewrapping: Mutex::new(()), fs })
    }
}

/// The contents key, or `None` where the options do without one that the provider refuses.
fn unlock_data(
    superblock: &UnverifiedSuperblock,
    arena: &Arc<KeyArena>,
    providers: &Providers,
    options: &StoreOptions,
) -> Result<Option<(u32, Slot<WrapKey>)>> {
    let store_id = &superblock.header.store_id;
    let slot = newest(&superblock.keys, Domain::Data)?;
    let refused = |error: &Error| {
        use ErrorKind::{KeyDenied, KeyDisabled, KeyNotFound, KeyUnreachable};
        matches!(error.kind(), KeyDenied | KeyDisabled | KeyNotFound | KeyUnreachable)
    };
    match Kek::unlock(&*providers.data, slot, &options.context, store_id) {
        Ok(kek) => {
            let wrap = WrapKey::derive(arena, &kek.secret, store_id, kek.version)?;
            Ok(Some((kek.version, wrap)))
        }
        Err(error) if options.data_access == DataAccess::IfAvailable && refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
