//! What the tests stand on: an engine with contents, and just enough of a file system: inode rows,
//! and what a mount does for files that were being cut or freed.

use std::collections::BTreeSet;
use std::sync::Arc;

use efscrypt::crypto::{KeyArena, Rng, Slot, WrapKey};
use efscrypt::device::Device;
use efscrypt::fs::data::{Contents, DataKeys, FsKey, InodeRow, Written, owned_units};
use efscrypt::secret::Secret;
use efscrypt::txn::{
    Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, Lsn, STORE_TREE, fixed_keys, fixed_unlock,
};
use efscrypt::{Error, Result};
use zerocopy::{FromZeros, IntoBytes};

/// Puts what goes with a change into its transaction.
type Finish<'a> = dyn FnMut(&mut InodeRow, &mut Edits) + 'a;

pub struct Bed {
    pub engine: Arc<Engine>,
    pub keys: Arc<DataKeys>,
    pub contents: Contents,
    /// Where keys are in memory, but for the engine's own.
    pub arena: Arc<KeyArena>,
}

fn options() -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 4 << 20, read_only: false }
}

/// The wrapping key of the DATA domain, the same for every store.
pub fn wrap_key(arena: &Arc<KeyArena>, store_id: &[u8; 16]) -> Slot<WrapKey> {
    let kek = Secret::take(&mut [0x24; 32]);
    WrapKey::derive(arena, &kek, store_id, 1).unwrap()
}

impl Bed {
    pub fn create(device: impl Device + 'static, seed: u64) -> Result<Bed> {
        Ok(Bed::on(Engine::create(Arc::new(device), fixed_keys(seed)?, &options())?))
    }

    /// Opens the store and finishes what its ORPHAN rows ask for, as a mount does.
    pub fn open(device: impl Device + 'static, seed: u64) -> Result<Bed> {
        let engine = Engine::open(Arc::new(device), |_| fixed_unlock(seed), &options())?;
        let bed = Bed::on(engine);
        let mut orphans = Vec::new();
        bed.engine.scan(FIRST_FS_TREE, &[5], &[6], |key, _| {
            orphans.push(u64::from_be_bytes(key[1..].try_into().unwrap()));
            true
        })?;
        for ino in orphans {
            let mut row = bed.row(ino)?.unwrap();
            if row.nlink.get() == 0 {
                bed.free(ino, &mut row)?;
                continue;
            }
            while row.flags.get() & InodeRow::TRIMMING != 0 {
                bed.contents.trim_step(ino, &mut row, &mut |row, edits| put(ino, row, edits))?;
            }
        }
        Ok(bed)
    }

