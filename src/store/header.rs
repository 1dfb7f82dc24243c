//! Backups of the header: geometry and wrapped keys, without which the rest of a store cannot be
//! read, and no state of it.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use zerocopy::FromZeros;

use super::{Providers, StoreOptions};
use crate::block::{
    Layout, MetaKeys, Sealer, SlotState, StoreKeys, inspect_ring, scan, write_place,
};
use crate::crypto::{Domain, KeyArena, Rng, Slot};
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{
    BACKUP_LEN, RING_SLOTS, SLOT_SIZE, Superblock, UnverifiedSuperblock, encode_backup,
    parse_backup,
};
use crate::keys::{AuditEvent, AuditOp, AuditSink, Kek, WrappedKey, newest};
use crate::txn::Engine;

/// A backup of the header of a store: where its parts stand, its wrapped keys, and its own random
/// keys, sealed. It opens nothing without the provider keys. It holds no state, so it stays good
/// until the store is put under other keys.
#[derive(Clone)]
pub struct HeaderBackup {
    slot: UnverifiedSuperblock,
}

/// What a backup of a header says without a key; nothing of it is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderDescription {
    /// The store's identity.
    pub id: [u8; 16],
    /// Generation of the store when the backup was made.
    pub generation: u64,
    /// Feature masks: compatible, read-only compatible, incompatible.
    pub features: [u64; 3],
    /// The wrapped keys.
    pub keys: Vec<HeaderKey>,
}

/// A wrapped key of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderKey {
    /// 1 for metadata, 2 for contents.
    pub domain: u8,
    /// Version of the key.
    pub version: u32,
    /// Provider that wrapped it; empty where that cannot be read.
    pub provider: String,
    /// Provider key under which it is wrapped.
    pub key_id: String,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// The store has these wrapped keys already.
    Nothing,
    /// A superblock was alive: it has the wrapped keys of the backup now.
    Keys,
    /// No superblock was alive: the header is there again, and a repair
    /// ([`Repair`](crate::check::Repair)) finds the state that belongs to it.
    Header,
}

/// A superblock, and what seals and opens the blocks of its store.
struct Opened {
    superblock: Superblock,
    store_keys: Slot<StoreKeys>,
}

