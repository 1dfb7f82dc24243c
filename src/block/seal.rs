//! Sealing: the one place where metadata blocks are sealed and verified.
//!
//! Every seal is AES-256-GCM-SIV (RFC 8452) under a subkey of the META KEK, with a random nonce
//! and the block's logical identity as associated data: the store, what the block is, and where it
//! stands in its structure, never its address, so that blocks may move but not swap roles.

use parking_lot::RwLock;
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::crypto::{KeyArena, Label, Rng, SealKey, Slot, derive};
use crate::error::{Error, Object, Result};
use crate::format::{
    FORMAT_VERSION, LOG_ALIGN, LOG_HEADER_LEN, LogHeader, NODE_HEADER_LEN, NodeHeader, NodePointer,
    OWNER_BODY_LEN, OWNER_HEADER_LEN, OwnerBody, OwnerHeader, Page, SPACE_BODY, SPACE_HEADER_LEN,
    SUITE, SpaceEntry, SpaceHeader, SpacePage, StoreId, Superblock, SuperblockBody, TreeId,
    UnverifiedSuperblock,
};
use crate::limits::{MAX_LEVEL, NODE_SIZE, UNIT};
use crate::secret::Secret;

use super::StoreKeys;

/// The subkeys of one META KEK version.
pub struct MetaKeys {
    epoch: u32,
    node: SealKey,
    superblock: SealKey,
    log: SealKey,
    space: SealKey,
    owner: SealKey,
}

impl MetaKeys {
    /// Derives the subkeys of version `epoch` of the META KEK, into the arena.
    pub fn derive(
        arena: &Arc<KeyArena>,
        kek: &Secret<32>,
        store_id: &StoreId,
        epoch: u32,
    ) -> Result<Slot<MetaKeys>> {
        let subkey = |label| {
            let mut key = Secret::<32>::zeroed();
            derive(kek, store_id, label, &epoch.to_le_bytes(), key.expose_mut());
            SealKey::new(key.expose())
        };
        arena.place(|| {
            Ok(MetaKeys {
                epoch,
                node: subkey(Label::MetaNode),
                superblock: subkey(Label::MetaSuper),
                log: subkey(Label::MetaLog),
                space: subkey(Label::MetaSpace),
                owner: subkey(Label::MetaOwner),
            })
        })
    }
}

/// What a block is, as associated data: fixed width, one layout for all kinds.
#[derive(IntoBytes, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Identity {
    kind: [u8; 4],
    format: U32,
    store_id: StoreId,
    key_epoch: U32,
    tree: U32,
    /// Birth generation of a node, index of a space page, sequence number of a record.
    number: U64,
    level: u8,
    suite: u8,
    reserved: [u8; 6],
    /// Tag of the record before, for a log record.
    previous: [u8; 16],
    /// Last record that was durable when this one was written, for a log record.
    durable: U64,
}

/// Seals and verifies the metadata of one store. Thread-safe.
pub struct Sealer {
    store_id: StoreId,
    rng: Arc<Rng>,
    keys: RwLock<Vec<Arc<Slot<MetaKeys>>>>,
    store_keys: Slot<StoreKeys>,
}

impl Sealer {
    /// A sealer that seals with `keys` and verifies with them and those added later.
    pub fn new(
        store_id: StoreId,
        rng: Arc<Rng>,
        keys: Slot<MetaKeys>,
        store_keys: Slot<StoreKeys>,
    ) -> Sealer {
        Sealer { store_id, rng, keys: RwLock::new(vec![Arc::new(keys)]), store_keys }
    }

