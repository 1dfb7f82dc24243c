//! Making a store.

use std::sync::Arc;

use super::{Providers, Store, StoreOptions};
use crate::block::MetaKeys;
use crate::crypto::{Domain, Rng, WrapKey};
use crate::device::Device;
use crate::error::Result;
use crate::format::{KeySlot, StoreId};
use crate::keys::Kek;
use crate::txn::{Class, Edits, Engine, Keys, STORE_TREE, StoreKey};

impl Store {
    /// Makes a store on an empty device and opens it, under two provider keys, which may be the
    /// same. Four provider calls: each domain's KEK is made, and unwrapped again to see that it can
    /// be. Durable when it returns. What a failure leaves on the device is no store.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for options;
    /// [`KeyUnavailable`](crate::Error::KeyUnavailable) without a provider for contents;
    /// those of the providers, and
    /// [`WrongKey`](crate::Error::WrongKey) where one does not unwrap what it wrapped;
    /// [`NoSpace`](crate::Error::NoSpace) where the device is too small; those of the device.
    pub fn create(
        device: Arc<dyn Device>,
        providers: Providers,
        metadata_key: &str,
        data_key: &str,
        options: StoreOptions,
    ) -> Result<Store> {
        options.check()?;
        let data_provider = providers.data()?;
        let arena = options.arena()?;
        let rng = Arc::new(Rng::new(&arena)?);
        let mut store_id = StoreId::default();
        rng.fill(&mut store_id)?;
        let context = &options.context;
        let kek = |provider: &Arc<dyn crate::keys::KeyProvider>, key, domain| {
            Kek::generate(&**provider, key, context, &store_id, domain)
        };
        let meta = kek(&providers.metadata, metadata_key, Domain::Meta)?;
        let data = kek(data_provider, data_key, Domain::Data)?;
        let keys = Keys {
            store_id,
            slots: [meta.slot, data.slot, KeySlot::EMPTY, KeySlot::EMPTY],
            meta: MetaKeys::derive(&arena, &meta.secret, &store_id, meta.version)?,
            rng,
            created: now(),
        };
        let engine = Arc::new(Engine::create(device, keys, &options.engine)?);
        write_properties(&engine, &options)?;
        let wrap = WrapKey::derive(&arena, &data.secret, &store_id, data.version)?;
        Store::assemble(engine, arena, providers, options, Some((data.version, wrap)))
    }
}

fn write_properties(engine: &Engine, options: &StoreOptions) -> Result<()> {
    let name = options.name.iter().map(|name| (NAME.to_vec(), name));
    let tags = options.tags.iter().map(|(key, value)| ([TAG, key.as_bytes()].concat(), value));
    for (key, value) in name.chain(tags) {
        let mut edits = Edits::new();
        edits.put(STORE_TREE, &StoreKey::Property(&key).encode(), value.as_bytes());
        engine.commit(&mut edits, Class::Normal)?;
    }
    engine.checkpoint()
}

/// Property that holds the store's name.
pub(super) const NAME: &[u8] = b"n";
/// Property that holds a tag, before its key.
pub(super) const TAG: &[u8] = b"t:";

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