impl HeaderBackup {
    /// Takes a backup of the header of a store. One provider call, for metadata.
    ///
    /// # Errors
    /// Those of finding a superblock, and of the provider; [`Error::Corrupt`] where none opens.
    pub fn take(
        device: &dyn Device,
        providers: &Providers,
        options: &StoreOptions,
    ) -> Result<HeaderBackup> {
        let arena = options.arena()?;
        let slots = sound(device)?;
        let mut failure = None;
        for slot in &slots {
            let opened = unlock(slot, &arena, providers, options)
                .and_then(|meta| Ok((open(&meta, slot)?, meta)));
            match opened {
                Ok((mut opened, meta)) => {
                    strip(&mut opened.superblock);
                    let id = opened.superblock.header.store_id;
                    let rng = Arc::new(Rng::new(&arena)?);
                    let sealer = Sealer::new(id, rng, meta, opened.store_keys);
                    let bytes = sealer.seal_superblock(&opened.superblock, 0)?;
                    return HeaderBackup::parse(&encode_backup(&bytes));
                }
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Err(failure.unwrap_or(Error::NotAStore))
    }

    /// Reads a backup.
    ///
    /// # Errors
    /// [`Error::NotAStore`] for something else, [`Error::Unsupported`], [`Error::Corrupt`].
    pub fn parse(bytes: &[u8]) -> Result<HeaderBackup> {
        Ok(HeaderBackup { slot: parse_backup(bytes)? })
    }

    /// The bytes of the backup, as [`HeaderBackup::parse`] reads them.
    pub fn encode(&self) -> Vec<u8> {
        encode_backup(self.slot.bytes())
    }

    /// Writes the backup to a new file of mode 0600, durably.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let failed = |op| move |error| Error::io(op, Object::Store, error);
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = made.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists,
            _ => failed("create the backup's file")(error),
        })?;
        let written = file.write_all(&self.encode()).and_then(|()| file.sync_all());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced =
            written.and_then(|()| fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all());
        synced.map_err(|error| {
            let _ = fs::remove_file(path);
            failed("write the backup's file")(error)
        })
    }

    /// Reads a backup from a file.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], and those of [`HeaderBackup::parse`].
    pub fn read_file(path: &Path) -> Result<HeaderBackup> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound,
            _ => Error::io("read the backup's file", Object::Store, error),
        };
        // A pipe or a terminal would be waited for.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::NotAStore);
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path).map_err(failed)?;
        file.take(BACKUP_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        HeaderBackup::parse(&bytes)
    }

    /// What the backup says. Needs no key.
    pub fn describe(&self) -> HeaderDescription {
        let header = &self.slot.header;
        let keys = self.slot.keys.iter().filter(|slot| slot.domain != 0).map(|slot| {
            let wrapped = WrappedKey::decode(slot.wrapped());
            let text = |of: fn(&WrappedKey) -> &str| {
                wrapped.as_ref().map_or(String::new(), |wrapped| of(wrapped).to_owned())
            };
            HeaderKey {
                domain: slot.domain,
                version: slot.version.get(),
                provider: text(WrappedKey::provider),
                key_id: text(WrappedKey::key_id),
            }
        });
        HeaderDescription {
            id: header.store_id,
            generation: header.generation.get(),
            features: [header.compat.get(), header.ro_compat.get(), header.incompat.get()],
            keys: keys.collect(),
        }
    }

    /// Puts the header of a store back. Where a superblock is alive it gets the wrapped keys alone,
    /// and the store's state stays; else the header stands there without a state, the store does
    /// not open, and [`Repair`](crate::check::Repair) finds the newest state of what is on the
    /// device. One provider call, for metadata, with a wrapped key of the backup. Durable when it
    /// returns; a crash leaves what was there, or what can be restored again.
    ///
    /// With `force`, which is told of it before, it also overwrites what may be newer or another
    /// store's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a backup that was edited or is not of these keys; those of the
    /// provider. Without `force`, [`Error::InvalidArgument`] where the store has newer wrapped
    /// keys, where there is another store, and where nothing of the store is on the device.
    /// Those of the device.
    pub fn restore(
        &self,
        device: Arc<dyn Device>,
        providers: &Providers,
        options: &StoreOptions,
        force: Option<&dyn AuditSink>,
    ) -> Result<Restored> {
        let arena = options.arena()?;
        let meta = unlock(&self.slot, &arena, providers, options)?;
        let own = open(&meta, &self.slot)?;
        let (alive, foreign) = self.alive(&*device, &meta)?;
        let refuse = |why| match force {
            None => Err(Error::InvalidArgument(why)),
            Some(sink) => self.record(sink, options),
        };
        match alive {
            Some(alive) if self.slot.has_keys(&alive.keys) => Ok(Restored::Nothing),
            Some(alive) => {
                if alive.header.generation.get() > self.slot.header.generation.get() {
                    refuse(NEWER_KEYS)?;
                }
                self.put_keys(device, &arena, meta, options)?;
                Ok(Restored::Keys)
            }
            None => {
                if foreign {
                    refuse(ANOTHER)?;
                } else if !self.has_blocks(&*device, &own.superblock)? {
                    refuse(NOTHING)?;
                }
                self.put_header(&*device, &arena, meta, own)?;
                Ok(Restored::Header)
            }
        }
    }

    /// The newest superblock of this store on a device, with a state, and whether there is one that
    /// is not this store's, or does not open.
    fn alive(
        &self,
        device: &dyn Device,
        meta: &Slot<MetaKeys>,
    ) -> Result<(Option<Superblock>, bool)> {
        let slots = match sound(device) {
            Err(Error::NotAStore | Error::Corrupt { .. }) => Vec::new(),
            slots => slots?,
        };
        let (mut alive, mut foreign) = (None, false);
        for slot in slots {
            let same = slot.header.store_id == self.slot.header.store_id;
            match open(meta, &slot) {
                Ok(opened) if same && opened.superblock.body.restored == 0 => {
                    alive.get_or_insert(opened.superblock);
                }
                Ok(_) if same => {}
                _ => foreign = true,
            }
        }
        Ok((alive, foreign))
    }

    /// Records that the restore was forced, before it happens.
    fn record(&self, sink: &dyn AuditSink, options: &StoreOptions) -> Result<()> {
        let slot = newest(&self.slot.keys, Domain::Meta)?;
        let wrapped = WrappedKey::decode(slot.wrapped())?;
        let context = options.context.for_store(&self.slot.header.store_id, Domain::Meta);
        let event = AuditEvent::new(AuditOp::RestoreHeader, wrapped.provider(), wrapped.key_id());
        sink.record(&AuditEvent { context: Some(&context), ..event })
    }

    /// Gives the store the wrapped keys of the backup.
    fn put_keys(
        &self,
        device: Arc<dyn Device>,
        arena: &Arc<KeyArena>,
        meta: Slot<MetaKeys>,
        options: &StoreOptions,
    ) -> Result<()> {
        let mut keys = Some(meta);
        let unlock = |_: &UnverifiedSuperblock| {
            let meta = keys.take().ok_or(Error::WrongKey(Object::Store))?;
            Ok((meta, Arc::new(Rng::new(arena)?)))
        };
        let mut options = options.engine.clone();
        options.read_only = false;
        let engine = Engine::open(device, unlock, &options)?;
        engine.write_keys(self.slot.keys)?;
        engine.finish()
    }

    /// Whether a block of the store stands in the pool.
    fn has_blocks(&self, device: &dyn Device, superblock: &Superblock) -> Result<bool> {
        let found = Cell::new(false);
        let (base, units) = (superblock.body.pool_base.get(), superblock.body.pool_units.get());
        let end = base.saturating_add(units);
        let id = &self.slot.header.store_id;
        scan(device, id, base, end, |_| !found.get(), &mut |_, block| {
            if let crate::block::Found::Node(_, _, sound) = block {
                found.set(found.get() || sound);
            }
        })?;
        Ok(found.get())
    }

    /// Makes the ring anew with the backup's slot alone.
    fn put_header(
        &self,
        device: &dyn Device,
        arena: &Arc<KeyArena>,
        meta: Slot<MetaKeys>,
        own: Opened,
    ) -> Result<()> {
        let io = |op| move |error| Error::io(op, Object::Store, error);
        let mut superblock = own.superblock;
        strip(&mut superblock);
        let id = superblock.header.store_id;
        let sealer = Sealer::new(id, Arc::new(Rng::new(arena)?), meta, own.store_keys);
        let zeros = vec![0; RING_SLOTS as usize * SLOT_SIZE];
        for place in 0..2 {
            device.write_at(Layout::place(place), &zeros).map_err(io("write"))?;
        }
        device.flush().map_err(io("flush"))?;
        for place in 0..2 {
            write_place(device, &sealer, &superblock, place)?;
        }
        device.flush().map_err(io("flush"))
    }
}

