//! The mounted file system: its state, and what concerns it as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zerocopy::FromZeros;

use super::attr::{FileType, Time};
use super::data::Contents;
use super::inode::{Inode, InodeTable};
use super::names::NameCache;
use super::orphan::Orphans;
use super::trim::Activity;
use super::upkeep::Short;
use crate::crypto::{HandleMac, KeyArena, NameHasher, Slot};
use crate::error::{Error, Object, Result};
use crate::format::{FIRST_FS_TREE, FsKey, InodeRow, TreeId};
use crate::txn::{Class, Engine};

/// Number of the root directory.
pub const ROOT_INO: u64 = 1;

/// Where the times of inodes come from.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How a file system is mounted.
#[derive(Clone)]
pub struct MountOptions {
    /// Inodes kept in memory beside those in use; about 400 bytes each.
    pub inode_cache: usize,
    /// Names kept in memory; about 100 bytes each.
    pub name_cache: usize,
    /// Whether each change is durable when its call returns: as [`FileSystem::durably`], for all.
    pub durable: bool,
    /// Source of times.
    pub clock: Clock,
    /// Bits of the hash of a name: 55. A property of the store, so another number makes its names
    /// unfindable; tests use few, so that names collide.
    #[doc(hidden)]
    pub hash_bits: u32,
    /// Owner of the root directory of a new file system.
    pub root_uid: u32,
    /// Its group.
    pub root_gid: u32,
    /// Its permission bits.
    pub root_mode: u32,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            inode_cache: 32_768,
            name_cache: 65_536,
            durable: false,
            clock: Arc::new(Time::now),
            hash_bits: 55,
            root_uid: 0,
            root_gid: 0,
            root_mode: 0o755,
        }
    }
}

/// A mounted file system. Thread-safe: all operations take `&self`.
pub struct FileSystem {
    pub(in crate::fs) engine: Arc<Engine>,
    pub(in crate::fs) tree: TreeId,
    pub(in crate::fs) inodes: InodeTable,
    pub(in crate::fs) names: NameCache,
    pub(in crate::fs) data: Contents,
    pub(in crate::fs) options: MountOptions,
    pub(in crate::fs) hasher: Slot<NameHasher>,
    pub(in crate::fs) handle_mac: Slot<HandleMac>,
    /// Held by a rename that moves a directory to another one: nobody else changes what is above
    /// what.
    pub(in crate::fs) moves: Mutex<()>,
    /// What waits to be freed.
    pub(in crate::fs) orphans: Orphans,
    /// Who makes room for a change that found no space.
    pub(in crate::fs) short: Short,
    /// How busy the store is.
    pub(in crate::fs) activity: Activity,
    /// Change numbers issued since the mount.
    changes: AtomicU64,
}

impl FileSystem {
    /// Mounts the file system of an engine. The first mount for writing makes its root directory,
    /// durably. Reads a bounded number of nodes, whatever the size.
    ///
    /// # Errors
    /// Those of the engine; [`Error::Corrupt`] where there are rows but no root directory.
    pub fn mount(
        engine: Arc<Engine>,
        arena: &Arc<KeyArena>,
        data: Contents,
        options: MountOptions,
    ) -> Result<FileSystem> {
        let (store_id, keys) = (*engine.store_id(), engine.store_keys()?);
        let hasher = NameHasher::derive(arena, &keys.name(), &store_id)?;
        let handle_mac = HandleMac::derive(arena, &keys.handle(), &store_id)?;
        let tree = FIRST_FS_TREE;
        if !engine.knows_inos() {
            engine.raise_ino(last_inode(&engine, tree)?);
        }
        let fs = FileSystem {
            inodes: InodeTable::new(options.inode_cache),
            names: NameCache::new(options.name_cache),
            data,
            hasher,
            handle_mac,
            moves: Mutex::new(()),
            orphans: Orphans::new(),
            short: Short::default(),
            activity: Activity::default(),
            changes: AtomicU64::new(0),
            engine,
            tree,
            options,
        };
        let root = fs.inodes.get(ROOT_INO);
        match root.row(&fs.engine, fs.tree) {
            Err(Error::Stale) => fs.changing(|| fs.make_root())?,
            found => drop(found?),
        }
        Ok(fs)
    }

    fn make_root(&self) -> Result<()> {
        let mut rows = false;
        self.engine.scan(self.tree, &[1], &[0xff], |_, _| {
            rows = true;
            false
        })?;
        if rows {
            return Err(NO_ROOT);
        }
        let root = self.inodes.get(ROOT_INO);
        let mut draft = self.draft(&[])?;
        let mut row = InodeRow::new_zeroed();
        let mode = FileType::Directory.mode_bits() | (self.options.root_mode & 0o7777);
        row.mode = mode.into();
        row.nlink = 2.into();
        row.uid = self.options.root_uid.into();
        row.gid = self.options.root_gid.into();
        row.parent = ROOT_INO.into();
        let stamp = draft.stamp;
        (row.atime, row.btime) = (stamp.now, stamp.now);
        stamp.touch_contents(&mut row);
        row.generation = stamp.change.into();
        draft.add(&root, row)?;
        let lsn = draft.commit(Class::Normal)?;
        // Handles of it are given out at once, and a root made anew would have another generation.
        self.engine.sync(lsn)
    }

    /// An inode of a number that was never used before; `None` where
    /// [`Engine::promise_inos`] must be called first, without locks.
    pub(in crate::fs) fn new_inode(&self) -> Result<Option<Arc<Inode>>> {
        Ok(self.engine.try_new_ino()?.map(|ino| self.inodes.get(ino)))
    }

    /// A number that no change or generation had before.
    pub(in crate::fs) fn next_change(&self) -> Result<u64> {
        if self.engine.is_read_only() {
            return Err(Error::ReadOnly);
        }
        self.engine.number(self.changes.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The engine below.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

/// The highest inode number of a store that promises none; 0 where there is no inode.
fn last_inode(engine: &Engine, tree: TreeId) -> Result<u64> {
    let last = engine.floor(tree, &FsKey::Inode(u64::MAX).encode(), |key, _| FsKey::parse(key))?;
    match last.transpose()? {
        Some(FsKey::Inode(ino)) => Ok(ino),
        Some(_) => Err(NO_ROOT),
        None => Ok(0),
    }
}

const NO_ROOT: Error =
    Error::Corrupt { object: Object::Inode { ino: ROOT_INO }, why: "no root directory" };
