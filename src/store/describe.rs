//! What a store says about itself.

use super::Store;
use super::create::{NAME, TAG};
use crate::crypto::Domain;
use crate::error::Result;
use crate::format::FORMAT_VERSION;
use crate::keys::{KeyDescription, KeyProvider, WrappedKey, newest};
use crate::limits::UNIT;
use crate::txn::{STORE_TREE, StoreKey};

/// A store, described.
#[derive(Debug, Clone)]
pub struct StoreDescription {
    /// The store's identity.
    pub id: [u8; 16],
    /// Name, where it has one.
    pub name: Option<String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Format version.
    pub format: u32,
    /// Feature masks: compatible, read-only compatible, incompatible.
    pub features: [u64; 3],
    /// Creation, nanoseconds since 1970.
    pub created: u64,
    /// Number of the last checkpoint.
    pub generation: u64,
    /// Bytes that files and metadata take.
    pub metered_bytes: u64,
    /// Key of names, directories and inodes.
    pub metadata: DomainDescription,
    /// Key of contents.
    pub data: DomainDescription,
}

/// A domain's keys, described.
#[derive(Debug, Clone)]
pub struct DomainDescription {
    /// Provider that wraps the KEK.
    pub provider: String,
    /// Provider key under which it is wrapped.
    pub key_id: String,
    /// Version of the KEK.
    pub kek_version: u32,
    /// What the provider says of its key; `None` where it does not know it or does not answer, or
    /// where there is none.
    pub key: Option<KeyDescription>,
}

impl Store {
    /// Describes the store. Two provider calls, whose failure leaves gaps and is no error.
    ///
    /// # Errors
    /// Those of reading the store.
    pub fn describe(&self) -> Result<StoreDescription> {
        self.check_process()?;
        let superblock = self.engine.superblock();
        let header = &superblock.header;
        let (mut name, mut tags) = (None, Vec::new());
        let first = StoreKey::Property(&[]).encode();
        self.engine.scan(STORE_TREE, &first, &[first[0] + 1], |key, value| {
            let value = String::from_utf8_lossy(value).into_owned();
            if &key[1..] == NAME {
                name = Some(value);
            } else if let Some(tag) = key[1..].strip_prefix(TAG) {
                tags.push((String::from_utf8_lossy(tag).into_owned(), value));
            }
            true
        })?;
        let domain = |domain, provider: Option<&dyn KeyProvider>| -> Result<DomainDescription> {
            let slot = newest(&superblock.keys, domain)?;
            let wrapped = WrappedKey::decode(slot.wrapped())?;
            Ok(DomainDescription {
                provider: wrapped.provider().to_owned(),
                key_id: wrapped.key_id().to_owned(),
                kek_version: slot.version.get(),
                key: provider.and_then(|provider| provider.describe(wrapped.key_id()).ok()),
            })
        };
        let (metadata, data) = (self.metadata.lock().clone(), self.data.lock().clone());
        Ok(StoreDescription {
            id: header.store_id,
            name,
            tags,
            format: FORMAT_VERSION,
            features: [header.compat.get(), header.ro_compat.get(), header.incompat.get()],
            created: superblock.body.created.get(),
            generation: header.generation.get(),
            metered_bytes: self.engine.usage().used * UNIT as u64,
            metadata: domain(Domain::Meta, Some(&*metadata))?,
            data: domain(Domain::Data, data.as_deref())?,
        })
    }
}

impl StoreDescription {
    /// The identity in hexadecimal.
    pub fn id_hex(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
