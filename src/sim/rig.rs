//! The rig: small stores with fixed keys, made and opened fast, so that runs repeat.

use std::sync::Arc;

use super::clock;
use crate::crypto::{KeyArena, WrapKey};
use crate::device::Device;
use crate::error::Result;
use crate::fs::data::{Contents, DataKeys};
use crate::fs::{FileSystem, MountOptions};
use crate::secret::Secret;
use crate::txn::{Engine, EngineOptions, FIRST_FS_TREE, fixed_keys_in, fixed_unlock_in};

/// What is put between a store and the simulated device below it.
pub type Layer = Arc<dyn Fn(Arc<dyn Device>) -> Arc<dyn Device> + Send + Sync>;

/// Transactions that closing spends on what removed files still hold.
const CLOSE_STEPS: usize = 16_384;

/// Makes and opens stores. One serves a thread for all its stores: it keeps their key memory.
#[derive(Clone)]
pub(super) struct Rig {
    arena: Arc<KeyArena>,
    layer: Option<Layer>,
    hasty: bool,
}

impl Rig {
    /// A rig with a layer of the embedder's; `hasty` breaks the engine: it reuses space at once.
    pub fn new(layer: Option<Layer>, hasty: bool) -> Result<Rig> {
        Ok(Rig { arena: KeyArena::new()?, layer, hasty })
    }

    /// A device with the layer above it.
    pub fn layered(&self, device: Arc<dyn Device>) -> Arc<dyn Device> {
        match &self.layer {
            Some(layer) => layer(device),
            None => device,
        }
    }

    /// Makes a store. `number` decides its nonces.
    pub fn create(&self, device: Arc<dyn Device>, number: u64) -> Result<FileSystem> {
        let keys = fixed_keys_in(&self.arena, number)?;
        self.mount(Engine::create(device, keys, &options())?)
    }

    /// Opens a store. `number` decides its nonces: another one for each opening.
    pub fn open(&self, device: Arc<dyn Device>, number: u64) -> Result<FileSystem> {
        self.open_with(device, number, &options())
    }

    /// Opens a store without writing anything.
    pub fn open_read_only(&self, device: Arc<dyn Device>, number: u64) -> Result<FileSystem> {
        self.open_with(device, number, &EngineOptions { read_only: true, ..options() })
    }

    fn open_with(
        &self,
        device: Arc<dyn Device>,
        number: u64,
        options: &EngineOptions,
    ) -> Result<FileSystem> {
        self.mount(Engine::open(device, |_| fixed_unlock_in(&self.arena, number), options)?)
    }

    /// Closes a store with everything durable.
    pub fn close(fs: FileSystem) -> Result<()> {
        // What cannot be freed now waits, as it would after a crash.
        let _left = fs.reap(CLOSE_STEPS);
        fs.engine().finish()
    }

    fn mount(&self, engine: Engine) -> Result<FileSystem> {
        let (id, engine) = (*engine.store_id(), Arc::new(engine));
        if self.hasty {
            engine.reuse_at_once();
        }
        let rng = Arc::clone(engine.rng());
        let keys = Arc::new(DataKeys::new(Arc::clone(&self.arena), id, rng));
        let kek = Secret::take(&mut [0x24; 32]);
        keys.unlock(1, WrapKey::derive(&self.arena, &kek, &id, 1)?);
        let contents = Contents::new(Arc::clone(&engine), FIRST_FS_TREE, keys);
        let options = MountOptions {
            inode_cache: 64,
            name_cache: 128,
            clock: clock::clock(),
            ..MountOptions::default()
        };
        FileSystem::mount(engine, &self.arena, contents, options)
    }
}

fn options() -> EngineOptions {
    EngineOptions { log_bytes: 512 << 10, cache_bytes: 2 << 20, read_only: false }
}
