//! The engine: rows and space of one store, open.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard, RwLock};
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::inode_numbers::{FIRST, Numbers};
use super::newest::{Newest, newest};
use super::queue::{Lsn, Queue, Turn};
use super::recovery::{Recovery, check_whole};
use super::watch::Watch;
use crate::block::{
    Identity, Layout, LogRing, LogTail, MetaKeys, Ownership, Pin, Pins, Sealer, Space, StoreKeys,
    Takeover, read_ring,
};
use crate::crypto::{Rng, Slot};
use crate::device::{Device, UNFINISHED_LEN, is_unfinished};
use crate::error::{Error, Object, Result};
use crate::format::{
    FIRST_FS_TREE, KEY_SLOTS, KeySlot, RootRow, STORE_TREE, SpaceEntry, StoreId, StoreKey,
    Superblock, SuperblockBody, TreeId, UnverifiedSuperblock,
};
use crate::host::cache_bytes;
use crate::limits::{MAX_EDITS, UNIT};
use crate::tree::Forest;

/// Fewest and most places of the reserve: one transaction of [`MAX_EDITS`] deletions in as many
/// leaves fits in the fewest.
const RESERVE: (u64, u64) = (MAX_EDITS as u64 * 3 / 2, 256);

/// Why a store does not open whose header came back from a backup.
const RESTORED: &str = "its header came back from a backup; a repair finds what belongs to it";

/// How an engine is made and opened.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes of the log ring of a new store: 512 KiB to 1 GiB.
    pub log_bytes: u64,
    /// Bytes of memory for nodes: half for clean ones, the rest for changes under way. By default
    /// 64 MiB, or less where this process may use less than 512
    /// ([`host::cache_bytes`](crate::host::cache_bytes)).
    pub cache_bytes: usize,
    /// Whether changes are refused and nothing is written.
    pub read_only: bool,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        let cache_bytes = cache_bytes(64 << 20);
        EngineOptions { log_bytes: 32 << 20, cache_bytes, read_only: false }
    }
}

/// Who opens a store for writing, and what becomes of who had it before.
#[derive(Clone)]
pub struct Opener {
    /// Who opens it.
    pub identity: Identity,
    /// What to do about an owner that may still be there.
    pub takeover: Takeover,
}

impl Opener {
    /// This process.
    pub fn this(takeover: Takeover) -> Opener {
        Opener { identity: Identity::this(), takeover }
    }
}

/// What a new store starts with.
pub struct Keys {
    /// The store's identity, random.
    pub store_id: StoreId,
    /// The wrapped KEKs.
    pub slots: [KeySlot; KEY_SLOTS],
    /// Subkeys of the META KEK.
    pub meta: Slot<MetaKeys>,
    /// Source of nonces.
    pub rng: Arc<Rng>,
    /// When it is made, nanoseconds since 1970.
    pub created: u64,
}

/// Units in use and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Units in use.
    pub used: u64,
    /// Units of the pool; of a device that grows those that it has, and those that it can get
    /// from its host just now.
    pub total: u64,
    /// Units that new contents can take: those that are neither in use nor kept for freeing others,
    /// and not needed for the metadata of the new ones.
    pub available: u64,
}

/// Rows and space of one store. Thread-safe: readers and writers call it from any thread.
pub struct Engine {
    pub(super) device: Arc<dyn Device>,
    /// The same.
    pub(super) watch: Arc<Watch>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) space: Arc<Space>,
    pub(super) pins: Arc<Pins>,
    pub(super) forest: Forest,
    pub(super) ring: LogRing,
    pub(super) queue: Queue,
    /// One writer at a time.
    pub(super) writer: Mutex<()>,
    /// Whether nothing will change any more.
    pub(super) ending: AtomicBool,
    /// Held by who gives space back to the host.
    pub(super) trimming: Mutex<()>,
    /// Held by a checkpoint from start to end.
    pub(super) checkpointing: Mutex<()>,
    /// The newest durable superblock.
    pub(super) committed: RwLock<Superblock>,
    /// Held by a flush until its failure poisoned the engine: no other flush succeeds between.
    flushing: Mutex<()>,
    /// Whether so much was dirty that a checkpoint is due.
    pub(super) crowded: AtomicBool,
    pub(super) poison: OnceLock<Arc<str>>,
    /// Who took the store over.
    pub(super) taken: OnceLock<Arc<str>>,
    /// That the store is this engine's; not of one that only reads.
    pub(super) ownership: Option<Ownership>,
    pub(super) options: EngineOptions,
    /// Places for nodes that only freeing transactions may use.
    pub(super) reserve: usize,
    pub(super) inodes: Numbers,
    recovery: Recovery,
    epoch: u64,
    /// The last epoch that no later opening takes.
    pub(super) claimed: AtomicU64,
}

