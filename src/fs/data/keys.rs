//! Data keys: one random key for each file, a new one when it has sealed enough.
//!
//! A data key stands in a KEY row of the STORE tree, wrapped under the KEK of the DATA domain. The
//! row commits in the same transaction as what uses the key; a row that is missing, or was made
//! for another file, is an error. Invariants:
//!
//! 1. Expanded keys exist only inside `state` and in [`KeyGuard`]s, which hold it for reading:
//!    when [`DataKeys::lock`] returns, every one of them is zeroized, and none is made before the
//!    next [`DataKeys::unlock`].
//! 2. Nobody holds a [`KeyGuard`] across I/O, nor two at a time: `lock` waits for cryptography
//!    only.
//! 3. A key id is a number of the engine. One `DataKeys` serves one open of a store, so ids are
//!    never given out twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use crate::crypto::{
    DataKey, Domain, KeyArena, Purpose, Rng, Slot, WrapContext, WrapKey, WrappedKey,
};
use crate::error::{Error, Object, Result};
use crate::format::{STORE_TREE, SUITE, StoreId, StoreKey, WrappedKeyRow};
use crate::secret::Secret;
use crate::txn::Engine;

/// Most expanded keys that are kept, in locked memory.
const CACHED_KEYS: usize = 2048;

/// The data keys of one open store. Thread-safe.
pub struct DataKeys {
    arena: Arc<KeyArena>,
    store_id: StoreId,
    rng: Arc<Rng>,
    /// `None` while the DATA domain is locked.
    state: RwLock<Option<Unlocked>>,
    /// How many ids were given out.
    made: AtomicU64,
}

/// What exists while the domain is unlocked.
struct Unlocked {
    /// Wrapping keys by KEK version; the last wraps new keys.
    versions: Vec<(u32, Slot<WrapKey>)>,
    cache: Mutex<Cache>,
}

/// An expanded key in use. Holds off [`DataKeys::lock`]: dropped before any I/O.
pub(super) struct KeyGuard<'a> {
    /// First, so that it is gone before the state is let go.
    key: Arc<Slot<DataKey>>,
    _state: RwLockReadGuard<'a, Option<Unlocked>>,
}

impl KeyGuard<'_> {
    /// The key.
    ///
    /// # Errors
    /// [`Error::Forked`] in a forked child.
    pub(super) fn key(&self) -> Result<&DataKey> {
        self.key.get()
    }
}

impl DataKeys {
    /// No keys, locked.
    pub fn new(arena: Arc<KeyArena>, store_id: StoreId, rng: Arc<Rng>) -> DataKeys {
        DataKeys { arena, store_id, rng, state: RwLock::new(None), made: AtomicU64::new(0) }
    }

    /// Unlocks the domain, or adds a version of its KEK. New keys are wrapped under the highest.
    pub fn unlock(&self, kek_version: u32, key: Slot<WrapKey>) {
        let mut state = self.state.write();
        let unlocked = state.get_or_insert_with(|| Unlocked {
            versions: Vec::new(),
            cache: Mutex::new(Cache::default()),
        });
        unlocked.versions.retain(|(version, _)| *version != kek_version);
        unlocked.versions.push((kek_version, key));
        unlocked.versions.sort_by_key(|(version, _)| *version);
    }

    /// Locks the domain: when this returns every key is zeroized, and contents answer
    /// [`Error::KeyUnavailable`].
    pub fn lock(&self) {
        *self.state.write() = None;
    }

    /// Whether contents can be read and written.
    pub fn is_unlocked(&self) -> bool {
        self.state.read().is_some()
    }

    /// Fails while the domain is locked, and in a forked child.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`], [`Error::Forked`].
    pub fn check(&self) -> Result<()> {
        self.arena.check()?;
        if self.is_unlocked() { Ok(()) } else { Err(Error::KeyUnavailable) }
    }

