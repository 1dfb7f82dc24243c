//! L8: the store: made, opened, described, rewrapped and closed as a whole.
//!
//! [`Store`] puts the layers together: it has the providers unlock the two domains, opens the
//! engine, and mounts the file system on it. It is what an embedder starts with.

mod create;
mod describe;
mod file;
mod header;
mod lock;
mod open;
mod options;
mod rewrap;

use std::sync::Arc;

use parking_lot::Mutex;

pub use describe::{DomainDescription, StoreDescription};
pub use header::{HeaderBackup, HeaderDescription, HeaderKey, Restored};
pub use options::{DataAccess, Providers, StoreOptions};
pub use rewrap::Rewrap;

use crate::crypto::KeyArena;
use crate::error::Result;
use crate::fs::FileSystem;
use crate::fs::data::DataKeys;
use crate::keys::KeyProvider;
use crate::txn::{Engine, Recovery};

/// Transactions that closing spends on what removed files still hold: each frees up to 7 MiB, and
/// all of them take a second or two.
const CLOSE_STEPS: usize = 16_384;

/// An open store. Thread-safe: share it by reference or in an `Arc`.
///
/// Dropping it forgets what was not made durable; [`Store::close`] makes everything durable first.
pub struct Store {
    engine: Arc<Engine>,
    arena: Arc<KeyArena>,
    options: StoreOptions,
    metadata: Mutex<Arc<dyn KeyProvider>>,
    data: Mutex<Option<Arc<dyn KeyProvider>>>,
    keys: Arc<DataKeys>,
    /// Held by a rewrap from reading the slots to writing them.
    rewrapping: Mutex<()>,
    fs: FileSystem,
}

impl Store {
    /// The file system that the store holds.
    pub fn file_system(&self) -> &FileSystem {
        &self.fs
    }

    /// What opening found in the log.
    pub fn recovery(&self) -> &Recovery {
        self.engine.recovery()
    }

    /// Fails in a child that was forked after the store was opened. The child has none of its keys,
    /// and must use nothing of it: locks that another thread held at the fork are never released
    /// there.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub fn check_process(&self) -> Result<()> {
        self.arena.check()
    }

    /// Refuses changes from now on, until the store is opened again; `cause` becomes part of the
    /// error. For an embedder that can no longer vouch for what its threads left half done.
    pub fn poison(&self, cause: &str) {
        self.engine.poison(cause);
    }

    /// Makes all changes so far durable: they survive a crash of the process and a power cut.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn sync(&self) -> Result<()> {
        self.check_process()?;
        self.engine.sync(self.engine.last())
    }

    /// Makes all changes durable and the log empty, so that the next open has nothing to replay.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn checkpoint(&self) -> Result<()> {
        self.check_process()?;
        self.engine.checkpoint()
    }

    /// Closes the store with everything durable. Frees what removed files still hold, up to 100 GiB
    /// and more; what is left is freed by [`FileSystem::maintain`] after the next open. Gives back
    /// to the host what became free since the store was opened, in long runs, up to 4 GiB.
    ///
    /// # Errors
    /// Those of the device: what was not acknowledged as durable may be lost.
    pub fn close(self) -> Result<()> {
        if let Err(forked) = self.check_process() {
            // Dropping it takes locks that another thread may have held at the fork.
            std::mem::forget(self);
            return Err(forked);
        }
        if !self.engine.is_read_only() {
            // What cannot be freed now waits, as it would after a crash.
            let _left = self.fs.reap(CLOSE_STEPS);
        }
        self.engine.finish()
    }
}
