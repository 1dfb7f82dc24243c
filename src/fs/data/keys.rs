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
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use crate::crypto::{
    DataKey, Domain, KeyArena, Purpose, Rng, Slot, WrapContext, WrapKey, WrappedKey,
};
use crate::error::{Error, Object, Result};
use crate::format::{STORE_TREE, SUITE, StoreId, StoreKey, WrappedKeyRow};
use crate::fs::inode::NumberHasher;
use crate::secret::Secret;
use crate::txn::Engine;

/// Parts of the cache of expanded keys.
const SHARDS: usize = 16;
/// Most expanded keys that each keeps, in locked memory.
const CACHED_KEYS: usize = 128;

/// The data keys of one open store. Thread-safe.
pub struct DataKeys {
    arena: Arc<KeyArena>,
    store_id: StoreId,
    rng: Arc<Rng>,
    /// `None` while the DATA domain is locked.
    state: RwLock<Option<Unlocked>>,
    /// Whether `state` is some: seen without a lock.
    unlocked: AtomicBool,
    /// How many ids were given out.
    made: AtomicU64,
}

/// What exists while the domain is unlocked.
struct Unlocked {
    /// Wrapping keys by KEK version; the last wraps new keys.
    versions: Vec<(u32, Slot<WrapKey>)>,
    /// Expanded keys, by id: threads that use different keys do not wait for each other.
    caches: [Cache; SHARDS],
}

impl Unlocked {
    fn cache(&self, id: u64) -> &Mutex<Keys> {
        &self.caches[id as usize % SHARDS].0
    }
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
        let (state, unlocked) = (RwLock::new(None), AtomicBool::new(false));
        DataKeys { arena, store_id, rng, state, unlocked, made: AtomicU64::new(0) }
    }

    /// Unlocks the domain, or adds a version of its KEK. New keys are wrapped under the highest.
    pub fn unlock(&self, kek_version: u32, key: Slot<WrapKey>) {
        let mut state = self.state.write();
        let unlocked = state
            .get_or_insert_with(|| Unlocked { versions: Vec::new(), caches: Default::default() });
        unlocked.versions.retain(|(version, _)| *version != kek_version);
        unlocked.versions.push((kek_version, key));
        unlocked.versions.sort_by_key(|(version, _)| *version);
        self.unlocked.store(true, Ordering::Release);
    }

    /// Locks the domain: when this returns every key is zeroized, and contents answer
    /// [`Error::KeyUnavailable`].
    pub fn lock(&self) {
        let mut state = self.state.write();
        self.unlocked.store(false, Ordering::Release);
        *state = None;
    }

    /// Whether contents can be read and written.
    pub fn is_unlocked(&self) -> bool {
        self.unlocked.load(Ordering::Acquire)
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
        let cached = state.as_ref().ok_or(Error::KeyUnavailable)?.cache(id).lock().get(id);
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
        unlocked.cache(id).lock().insert(id, ino, Arc::clone(&key));
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
        unlocked.cache(id).lock().insert(id, ino, Arc::clone(&key));
        Ok((id, row, KeyGuard { key, _state: state }))
    }

    /// Keys that are expanded in memory.
    pub fn expanded(&self) -> usize {
        let state = self.state.read();
        let caches = state.iter().flat_map(|unlocked| &unlocked.caches);
        caches.map(|cache| cache.0.lock().entries.len()).sum()
    }

    /// Forgets a key whose row was deleted.
    pub(super) fn forget(&self, id: u64) {
        if let Some(unlocked) = &*self.state.read() {
            unlocked.cache(id).lock().entries.remove(&id);
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

/// Some of the expanded keys. Each has cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Cache(Mutex<Keys>);

/// Expanded keys by id, the least recently used dropped first.
#[derive(Default)]
struct Keys {
    entries: HashMap<u64, Entry, BuildHasherDefault<NumberHasher>>,
    clock: u64,
}

struct Entry {
    ino: u64,
    key: Arc<Slot<DataKey>>,
    used: u64,
}

impl Keys {
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