    /// The store's random keys.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn store_keys(&self) -> Result<&StoreKeys> {
        self.store_keys.get()
    }

    /// The store whose blocks these are.
    pub fn store_id(&self) -> &StoreId {
        &self.store_id
    }

    /// The source of randomness.
    pub fn rng(&self) -> &Arc<Rng> {
        &self.rng
    }

    /// Fails in a forked child, which has no keys.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn check_process(&self) -> Result<()> {
        self.rng.check_process()
    }

    fn newest(&self) -> Arc<Slot<MetaKeys>> {
        let keys = self.keys.read();
        Arc::clone(&keys[keys.len() - 1])
    }

    fn version(&self, epoch: u32, object: Object) -> Result<Arc<Slot<MetaKeys>>> {
        for keys in self.keys.read().iter() {
            if keys.get()?.epoch == epoch {
                return Ok(Arc::clone(keys));
            }
        }
        Err(Error::corrupt(object, "sealed under an unknown key version"))
    }

    fn identity(&self, kind: &[u8; 4], epoch: u32, number: u64) -> Identity {
        Identity {
            kind: *kind,
            format: U32::new(FORMAT_VERSION),
            store_id: self.store_id,
            key_epoch: U32::new(epoch),
            tree: U32::ZERO,
            number: U64::new(number),
            level: 0,
            suite: SUITE,
            reserved: [0; 6],
            previous: [0; 16],
            durable: U64::ZERO,
        }
    }

    fn node_identity(&self, pointer: &NodePointer) -> Identity {
        let birth = pointer.birth_gen.get();
        let identity = self.identity(b"node", pointer.key_epoch.get(), birth);
        Identity { tree: pointer.birth_tree, level: pointer.level, ..identity }
    }

    /// Seals a node into `out` (16 KiB) for the addresses given, and returns its pointer.
    pub fn seal_node(
        &self,
        page: &Page,
        tree: TreeId,
        birth: u64,
        addr: [u64; 2],
        out: &mut [u8],
    ) -> Result<NodePointer> {
        let keys = self.newest();
        let keys = keys.get()?;
        let mut pointer = NodePointer {
            addr: addr.map(U64::new),
            birth_gen: U64::new(birth),
            birth_tree: U32::new(tree),
            key_epoch: U32::new(keys.epoch),
            nonce: self.rng.nonce()?,
            tag: [0; 16],
            suite: SUITE,
            level: page.level(),
            reserved: [0; 2],
        };
        out.copy_from_slice(page.block());
        let (header, body) = out.split_at_mut(NODE_HEADER_LEN);
        let aad = self.node_identity(&pointer);
        pointer.tag = keys.node.seal(&pointer.nonce, aad.as_bytes(), body);
        let clear = NodeHeader::new(self.store_id, &pointer).finish(body);
        header.copy_from_slice(clear.as_bytes());
        Ok(pointer)
    }

    /// Verifies a block read from `unit` against the parent's pointer and parses it.
    pub fn open_node(
        &self,
        pointer: &NodePointer,
        unit: u64,
        mut block: Box<[u8; NODE_SIZE]>,
    ) -> Result<Page> {
        let object = Object::Node { unit };
        // A root's pointer was not parsed as those in nodes are.
        if pointer.suite != SUITE || pointer.level > MAX_LEVEL {
            return Err(Error::corrupt(object, "unknown suite or level"));
        }
        let keys = self.version(pointer.key_epoch.get(), object)?;
        let keys = keys.get()?;
        let aad = self.node_identity(pointer);
        let body = &mut block[NODE_HEADER_LEN..];
        keys.node
            .open(&pointer.nonce, aad.as_bytes(), body, &pointer.tag)
            .map_err(|_| Error::corrupt(object, "it does not authenticate"))?;
        Page::parse(block, pointer.level, unit)
    }

    /// Seals a space page and returns the block to write; the entry's count and home are the
    /// caller's.
    pub fn seal_space(
        &self,
        page: SpacePage,
        body: &[u8],
        out: &mut [u8; UNIT],
    ) -> Result<([u8; 12], [u8; 16])> {
        let keys = self.newest();
        let keys = keys.get()?;
        let (header, sealed) = out.split_at_mut(SPACE_HEADER_LEN);
        sealed.fill(0);
        sealed[..body.len()].copy_from_slice(body);
        let aad = Identity { level: page.level, ..self.identity(b"spac", keys.epoch, page.index) };
        let nonce = self.rng.nonce()?;
        let tag = keys.space.seal(&nonce, aad.as_bytes(), sealed);
        let clear = SpaceHeader::new(self.store_id, page, keys.epoch, sealed);
        header.copy_from_slice(clear.as_bytes());
        Ok((nonce, tag))
    }

    /// Verifies a space page against its entry and returns its body.
    pub fn open_space<'a>(
        &self,
        page: SpacePage,
        entry: &SpaceEntry,
        unit: u64,
        block: &'a mut [u8; UNIT],
    ) -> Result<&'a [u8; SPACE_BODY]> {
        let object = Object::SpacePage { unit };
        let (header, body) = block.split_at_mut(SPACE_HEADER_LEN);
        let header = SpaceHeader::read_from_bytes(header)
            .map_err(|_| Error::Internal("space header length"))?;
        let epoch = header.key_epoch.get();
        let keys = self.version(epoch, object)?;
        let keys = keys.get()?;
        let aad = Identity { level: page.level, ..self.identity(b"spac", epoch, page.index) };
        keys.space
            .open(&entry.nonce, aad.as_bytes(), body, &entry.tag)
            .map_err(|_| Error::corrupt(object, "it does not authenticate"))?;
        (&*body).try_into().map_err(|_| Error::Internal("space body length"))
    }

    /// Seals a log record in place: `record` starts with room for the header, and is padded to
    /// the log's alignment. Returns the record's tag.
    pub fn seal_log(
        &self,
        record: &mut Vec<u8>,
        seq: u64,
        durable: u64,
        previous: [u8; 16],
    ) -> Result<[u8; 16]> {
        let keys = self.newest();
        let keys = keys.get()?;
        let identity = self.identity(b"elog", keys.epoch, seq);
        let aad = Identity { previous, durable: U64::new(durable), ..identity };
        let nonce = self.rng.nonce()?;
        let (header, payload) = record.split_at_mut(LOG_HEADER_LEN);
        let tag = keys.log.seal(&nonce, aad.as_bytes(), payload);
        let mut clear = LogHeader::new(payload.len(), seq, durable, previous);
        (clear.nonce, clear.tag) = (nonce, tag);
        header.copy_from_slice(clear.as_bytes());
        record.resize(record.len().next_multiple_of(LOG_ALIGN), 0);
        Ok(tag)
    }

    /// Opens the payload of a log record in place; `false` where it is not the expected record.
    ///
    /// The log never spans a change of the META KEK: that change is a checkpoint.
    pub fn open_log(&self, header: &LogHeader, previous: [u8; 16], payload: &mut [u8]) -> bool {
        let keys = self.newest();
        let Ok(keys) = keys.get() else { return false };
        let identity = self.identity(b"elog", keys.epoch, header.seq.get());
        let aad = Identity { previous, durable: header.durable, ..identity };
        keys.log.open(&header.nonce, aad.as_bytes(), payload, &header.tag).is_ok()
    }

    /// Seals an owner unit.
    pub fn seal_owner(&self, body: &OwnerBody) -> Result<Box<[u8; UNIT]>> {
        let keys = self.newest();
        let keys = keys.get()?;
        let mut unit = Box::new([0; UNIT]);
        let (header, rest) = unit.split_at_mut(OWNER_HEADER_LEN);
        let sealed = &mut rest[..OWNER_BODY_LEN];
        sealed.copy_from_slice(body.as_bytes());
        let mut clear = OwnerHeader::new(self.store_id, keys.epoch);
        clear.nonce = self.rng.nonce()?;
        let aad = self.identity(b"ownr", keys.epoch, 0);
        clear.tag = keys.owner.seal(&clear.nonce, aad.as_bytes(), sealed);
        header.copy_from_slice(clear.as_bytes());
        Ok(unit)
    }

    /// The owner that a unit names; `None` where it is not one of this store.
    pub fn open_owner(&self, unit: &mut [u8; UNIT]) -> Option<OwnerBody> {
        let header = OwnerHeader::parse(unit).filter(|found| found.store_id == self.store_id)?;
        let epoch = header.key_epoch.get();
        let keys = self.version(epoch, Object::Owner).ok()?;
        let keys = keys.get().ok()?;
        let aad = self.identity(b"ownr", epoch, 0);
        let body = &mut unit[OWNER_HEADER_LEN..OWNER_HEADER_LEN + OWNER_BODY_LEN];
        keys.owner.open(&header.nonce, aad.as_bytes(), body, &header.tag).ok()?;
        OwnerBody::read_from_bytes(body).ok()
    }

    /// Seals a superblock for one place of the ring, with the store's random keys in it.
    pub fn seal_superblock(&self, superblock: &Superblock, place: u8) -> Result<Box<[u8]>> {
        let keys = self.newest();
        let keys = keys.get()?;
        let store_keys = self.store_keys.get()?;
        let mut superblock = superblock.clone();
        superblock.header.key_epoch = U32::new(keys.epoch);
        superblock.encode(place, |aad, body| {
            let nonce = self.rng.nonce()?;
            store_keys.put(body_of(body)?);
            Ok((nonce, keys.superblock.seal(&nonce, aad, body)))
        })
    }

    /// Whether a slot is a superblock of this store. One of a key version that is not known may
    /// be.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn owns_superblock(&self, slot: UnverifiedSuperblock) -> Result<bool> {
        let keys = self.newest();
        let unknown = slot.header.key_epoch.get() != keys.get()?.epoch;
        Ok(unknown || Sealer::open_superblock(&keys, slot).is_ok())
    }

    /// Opens a superblock with the keys of its version. The store's random keys go from its body
    /// into the arena of those.
    pub fn open_superblock(
        keys: &Slot<MetaKeys>,
        slot: UnverifiedSuperblock,
    ) -> Result<(Superblock, Slot<StoreKeys>)> {
        let object = Object::Superblock { place: slot.header.place, slot: slot.header.slot };
        let (arena, keys) = (keys.arena(), keys.get()?);
        let mut store_keys = None;
        let superblock = slot.verify(|header, aad, body| {
            if header.key_epoch.get() != keys.epoch {
                return Err(Error::corrupt(object, "sealed under an unknown key version"));
            }
            keys.superblock
                .open(&header.nonce, aad, body, &header.tag)
                .map_err(|_| Error::corrupt(object, "it does not authenticate"))?;
            store_keys = Some(StoreKeys::take(arena, body_of(body)?)?);
            Ok(())
        })?;
        let store_keys = store_keys.ok_or(Error::Internal("a superblock without its keys"))?;
        Ok((superblock, store_keys))
    }
}