const NEWER_KEYS: &str = "the store was put under other keys since this backup was made: its \
                          wrapped keys are newer, and the old ones would come back";
const ANOTHER: &str = "another store's superblock is there, or one that this backup's keys do not \
                       open";
const NOTHING: &str = "nothing of this backup's store is there";

/// Leaves nothing of a state.
fn strip(superblock: &mut Superblock) {
    let body = &mut superblock.body;
    body.root = FromZeros::new_zeroed();
    body.space = FromZeros::new_zeroed();
    (body.log_head, body.log_seq, body.log_applied) = (0.into(), 0.into(), 0.into());
    (body.used_units, body.device_len) = (0.into(), 0.into());
    body.log_tag = [0; 16];
    body.restored = 1;
}

/// The sound slots of a ring, newest first.
fn sound(device: &dyn Device) -> Result<Vec<UnverifiedSuperblock>> {
    let ring = inspect_ring(device)?;
    let (mut slots, mut torn) = (Vec::new(), false);
    for slot in ring {
        match slot.state {
            SlotState::Sound(found) => slots.push(*found),
            SlotState::Torn | SlotState::Unread => torn = true,
            SlotState::Newer => return Err(Error::Unsupported("its format version is unknown")),
            SlotState::Empty | SlotState::Other => {}
        }
    }
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.header.generation.get()));
    match slots.is_empty() {
        false => Ok(slots),
        true if torn => Err(Error::corrupt(Object::Store, "no sound superblock is left")),
        true => Err(Error::NotAStore),
    }
}

/// The META keys of a slot, by its provider.
fn unlock(
    slot: &UnverifiedSuperblock,
    arena: &Arc<KeyArena>,
    providers: &Providers,
    options: &StoreOptions,
) -> Result<Slot<MetaKeys>> {
    let id = &slot.header.store_id;
    let wrapped = newest(&slot.keys, Domain::Meta)?;
    let kek = Kek::unlock(&*providers.metadata, wrapped, &options.context, id)?;
    MetaKeys::derive(arena, &kek.secret, id, kek.version)
}

fn open(meta: &Slot<MetaKeys>, slot: &UnverifiedSuperblock) -> Result<Opened> {
    let (superblock, store_keys) = Sealer::open_superblock(meta, slot.clone())?;
    Ok(Opened { superblock, store_keys })
}
