//! How a store is made and opened.

use std::sync::Arc;

use crate::keys::{EncryptionContext, KeyProvider};
use crate::txn::EngineOptions;

/// Who holds the provider keys of the two domains. Wrap a provider in
/// [`Audited`](crate::keys::Audited) to record each call.
#[derive(Clone)]
pub struct Providers {
    /// For names, directories and inodes.
    pub metadata: Arc<dyn KeyProvider>,
    /// For file contents.
    pub data: Arc<dyn KeyProvider>,
}

impl Providers {
    /// One provider for both domains.
    pub fn same(provider: Arc<dyn KeyProvider>) -> Providers {
        Providers { metadata: Arc::clone(&provider), data: provider }
    }
}

/// Whether a store opens without its contents key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataAccess {
    /// A data key that cannot be unlocked is an error.
    #[default]
    Required,
    /// Where the data key cannot be unlocked, names and attributes work, contents do not.
    IfAvailable,
}

/// Options of a store. The default fits a server with a few GiB of memory.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Memory and log of the engine.
    pub engine: EngineOptions,
    /// Pairs of the caller's that are bound to every wrap of the store's keys: the same are
    /// needed whenever the store is opened.
    pub context: EncryptionContext,
    /// Whether the contents key is needed.
    pub data_access: DataAccess,
    /// Whether key memory that cannot be locked into RAM is an error.
    pub strict_memory: bool,
    /// Name of a new store, up to 255 bytes.
    pub name: Option<String>,
    /// Tags of a new store: keys up to 60 bytes, values up to 1,024.
    pub tags: Vec<(String, String)>,
}
