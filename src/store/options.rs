//! How a store is made and opened.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::KeyArena;
use crate::error::{Error, Result};
use crate::fs::MountOptions;
use crate::keys::{EncryptionContext, KeyProvider};
use crate::limits::MAX_NAME_LEN;
use crate::txn::{EngineOptions, Takeover};

/// Longest key and value of a tag, bytes.
const TAG_MAX: (usize, usize) = (60, 1024);
/// Most names and inodes in memory: beyond it, tables that are made at once take GiB.
const CACHE_MAX: usize = 1 << 24;

/// Who holds the provider keys of the two domains. Wrap a provider in
/// [`Audited`](crate::keys::Audited) to record each call.
#[derive(Clone)]
pub struct Providers {
    /// For names, directories and inodes.
    pub metadata: Arc<dyn KeyProvider>,
    /// For file contents; `None` where nobody is asked for their key: such a store opens with
    /// [`DataAccess::IfAvailable`], and shows no contents.
    pub data: Option<Arc<dyn KeyProvider>>,
}

impl Providers {
    /// A provider for each domain.
    pub fn new(metadata: Arc<dyn KeyProvider>, data: Arc<dyn KeyProvider>) -> Providers {
        Providers { metadata, data: Some(data) }
    }

    /// One provider for both domains.
    pub fn same(provider: Arc<dyn KeyProvider>) -> Providers {
        Providers::new(Arc::clone(&provider), provider)
    }

    /// For whoever may see names and attributes, and no contents.
    pub fn metadata_only(metadata: Arc<dyn KeyProvider>) -> Providers {
        Providers { metadata, data: None }
    }

    /// # Errors
    /// [`Error::KeyUnavailable`] where there is none.
    pub(super) fn data(&self) -> Result<&Arc<dyn KeyProvider>> {
        self.data.as_ref().ok_or(Error::KeyUnavailable)
    }
}

/// Whether a store opens without its contents key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataAccess {
    /// A data key that cannot be unlocked is an error.
    #[default]
    Required,
    /// Where the data key cannot be unlocked, names and attributes work, contents do not: its
    /// provider is not there, refuses, or does not know it.
    IfAvailable,
}

/// Options of a store. The default fits a server with a few GiB of memory.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Memory and log of the engine.
    pub engine: EngineOptions,
    /// Names and inodes in memory, at most 2^24 of each; the clock; owner, group and permission
    /// bits of the root directory of a new store.
    pub mount: MountOptions,
    /// Pairs of the caller's that are bound to every wrap of the store's keys: the same are
    /// needed whenever the store is opened.
    pub context: EncryptionContext,
    /// Whether the contents key is needed.
    pub data_access: DataAccess,
    /// What an opening for writing does about another that may still have the store open, where no
    /// lock says so: on another host, in another container, by another name of the device.
    pub takeover: Takeover,
    /// Whether key memory that cannot be locked into RAM is an error.
    pub strict_memory: bool,
    /// How long [`Store::open_file`](super::Store::open_file) waits for who has the store open:
    /// it may be about to close. Not at all by default.
    pub lock_wait: Duration,
    /// Name of a new store, up to 255 bytes.
    pub name: Option<String>,
    /// Tags of a new store: keys up to 60 bytes, values up to 1,024.
    pub tags: Vec<(String, String)>,
}

impl StoreOptions {
    pub(crate) fn arena(&self) -> Result<Arc<KeyArena>> {
        if self.strict_memory { KeyArena::strict() } else { KeyArena::new() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.mount.inode_cache > CACHE_MAX || self.mount.name_cache > CACHE_MAX {
            return Err(Error::InvalidArgument("a cache has at most 2^24 names or inodes"));
        }
        if self.name.as_ref().is_some_and(|name| name.len() > MAX_NAME_LEN) {
            return Err(Error::InvalidArgument("a store's name has at most 255 bytes"));
        }
        let long = |(key, value): &(String, String)| {
            key.is_empty() || key.len() > TAG_MAX.0 || value.len() > TAG_MAX.1
        };
        if self.tags.len() > 50 || self.tags.iter().any(long) {
            return Err(Error::InvalidArgument(
                "a store has at most 50 tags, with keys of 1 to 60 bytes and values of up to 1,024",
            ));
        }
        Ok(())
    }
}
