//! The key service: its file, opened, and what its administrator may do to it.
//!
//! # Invariants
//! 1. `seen` holds the contents that were verified last, and the file they came from. Every call
//!    first compares that file with what the path stands for now, and reads again if it differs:
//!    a key that another process disabled is refused from the next call on.
//! 2. Sequence numbers only rise within a process: a file with a lower one than was seen is an
//!    older copy, and is refused.
//! 3. A change is made to the contents read under the file's lock, never to `seen`, whose lock is
//!    not held meanwhile: uses of keys do not wait for changes.
//! 4. The material of an expired key is removed by the first change after its date; until then
//!    it counts as gone all the same.
//! 5. `effects` gets what a change did beside what was asked as soon as the new file has the name
//!    of the old one, durable or not. An audited service records it: all of it, each once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::crypto::{KeyArena, Label, Rng, SealKey, Slot};
use crate::error::{Error, Object, Result};
use crate::secret::Secret;

use super::bytes::Hex;
use super::document::{Body, Unverified};
use super::effect::{Effects, SideEffect};
use super::file::{self, Snapshot};
use super::key::{KeyName, KeyRecord, Sealer, StateRecord, check_alias};
use super::logs::{self, Note};
use super::unlock::{UnlockRecord, derive_seal_key};
use super::{Argon2Cost, Unlock};
use crate::keys::{Clock, KeyDescription, SystemClock};

/// Fewest and most days until a scheduled deletion, as AWS KMS has them.
const DELETION_DAYS: std::ops::RangeInclusive<u32> = 7..=30;

/// How a key service is opened; the default suits all but tests.
#[derive(Clone)]
pub struct LocalOptions {
    /// Cost of guessing the passphrase, for [`LocalKms::init_with`] and changes of it. An
    /// existing file brings its own.
    pub cost: Argon2Cost,
    /// The clock that dates keys and their deletion. A clock that runs ahead deletes early.
    pub clock: Arc<dyn Clock>,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions { cost: Argon2Cost::default(), clock: Arc::new(SystemClock) }
    }
}

/// A key service in a file.
///
/// Usable from many threads, and by many processes on one file. A key is named by its id (32
/// hexadecimal digits) or by an alias (`alias/` and a name). Uses of keys block for the time of a
/// file access; changes also for flushes and for each other. After a fork the child gets
/// [`Error::Forked`] and must open the file again.
///
/// # Errors
/// Every call may give `KeyUnreachable` where the file is gone, `Io`, and `Corrupt` or
/// `Unsupported` where its new contents are not what the service writes. A key that is not
/// there is `KeyNotFound`, one whose state forbids the call `KeyDisabled`.
pub struct LocalKms {
    path: PathBuf,
    service: [u8; 16],
    keys: Slot<RootKeys>,
    rng: Rng,
    options: LocalOptions,
    seen: Mutex<Seen>,
    pub(super) effects: Effects,
}

/// The two keys that the root key gives.
struct RootKeys {
    /// Seals key material.
    material: SealKey,
    /// Authenticates the file.
    file: SealKey,
}

struct Seen {
    file: Snapshot,
    body: Arc<Body>,
}

impl LocalKms {
    /// Creates a key service without keys, in a new file of mode 0600.
    ///
    /// # Errors
    /// `Exists`: a key service is never overwritten. `Io`, and what reading a key file gives.
    pub fn init(path: &Path, unlock: &Unlock) -> Result<Self> {
        Self::init_with(path, unlock, LocalOptions::default())
    }

    /// As [`LocalKms::init`].
    pub fn init_with(path: &Path, unlock: &Unlock, options: LocalOptions) -> Result<Self> {
        let arena = KeyArena::new()?;
        let rng = Rng::new(&arena)?;
        let mut service = Hex([0; 16]);
        rng.fill(&mut service.0)?;
        let root = rng.secret()?;
        let unlock = UnlockRecord::seal(&root, &service.0, unlock, options.cost, &rng)?;
        let body = Body { service, sequence: 1, unlock, keys: Vec::new(), logs: Vec::new() };
        let keys = RootKeys::place(&arena, &root, &service.0)?;
        let file = file::create(path, &body.to_file(&keys.get()?.file, &rng)?, &rng)?;
        let seen = Mutex::new(Seen { file, body: Arc::new(body) });
        let (path, effects) = (resolve(path)?, Effects::default());
        Ok(LocalKms { path, service: service.0, keys, rng, options, seen, effects })
    }