    /// Data key `id` of file `ino`, from the cache or its KEY row.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`], [`Error::Corrupt`] where the row is missing, damaged or another
    /// file's, and those of reading it.
    pub(super) fn get(&self, engine: &Engine, id: u64, ino: u64) -> Result<KeyGuard<'_>> {
        let state = self.state.read();
        let cached = state.as_ref().ok_or(Error::KeyUnavailable)?.cache.lock().get(id);
        if let Some((owner, key)) = cached {
            check_owner(id, owner, ino)?;
            return Ok(KeyGuard { key, _state: state });
        }
        drop(state);
        let row = key_row(engine, id, ino)?;
        let row = row.ok_or(Error::corrupt(Object::Key { id }, "there is no such key"))?;
        let state = self.state.read();
        let unlocked = state.as_ref().ok_or(Error::KeyUnavailable)?;
        let secret = self.unwrap(unlocked, id, &row)?;
        let key = Arc::new(DataKey::derive(&self.arena, &secret, &self.store_id, id)?);
        unlocked.cache.lock().insert(id, ino, Arc::clone(&key));
        Ok(KeyGuard { key, _state: state })
    }

    /// A new key for file `ino`, whose key so far is `previous`, or 0. The caller commits the row
    /// with what the key seals.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`], and those of the random source and the key memory.
    pub(super) fn create(
        &self,
        engine: &Engine,
        ino: u64,
        previous: u64,
    ) -> Result<(u64, WrappedKeyRow, KeyGuard<'_>)> {
        let id = engine.number(self.made.fetch_add(1, Ordering::Relaxed) + 1)?;
        let state = self.state.read();
        let unlocked = state.as_ref().ok_or(Error::KeyUnavailable)?;
        let (kek_version, wrap) = unlocked.versions.last().ok_or(Error::KeyUnavailable)?;
        let secret = self.rng.secret::<32>()?;
        let wrapped = wrap.get()?.wrap(&self.rng, &self.context(id, *kek_version), &secret)?;
        let row = WrappedKeyRow {
            kek_version: U32::new(*kek_version),
            reserved: [0; 4],
            ino: U64::new(ino),
            previous: U64::new(previous),
            wrapped: zerocopy::transmute!(wrapped),
            reserved2: [0; 4],
        };
        let key = Arc::new(DataKey::derive(&self.arena, &secret, &self.store_id, id)?);
        unlocked.cache.lock().insert(id, ino, Arc::clone(&key));
        Ok((id, row, KeyGuard { key, _state: state }))
    }

    /// Keys that are expanded in memory.
    pub fn expanded(&self) -> usize {
        self.state.read().as_ref().map_or(0, |unlocked| unlocked.cache.lock().entries.len())
    }

    /// Forgets a key whose row was deleted.
    pub(super) fn forget(&self, id: u64) {
        if let Some(unlocked) = &*self.state.read() {
            unlocked.cache.lock().entries.remove(&id);
        }
    }

    fn unwrap(&self, unlocked: &Unlocked, id: u64, row: &WrappedKeyRow) -> Result<Secret<32>> {
        let bad = |why| Error::corrupt(Object::Key { id }, why);
        let version = row.kek_version.get();
        let found = unlocked.versions.iter().find(|(known, _)| *known == version);
        let (_, wrap) = found.ok_or(bad("it is wrapped under an unknown key version"))?;
        let wrapped = WrappedKey::read_from_bytes(&row.wrapped).map_err(|_| bad("length"))?;
        let secret = wrap.get()?.unwrap(&self.context(id, version), &wrapped);
        secret.map_err(|_| bad("it does not authenticate"))
    }

    fn context(&self, key_id: u64, kek_version: u32) -> WrapContext {
        WrapContext {
            store_id: self.store_id,
            key_id,
            domain: Domain::Data,
            kek_version,
            suite: SUITE,
            purpose: Purpose::DataKey,
        }
    }
}

/// The KEY row of data key `id` of file `ino`; `None` where there is none.
///
/// # Errors
/// [`Error::Corrupt`] where it is another file's, and those of reading it.
pub(super) fn key_row(engine: &Engine, id: u64, ino: u64) -> Result<Option<WrappedKeyRow>> {
    let key = StoreKey::DataKey(id).encode();
    let row = engine.get(STORE_TREE, &key, |value| WrappedKeyRow::parse(value, id))?;
    let row = row.transpose()?;
    if let Some(row) = &row {
        check_owner(id, row.ino.get(), ino)?;
    }
    Ok(row)
}

fn check_owner(id: u64, owner: u64, ino: u64) -> Result<()> {
    match owner == ino {
        true => Ok(()),
        false => Err(Error::corrupt(Object::Key { id }, "it belongs to another file")),
    }
}

/// Expanded keys by id, the least recently used dropped first.
#[derive(Default)]
struct Cache {
    entries: HashMap<u64, Entry>,
    clock: u64,
}

struct Entry {
    ino: u64,
    key: Arc<Slot<DataKey>>,
    used: u64,
}

impl Cache {
    fn get(&mut self, id: u64) -> Option<(u64, Arc<Slot<DataKey>>)> {
        self.clock += 1;
        let entry = self.entries.get_mut(&id)?;
        entry.used = self.clock;
        Some((entry.ino, Arc::clone(&entry.key)))
    }

    fn insert(&mut self, id: u64, ino: u64, key: Arc<Slot<DataKey>>) {
        if self.entries.len() >= CACHED_KEYS {
            // A quarter at a time, so that the search for the oldest is paid once for many.
            let mut ages: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
            let (_, &mut limit, _) = ages.select_nth_unstable(CACHED_KEYS / 4);
            self.entries.retain(|_, entry| entry.used > limit);
        }
        self.clock += 1;
        self.entries.insert(id, Entry { ino, key, used: self.clock });
    }
}