    fn on(engine: Engine) -> Bed {
        let (engine, arena) = (Arc::new(engine), KeyArena::new().unwrap());
        let id = *engine.store_id();
        let keys = Arc::new(DataKeys::new(Arc::clone(&arena), id, Arc::clone(engine.rng())));
        let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, Arc::clone(&keys));
        let bed = Bed { engine, keys, contents, arena };
        bed.unlock();
        bed
    }

    pub fn relock(&self) {
        self.keys.lock();
    }

    pub fn unlock(&self) {
        self.keys.unlock(1, wrap_key(&self.arena, self.engine.store_id()));
    }

    pub fn row(&self, ino: u64) -> Result<Option<InodeRow>> {
        let key = FsKey::Inode(ino).encode();
        self.engine.get(FIRST_FS_TREE, &key, |value| InodeRow::parse(value, ino))?.transpose()
    }

    /// Makes an empty file, marked with a number.
    pub fn make(&self, ino: u64, mark: u64) -> Result<Lsn> {
        let mut row = InodeRow::new_zeroed();
        row.nlink = 1.into();
        row.change = mark.into();
        let mut edits = Edits::new();
        put(ino, &row, &mut edits);
        self.engine.commit(&mut edits, Class::Normal)
    }

    /// Runs a change on a file; every transaction of it marks the inode with `mark`.
    pub fn change<R>(
        &self,
        ino: u64,
        mark: u64,
        change: impl FnOnce(&Contents, &mut InodeRow, &mut Finish<'_>) -> R,
    ) -> R {
        let mut row = self.row(ino).unwrap().unwrap();
        change(&self.contents, &mut row, &mut |row, edits| {
            row.change = mark.into();
            put(ino, row, edits);
        })
    }

    /// Runs a change, and once more where a checkpoint may have made room for it.
    fn with_room<R>(&self, mut change: impl FnMut() -> Result<R>) -> Result<R> {
        let since = self.engine.checkpoints();
        match change() {
            Err(Error::NoSpace) if self.engine.make_room(since)? => change(),
            changed => changed,
        }
    }

    pub fn write(&self, ino: u64, mark: u64, offset: u64, bytes: &[u8]) -> Result<Written> {
        self.with_room(|| {
            self.change(ino, mark, |contents, row, finish| {
                contents.write(ino, row, offset, bytes, finish)
            })
        })
    }

    /// Writes all bytes, however many calls it takes.
    pub fn write_all(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<Lsn> {
        let (mut done, mut lsn) = (0, 0);
        while done < bytes.len() {
            let written = self.write(ino, 0, offset + done as u64, &bytes[done..])?;
            (done, lsn) = (done + written.bytes, written.lsn);
        }
        Ok(lsn)
    }

    pub fn truncate(&self, ino: u64, mark: u64, size: u64) -> Result<Lsn> {
        self.change(ino, mark, |contents, row, finish| contents.truncate(ino, row, size, finish))
    }

    pub fn punch(&self, ino: u64, mark: u64, offset: u64, len: u64) -> Result<Lsn> {
        let mut bytes = offset..offset.saturating_add(len);
        self.change(ino, mark, |contents, row, finish| {
            loop {
                match contents.punch_part(ino, row, bytes.clone(), finish)? {
                    (_, Some(next)) => bytes.start = next,
                    (lsn, None) => return Ok(lsn),
                }
            }
        })
    }

    /// Takes the last name of a file, and frees it.
    pub fn remove(&self, ino: u64, mark: u64) -> Result<Lsn> {
        let mut row = self.row(ino)?.unwrap();
        row.nlink = 0.into();
        row.change = mark.into();
        let mut edits = Edits::new();
        put(ino, &row, &mut edits);
        edits.put(FIRST_FS_TREE, &FsKey::Orphan(ino).encode(), &[]);
        self.engine.commit(&mut edits, Class::Freeing)?;
        self.free(ino, &mut row)
    }

    fn free(&self, ino: u64, row: &mut InodeRow) -> Result<Lsn> {
        let finish = &mut |row: &mut InodeRow, edits: &mut Edits| put(ino, row, edits);
        while !self.with_room(|| self.contents.free_step(ino, row, finish))? {}
        let mut edits = Edits::new();
        edits.del(FIRST_FS_TREE, &FsKey::Orphan(ino).encode());
        edits.del(FIRST_FS_TREE, &FsKey::Inode(ino).encode());
        self.engine.commit(&mut edits, Class::Freeing)
    }

    pub fn read(&self, ino: u64, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0xee; len];
        let row = self.row(ino)?.unwrap();
        let got = self.contents.read(ino, &row, offset, &mut buf)?;
        buf.truncate(got);
        Ok(buf)
    }

    pub fn read_all(&self, ino: u64) -> Result<Vec<u8>> {
        let size = self.row(ino)?.unwrap().size.get();
        self.read(ino, 0, size as usize)
    }

    /// All wrapped data keys: id and inode.
    pub fn data_keys(&self) -> Vec<(u64, u64)> {
        let mut keys = Vec::new();
        let visit = |key: &[u8], value: &[u8]| {
            let id = u64::from_be_bytes(key[1..].try_into().unwrap());
            keys.push((id, u64::from_le_bytes(value[8..16].try_into().unwrap())));
            true
        };
        self.engine.scan(STORE_TREE, &[2], &[3], visit).unwrap();
        keys
    }

    /// Fails unless every unit is accounted for, every key belongs to a file, and every inode's
    /// count of units is right.
    pub fn check(&self, what: &str) {
        let mut owned = std::collections::BTreeMap::<u64, u64>::new();
        let report = self
            .engine
            .check_structure(|tree, key, value, own| {
                if tree != FIRST_FS_TREE {
                    return;
                }
                if let Some((unit, units)) = owned_units(key, value).unwrap() {
                    let ino = u64::from_be_bytes(key[1..9].try_into().unwrap());
                    *owned.entry(ino).or_default() += u64::from(units);
                    own(unit, units);
                }
            })
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(report.is_clean(), "{what}: {report:?}");
        let mut inodes = BTreeSet::new();
        let visit = |key: &[u8], value: &[u8]| {
            let ino = u64::from_be_bytes(key[1..].try_into().unwrap());
            let units = InodeRow::parse(value, ino).unwrap().units.get();
            assert_eq!(units, owned.remove(&ino).unwrap_or(0), "{what}: units of {ino}");
            inodes.insert(ino)
        };
        self.engine.scan(FIRST_FS_TREE, &[1], &[2], visit).unwrap();
        assert!(owned.is_empty(), "{what}: contents without an inode");
        for (id, ino) in self.data_keys() {
            assert!(inodes.contains(&ino), "{what}: key {id} of inode {ino} is left over");
        }
    }
}

fn put(ino: u64, row: &InodeRow, edits: &mut Edits) {
    edits.put(FIRST_FS_TREE, &FsKey::Inode(ino).encode(), row.as_bytes());
}

/// Bytes by a seed, in which no two units are alike.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    efscrypt::device::sim::Rng::of(seed, 77).fill(&mut bytes);
    bytes
}

/// An independent generator, for what must not depend on the store's own.
pub fn other_rng() -> Rng {
    Rng::new(&KeyArena::new().unwrap()).unwrap()
}