    /// Opens the key service in a file. A symbolic link is resolved now, not at every call.
    ///
    /// # Errors
    /// `KeyUnreachable` for a missing file, `WrongPassphrase`, `WrongKey` for the wrong key file,
    /// `InvalidArgument` where the file is opened by the other of the two, `Corrupt`,
    /// `Unsupported`, `Io`, and what reading a key file gives.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self> {
        Self::open_with(path, unlock, LocalOptions::default())
    }

    /// As [`LocalKms::open`].
    pub fn open_with(path: &Path, unlock: &Unlock, options: LocalOptions) -> Result<Self> {
        let path = resolve(path)?;
        let (file, bytes) = file::read(&path)?;
        let unverified = Unverified::parse(&bytes)?;
        let service = unverified.service();
        let root = unverified.open_root(unlock)?;
        let arena = KeyArena::new()?;
        let rng = Rng::new(&arena)?;
        let keys = RootKeys::place(&arena, &root, &service)?;
        let body = Arc::new(unverified.verify(&keys.get()?.file)?);
        let seen = Mutex::new(Seen { file, body });
        Ok(LocalKms { path, service, keys, rng, options, seen, effects: Effects::default() })
    }

    /// Whether a key file opens the key service in a file, and no passphrase: to ask for the right
    /// one. Nothing proves it.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn needs_key_file(path: &Path) -> Result<bool> {
        let (_, bytes) = file::read(path)?;
        Ok(Unverified::parse(&bytes)?.needs_key_file())
    }

    /// The file, with symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a key, enabled, with version 1.
    ///
    /// # Errors
    /// `Exists` where another key has the alias; `InvalidArgument` for what is no alias;
    /// `FileTooLarge` where the file is full.
    pub fn create_key(&self, alias: Option<&str>) -> Result<KeyDescription> {
        alias.map_or(Ok(()), check_alias)?;
        self.grow(|Draft { body, sealer, now, .. }| {
            if alias.is_some_and(|alias| find(body, alias).is_ok()) {
                let alias = alias.unwrap_or_default();
                return Err(Error::Exists.named(format_args!("key name {alias}")));
            }
            let mut key = KeyRecord::create(sealer, &self.rng, now)?;
            key.aliases.extend(alias.map(str::to_owned));
            let description = key.describe();
            body.keys.push(key);
            Ok(description)
        })
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Result<Vec<KeyDescription>> {
        let (body, now) = (self.current()?, self.options.clock.now());
        Ok(body.keys.iter().filter(|k| !k.is_expired(now)).map(KeyRecord::describe).collect())
    }

    /// Gives an alias to a key; a key that had it loses it.
    ///
    /// What is wrapped already names the key by its id, so it is not affected.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no alias; `KeyDisabled` for a key pending deletion;
    /// `FileTooLarge` where the file is full.
    pub fn set_alias(&self, alias: &str, key: &str) -> Result<KeyDescription> {
        check_alias(alias)?;
        self.grow(|Draft { body, effects, .. }| {
            let index = find(body, key)?;
            body.keys[index].check_staying()?;
            if let Some(loser) = find(body, alias).ok().filter(|loser| *loser != index) {
                let (key, alias) = (body.keys[loser].id.0, alias.to_owned());
                effects.push(SideEffect::LostAlias { key, alias });
            }
            for key in &mut body.keys {
                key.aliases.retain(|a| a != alias);
            }
            body.keys[index].aliases.push(alias.to_owned());
            Ok(body.keys[index].describe())
        })
    }

    /// Takes an alias from its key.
    ///
    /// # Errors
    /// `KeyNotFound` where no key has it.
    pub fn delete_alias(&self, alias: &str) -> Result<KeyDescription> {
        check_alias(alias)?;
        self.change_key(alias, |body, index, _| {
            body.keys[index].aliases.retain(|a| a != alias);
            Ok(())
        })
    }

    /// Lets a key be used again.
    ///
    /// # Errors
    /// `KeyDisabled` for a key pending deletion: cancel that first.
    pub fn enable(&self, key: &str) -> Result<KeyDescription> {
        self.set_state(key, |_| StateRecord::Enabled)
    }

    /// Refuses every use of a key until it is enabled again. Every process that has the service
    /// open refuses from its next call on.
    ///
    /// # Errors
    /// `KeyDisabled` for a key pending deletion, which refuses every use already.
    pub fn disable(&self, key: &str) -> Result<KeyDescription> {
        self.set_state(key, |_| StateRecord::Disabled)
    }

    /// Refuses every use of a key from now on, and destroys it after `days` (7 to 30) of 86,400
    /// seconds. What it wrapped can then never be unwrapped again.
    ///
    /// # Errors
    /// `InvalidArgument` for other days; `KeyDisabled` for a key pending deletion already.
    pub fn schedule_deletion(&self, key: &str, days: u32) -> Result<KeyDescription> {
        if !DELETION_DAYS.contains(&days) {
            return Err(Error::InvalidArgument("a deletion is scheduled 7 to 30 days ahead"));
        }
        let wait = u64::from(days) * 86_400;
        self.set_state(key, |now| StateRecord::PendingDeletion { at: now.saturating_add(wait) })
    }

    /// Cancels the deletion of a key, which is disabled afterwards.
    ///
    /// # Errors
    /// `InvalidArgument` for a key that is not pending deletion; `KeyNotFound` after its date.
    pub fn cancel_deletion(&self, key: &str) -> Result<KeyDescription> {
        self.change_key(key, |body, index, _| match &mut body.keys[index].state {
            state @ StateRecord::PendingDeletion { .. } => {
                *state = StateRecord::Disabled;
                Ok(())
            }
            _ => Err(Error::InvalidArgument("the key is not pending deletion")),
        })
    }

    /// Gives a key new material, which wraps from now on; older versions still unwrap.
    ///
    /// # Errors
    /// `KeyDisabled` unless the key is enabled; `FileTooLarge` where the file is full.
    pub fn rotate(&self, key: &str) -> Result<KeyDescription> {
        self.grow(|Draft { body, sealer, now, .. }| {
            let key = find(body, key)?;
            body.keys[key].check_enabled()?;
            body.keys[key].add_version(sealer, &self.rng, now)?;
            Ok(body.keys[key].describe())
        })
    }

    /// Destroys the keys whose date of deletion has come, as every change does; returns how many.
    ///
    /// The file then does not contain them any more. Its old bytes may stay in free space of the
    /// disk until they are overwritten: who has them and opens the file's root key has the keys.
    pub fn destroy_expired(&self) -> Result<usize> {
        let (body, now) = (self.current()?, self.options.clock.now());
        match body.keys.iter().any(|key| key.is_expired(now)) {
            // Another process may destroy them first: those that this change finds count.
            true => self.change(|draft| Ok(draft.effects.len())),
            false => Ok(0),
        }
    }

    /// Changes what opens the file. Processes that have it open go on; keys stay as they are.
    ///
    /// Copies of the file from before still open with what opened them.
    ///
    /// # Errors
    /// For `current`, as [`LocalKms::open`]; for `new`, as [`LocalKms::init`].
    pub fn change_unlock(&self, current: &Unlock, new: &Unlock) -> Result<()> {
        self.change(|Draft { body, .. }| {
            let root = body.unlock.open(&self.service, current)?;
            let cost = self.options.cost;
            body.unlock = UnlockRecord::seal(&root, &self.service, new, cost, &self.rng)?;
            Ok(())
        })
    }

    /// The contents of the file as it is now.
    pub(super) fn current(&self) -> Result<Arc<Body>> {
        let mut seen = self.seen.lock();
        if !seen.file.is_current(&self.path)? {
            let (file, bytes) = file::read(&self.path)?;
            let body = Arc::new(self.verify(&bytes, seen.body.sequence)?);
            *seen = Seen { file, body };
        }
        Ok(Arc::clone(&seen.body))
    }

    /// The key of that name in whatever state, unless its date of deletion has come.
    pub(super) fn key<'a>(&self, body: &'a Body, name: &str) -> Result<&'a KeyRecord> {
        let key = &body.keys[find(body, name)?];
        match key.is_expired(self.options.clock.now()) {
            true => Err(not_found(name)),
            false => Ok(key),
        }
    }

    /// Runs `f` with what opens key material and with the generator of nonces.
    pub(super) fn with_sealer<R>(
        &self,
        f: impl FnOnce(&Sealer<'_>, &Rng) -> Result<R>,
    ) -> Result<R> {
        f(&Sealer { key: &self.keys.get()?.material, service: &self.service }, &self.rng)
    }

    fn set_state(
        &self,
        key: &str,
        state: impl FnOnce(u64) -> StateRecord,
    ) -> Result<KeyDescription> {
        self.change_key(key, |body, index, now| {
            body.keys[index].check_staying()?;
            body.keys[index].state = state(now);
            Ok(())
        })
    }

    fn change_key(
        &self,
        key: &str,
        f: impl FnOnce(&mut Body, usize, u64) -> Result<()>,
    ) -> Result<KeyDescription> {
        self.change(|Draft { body, now, .. }| {
            let index = find(body, key)?;
            f(body, index, now)?;
            Ok(body.keys[index].describe())
        })
    }

    /// As [`LocalKms::change_within`], for a change that the reserve of the file is for.
    pub(super) fn change<R>(&self, f: impl FnOnce(Draft<'_>) -> Result<R>) -> Result<R> {
        self.change_within(file::MAX_LEN, f)
    }

    /// As [`LocalKms::change_within`], for a change that adds to the file and may not take that
    /// reserve.
    fn grow<R>(&self, f: impl FnOnce(Draft<'_>) -> Result<R>) -> Result<R> {
        self.change_within(file::MAX_GROWN_LEN, f)
    }

    /// Changes the file: all of `f` or nothing, durable when this returns. `f` sees no expired
    /// key, and none is written. The new file has at most `limit` bytes.
    fn change_within<R>(&self, limit: u64, f: impl FnOnce(Draft<'_>) -> Result<R>) -> Result<R> {
        let floor = self.seen.lock().body.sequence;
        let (locked, bytes) = file::lock(&self.path)?;
        let mut body = self.verify(&bytes, floor)?;
        let (keys, now) = (self.keys.get()?, self.options.clock.now());
        let expired = body.keys.extract_if(.., |key| key.is_expired(now));
        let mut effects = expired.map(|k| SideEffect::Destroyed { key: k.id.0 }).collect();
        let sealer = &Sealer { key: &keys.material, service: &self.service };
        let result = f(Draft { body: &mut body, sealer, now, effects: &mut effects })?;
        if let Some((log, anchor)) = self.effects.anchor() {
            body.note_log(&logs::name(&self.path, &log), anchor, Note::Newer);
        }
        let next = body.sequence.checked_add(1);
        body.sequence = next.ok_or(Error::Internal("the key service had 2^64 changes"))?;
        let bytes = body.to_file(&keys.file, &self.rng)?;
        let replaced = file::replace(&self.path, &locked, &bytes, (limit, &self.rng))?;
        // In effect from here on, also where it is not durable.
        self.effects.note(effects);
        let file = replaced?;
        // Another thread's later change may be there already.
        let mut seen = self.seen.lock();
        if seen.body.sequence < body.sequence {
            *seen = Seen { file, body: Arc::new(body) };
        }
        Ok(result)
    }

    /// The contents of the file, if they are this service's and not older than what was seen.
    fn verify(&self, bytes: &[u8], sequence: u64) -> Result<Body> {
        let unverified = Unverified::parse(bytes)?;
        if unverified.service() != self.service {
            return Err(Error::corrupt(
                Object::KeyService,
                "another service's file took its place",
            ));
        }
        let body = unverified.verify(&self.keys.get()?.file)?;
        if body.sequence < sequence {
            return Err(Error::corrupt(Object::KeyService, "an older copy of it took its place"));
        }
        Ok(body)
    }
}

/// The contents of the file, to be changed under its lock.
pub(super) struct Draft<'a> {
    pub(super) body: &'a mut Body,
    sealer: &'a Sealer<'a>,
    now: u64,
    /// What the change does beside what was asked; begins with the keys that it destroys.
    effects: &'a mut Vec<SideEffect>,
}

impl RootKeys {
    fn place(
        arena: &Arc<KeyArena>,
        root: &Secret<32>,
        service: &[u8; 16],
    ) -> Result<Slot<RootKeys>> {
        arena.place(|| {
            Ok(RootKeys {
                material: derive_seal_key(root, service, Label::KmsMaterial),
                file: derive_seal_key(root, service, Label::KmsFile),
            })
        })
    }
}

/// Where in `body.keys` the key of that id or alias stands.
fn find(body: &Body, name: &str) -> Result<usize> {
    let wanted = KeyName::parse(name).ok_or_else(|| not_found(name))?;
    body.keys.iter().position(|key| key.is_named(&wanted)).ok_or_else(|| not_found(name))
}

/// The name may be anything, of any length.
fn not_found(name: &str) -> Error {
    const SHOWN: usize = 300;
    Error::KeyNotFound(name[..name.floor_char_boundary(SHOWN)].to_owned())
}

/// The path without symbolic links, so that a change replaces the file and not the link.
fn resolve(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| file::io_error("open", e, path))
}