impl Engine {
    /// Makes a new store on an empty device, with one file-system tree, and opens it. Durable
    /// when it returns.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where the device is too small, and those of the device.
    pub fn create(device: Arc<dyn Device>, keys: Keys, options: &EngineOptions) -> Result<Engine> {
        let io = |error| Error::io("prepare", Object::Store, error);
        let capacity = device.capacity().map_err(io)?;
        let layout = Layout::new(options.log_bytes, capacity)?;
        device.allocate(0, layout.fixed_bytes()).map_err(|error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::NoSpace,
            _ => io(error),
        })?;
        zero(&*device, layout.fixed_bytes())?;
        let mut body = SuperblockBody::new_zeroed();
        body.epoch = U64::new(1);
        body.log_base = U64::new(layout.log_base);
        body.log_len = U64::new(layout.log_len);
        body.log_seq = U64::new(1 << 40);
        body.next_ino = U64::new(FIRST);
        body.pool_base = U64::new(layout.pool_base);
        body.pool_units = U64::new(layout.pool_units);
        body.created = U64::new(keys.created);
        let superblock = Superblock::new(keys.store_id, keys.slots, body);
        let store_keys = StoreKeys::generate(keys.meta.arena(), &keys.rng)?;
        let sealer = Arc::new(Sealer::new(keys.store_id, keys.rng, keys.meta, store_keys));
        let mut engine =
            Engine::assemble(device, sealer, superblock, options, Recovery::default())?;
        let (device, sealer) = (Arc::clone(&engine.device), Arc::clone(&engine.sealer));
        engine.ownership = Some(Ownership::begin(device, sealer, &Identity::this())?);
        engine.forest.add(STORE_TREE, None);
        engine.forest.add(FIRST_FS_TREE, None);
        let mut edits = super::Edits::new();
        let row = StoreKey::Root(FIRST_FS_TREE).encode();
        edits.put(STORE_TREE, &row, RootRow::EMPTY.as_bytes());
        engine.commit(&mut edits, super::Class::Freeing)?;
        engine.checkpoint()?;
        engine.watch.arm();
        Ok(engine)
    }

    /// As [`Engine::open_as`], for this process, which takes the store over from whoever has it
    /// open: for callers that know that nobody has.
    ///
    /// # Errors
    /// As there.
    pub fn open(
        device: Arc<dyn Device>,
        unlock: impl FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)>,
        options: &EngineOptions,
    ) -> Result<Engine> {
        Engine::open_as(device, unlock, options, &Opener::this(Takeover::AtOnce))
    }

    /// Opens a store: finds its newest superblock, has `unlock` make the META keys for it, and
    /// recovers what the log holds. `unlock` is called again where that slot of the ring turns out
    /// to be damaged and the next has other wrapped keys; its last success counts. Reads a bounded
    /// number of blocks, whatever the store's size.
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::Unsupported`], [`Error::Truncated`], [`Error::Corrupt`],
    /// [`Error::InUseBy`], those of `unlock`, and those of the device.
    pub fn open_as(
        device: Arc<dyn Device>,
        mut unlock: impl FnMut(&UnverifiedSuperblock) -> Result<(Slot<MetaKeys>, Arc<Rng>)>,
        options: &EngineOptions,
        opener: &Opener,
    ) -> Result<Engine> {
        let mut found = newest(read_ring(&*device)?, &mut unlock)?;
        if found.superblock.body.restored != 0 {
            return Err(Error::corrupt(Object::Store, RESTORED));
        }
        let mut ownership = None;
        if !options.read_only {
            found.check_writable()?;
            check_whole(&*device, &found.superblock)?;
            let (to, sealer) = (Arc::clone(&device), Arc::clone(&found.sealer));
            let (own, watched) = Ownership::claim(to, sealer, &opener.identity, opener.takeover)?;
            if watched {
                // Whoever had it may have written another one meanwhile.
                found = newest(read_ring(&*device)?, &mut unlock)?;
                found.check_writable()?;
            }
            ownership = Some(own);
        }
        let Newest { superblock, sealer, rejected } = found;
        let mut engine = Engine::recover(device, sealer, superblock, rejected, options, ownership)?;
        engine.recovery.rejected_slots = rejected;
        Ok(engine)
    }

    /// Puts the parts together for a superblock. Reads nothing.
    pub(super) fn assemble(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        superblock: Superblock,
        options: &EngineOptions,
        recovery: Recovery,
    ) -> Result<Engine> {
        let watch = Arc::new(Watch::new(device));
        let device: Arc<dyn Device> = Arc::clone(&watch) as _;
        let body = &superblock.body;
        let layout = Layout {
            log_base: body.log_base.get(),
            log_len: body.log_len.get(),
            pool_base: body.pool_base.get(),
            pool_units: body.pool_units.get(),
        }
        .check()?;
        let tail =
            LogTail { offset: body.log_head.get(), seq: body.log_seq.get(), tag: body.log_tag };
        if tail.offset >= layout.log_len || !tail.offset.is_multiple_of(UNIT as u64) {
            return Err(Error::corrupt(Object::Store, "start of the log"));
        }
        let generation = superblock.header.generation.get();
        let pins = Arc::new(Pins::new(generation));
        let (device_, sealer_) = (Arc::clone(&device), Arc::clone(&sealer));
        let (roots, used): ([SpaceEntry; _], u64) = (body.space, body.used_units.get());
        if used > layout.pool_units {
            return Err(Error::corrupt(Object::Store, "more units are in use than there are"));
        }
        let device_len =
            device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
        let space = Arc::new(Space::new(device_, sealer_, layout, roots, used, device_len));
        let forest = Forest::new(
            Arc::clone(&device),
            Arc::clone(&sealer),
            Arc::clone(&pins),
            options.cache_bytes / 2,
            generation + 1,
        );
        let ring = LogRing::new(Arc::clone(&device), Arc::clone(&sealer), &layout);
        let queue = Queue::new(tail, (layout.log_len / 4).min(4 << 20) as usize);
        let reserve = (layout.pool_units / 64).clamp(RESERVE.0, RESERVE.1) as usize;
        let (epoch, inodes) = (body.epoch.get(), Numbers::new(body.next_ino.get()));
        Ok(Engine {
            device,
            watch,
            sealer,
            space,
            pins,
            forest,
            ring,
            queue,
            writer: Mutex::new(()),
            ending: AtomicBool::new(false),
            trimming: Mutex::new(()),
            checkpointing: Mutex::new(()),
            committed: RwLock::new(superblock),
            flushing: Mutex::new(()),
            crowded: AtomicBool::new(false),
            poison: OnceLock::new(),
            taken: OnceLock::new(),
            ownership: None,
            options: options.clone(),
            reserve,
            inodes,
            recovery,
            epoch,
            claimed: AtomicU64::new(epoch),
        })
    }

    pub(super) fn set_epoch(&mut self, epoch: u64, recovery: Recovery) {
        (self.epoch, self.recovery) = (epoch, recovery);
        *self.claimed.get_mut() = epoch;
    }

    /// Raised at each open for writing.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The generation that changes belong to now: that of the next checkpoint, or the one after
    /// where a checkpoint is just being written.
    pub fn generation(&self) -> u64 {
        self.forest.generation()
    }

    /// What opening found in the log.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The store's identity.
    pub fn store_id(&self) -> &StoreId {
        self.sealer.store_id()
    }

    /// The store's random keys.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn store_keys(&self) -> Result<&StoreKeys> {
        self.sealer.store_keys()
    }

    /// The source of nonces and tweaks.
    pub fn rng(&self) -> &Arc<Rng> {
        self.sealer.rng()
    }

    /// The newest durable superblock.
    pub fn superblock(&self) -> Superblock {
        self.committed.read().clone()
    }

    /// Whether changes are refused because the store was opened so.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// Calls `read` with a row's value. `read` must be short and must not call the engine.
    pub fn get<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        self.forest.get(tree, key, read)
    }

    /// Calls `read` with the last row at or before `key`, as [`Engine::get`] does.
    pub fn floor<R>(
        &self,
        tree: TreeId,
        key: &[u8],
        read: impl FnOnce(&[u8], &[u8]) -> R,
    ) -> Result<Option<R>> {
        self.forest.floor(tree, key, read)
    }

    /// Calls `visit` with the rows from `from` on and below `to`, in order, until it returns
    /// `false`. `visit` must be short and must not call the engine.
    pub fn scan(
        &self,
        tree: TreeId,
        from: &[u8],
        to: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        self.forest.scan(tree, from, to, visit)
    }

    /// Where a scan that failed at `from` may go on: the first key behind what cannot be read
    /// there, or behind the leaf of `from` where that can. `None` where nothing follows.
    ///
    /// # Errors
    /// Those of reading the way there, beside the node that ends it.
    pub fn behind(&self, tree: TreeId, from: &[u8]) -> Result<Option<Vec<u8>>> {
        self.forest.behind(tree, from)
    }

    /// Keeps what is reachable now from being overwritten: taken before rows are read whose units
    /// will be read from the device, and held until they were.
    pub fn pin(&self) -> Pin<'_> {
        self.pin_for(0)
    }

    /// As [`Engine::pin`], for readers of something that has a number: those of others seldom wait.
    pub fn pin_for(&self, number: u64) -> Pin<'_> {
        self.pins.pin(number)
    }

    /// Makes everything up to a transaction durable: the prefix survives any crash.
    ///
    /// # Errors
    /// Those of the device, which poison the store: the transaction may or may not be durable.
    pub fn sync(&self, lsn: Lsn) -> Result<()> {
        self.healthy()?;
        // Also where nothing is to be written: what was durable may be lost.
        self.look_at_device()?;
        loop {
            match self.queue.turn(lsn, &self.ring, || self.healthy())? {
                Turn::Done => return self.keep(),
                Turn::Checkpoint => self.checkpoint_for(lsn)?,
                Turn::Lead(bytes, last) => {
                    let mut lead = Lead { engine: self, last, tail: None };
                    // A heartbeat that is due goes with the flush.
                    let written = self.beat_if_due().and_then(|_| {
                        let tail = self.queue.write(&self.ring, &bytes)?;
                        self.flush()?;
                        Ok(tail)
                    });
                    lead.tail = Some(self.or_poison(written)?);
                }
            }
        }
    }

    /// The last transaction so far.
    pub fn last(&self) -> Lsn {
        self.queue.appended()
    }

    /// Makes what was written durable. Once a flush failed none succeeds any more: the device may
    /// have dropped what it could not write.
    pub(super) fn flush(&self) -> Result<()> {
        let flushing = self.flushing.lock();
        self.healthy()?;
        let flushed = self.device.flush();
        let result =
            self.or_poison(flushed.map_err(|error| Error::io("flush", Object::Store, error)));
        // Held across I/O: who waits comes next, not who comes again.
        MutexGuard::unlock_fair(flushing);
        result
    }

    /// Refuses to go on once the engine is poisoned, and in a forked child.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with the first cause, [`Error::TakenOver`], [`Error::Forked`].
    pub fn healthy(&self) -> Result<()> {
        self.sealer.check_process()?;
        if let Some(cause) = self.watch.ended() {
            self.poison(cause);
        }
        match (self.taken.get(), self.poison.get()) {
            (Some(by), _) => Err(Error::TakenOver(Arc::clone(by))),
            (None, Some(cause)) => Err(Error::Poisoned(Arc::clone(cause))),
            (None, None) => Ok(()),
        }
    }

    /// Poisons the engine if `result` is a failure: what is on the device is no longer known.
    pub(super) fn or_poison<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            if let Error::TakenOver(by) = error {
                self.taken.get_or_init(|| Arc::clone(by));
            }
            self.poison(&error.to_string());
        }
        result
    }

    /// Refuses changes from now on, for a cause: what is in memory or on the device is not known
    /// to be whole. The first cause stays.
    pub fn poison(&self, cause: &str) {
        self.poison.get_or_init(|| cause.into());
        self.queue.wake();
    }

    /// Breaks the engine from now on: freed space is handed out before the checkpoint that frees
    /// it. For tests that must notice it.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn reuse_at_once(&self) {
        self.space.reuse_at_once();
    }

    /// Breaks the engine from now on: what a checkpoint made free is discarded before another is
    /// durable. For tests that must notice it.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn discard_too_early(&self) {
        self.space.discard_too_early();
    }

    /// Runs work that must not end halfway: a panic in it poisons the engine.
    pub(super) fn whole<T>(&self, work: impl FnOnce() -> T) -> T {
        let unfinished = Unfinished(self);
        let result = work();
        std::mem::forget(unfinished);
        result
    }
}

/// Work under way; dropped, it ended by a panic.
struct Unfinished<'a>(&'a Engine);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.poison("a panic in the middle of a change");
    }
}

/// A leader's turn. However it ends, others go on; unless it made its transactions durable, they
/// find the engine poisoned: the bytes that it took out of the queue are lost.
struct Lead<'a> {
    engine: &'a Engine,
    last: Lsn,
    tail: Option<LogTail>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.tail.is_none() {
            self.engine.poison("a panic while the log was written");
        }
        self.engine.queue.led(self.last, self.tail);
    }
}

/// Writes zeros, so that the log ring holds no older record and its blocks are allocated. The mark
/// of a store that is being made stays: whoever put it there takes it away.
fn zero(device: &dyn Device, len: u64) -> Result<()> {
    let mut start = vec![0; UNFINISHED_LEN];
    let marked = device.read_at(0, &mut start).is_ok() && is_unfinished(&start);
    let zeros = vec![0u8; 1 << 20];
    let mut at = if marked { UNFINISHED_LEN as u64 } else { 0 };
    while at < len {
        let step = (len - at).min(zeros.len() as u64) as usize;
        device
            .write_at(at, &zeros[..step])
            .map_err(|error| Error::io("write", Object::Store, error))?;
        at += step as u64;
    }
    Ok(())
}
