//! Stores for these tests.

use std::sync::Arc;

use efscrypt::device::Device;
use efscrypt::fs::NewAttr;
use efscrypt::keys::KeyProvider;
use efscrypt::txn::EngineOptions;
use efscrypt::{DataAccess, Providers, Result, Store, StoreOptions, Takeover};

pub const META: &str = "meta key";
pub const DATA: &str = "data key";
pub const UNIT: usize = 4096;
pub const FILE: NewAttr =
    NewAttr { mode: 0o640, umask: 0, uid: 7, gid: 8, atime: None, mtime: None };

pub fn options() -> StoreOptions {
    StoreOptions {
        engine: EngineOptions { log_bytes: 512 << 10, cache_bytes: 8 << 20, read_only: false },
        // Copies of stores are opened that are open.
        takeover: Takeover::AtOnce,
        ..StoreOptions::default()
    }
}

/// Options that do without the contents key.
pub fn without_data() -> StoreOptions {
    StoreOptions { data_access: DataAccess::IfAvailable, ..options() }
}

pub fn create(
    device: &Arc<impl Device + 'static>,
    provider: &Arc<impl KeyProvider + 'static>,
) -> Store {
    let providers = Providers::same(provider.clone());
    Store::create(device.clone(), providers, META, DATA, options()).unwrap()
}

pub fn open(
    device: &Arc<impl Device + 'static>,
    provider: &Arc<impl KeyProvider + 'static>,
) -> Result<Store> {
    Store::open(device.clone(), Providers::same(provider.clone()), options())
}

/// Bytes by a seed, in which no two units are alike.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::of(seed, 815).fill(&mut bytes);
    bytes
}