fn body_of(bytes: &mut [u8]) -> Result<&mut SuperblockBody> {
    SuperblockBody::mut_from_bytes(bytes).map_err(|_| Error::Internal("superblock body length"))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::format::{KEY_SLOTS, KeySlot};

    #[test]
    fn no_superblock_in_memory_holds_the_stores_random_keys() {
        let arena = KeyArena::new().unwrap();
        let rng = Arc::new(Rng::new(&arena).unwrap());
        let kek = Secret::<32>::from_slice(&[7; 32]).unwrap();
        let meta = || MetaKeys::derive(&arena, &kek, &[5; 16], 1).unwrap();
        let store_keys = StoreKeys::generate(&arena, &rng).unwrap();
        let (handle, name) = (store_keys.get().unwrap().handle(), store_keys.get().unwrap().name());
        assert!(!handle.is_zero() && !name.is_zero() && !handle.ct_eq(&name));
        let keys = [KeySlot::EMPTY; KEY_SLOTS];
        let superblock = Superblock::new([5; 16], keys, SuperblockBody::new_zeroed());
        let sealer = Sealer::new([5; 16], rng, meta(), store_keys);
        let bytes = sealer.seal_superblock(&superblock, 0).unwrap();
        let find = |part: &[u8; 32]| bytes.windows(32).any(|window| window == part);
        assert!(!find(handle.expose()) && !find(name.expose()));

        let slot = UnverifiedSuperblock::parse(&bytes, 0, 0).unwrap().unwrap();
        let (superblock, again) = Sealer::open_superblock(&meta(), slot).unwrap();
        assert_eq!((superblock.body.handle_key, superblock.body.name_key), ([0; 32], [0; 32]));
        let again = again.get().unwrap();
        assert!(again.handle().ct_eq(&handle) && again.name().ct_eq(&name));
    }
}
