//! L8: the store: made, opened, described, rewrapped and closed as a whole.
//!
//! [`Store`] puts the layers together: it has the providers unlock the two domains, opens the
//! engine, and mounts the file system on it. It is what an embedder starts with.

mod create;
mod describe;
mod open;
mod options;
mod rewrap;

use std::sync::Arc;

use parking_lot::Mutex;

pub use describe::{DomainDescription, StoreDescription};
pub use options::{DataAccess, Providers, StoreOptions};

use crate::crypto::KeyArena;
use crate::error::Result;
use crate::fs::FileSystem;
use crate::keys::KeyProvider;
use crate::txn::{Engine, Recovery};

/// An open store. Thread-safe: share it by reference or in an `Arc`.
///
/// Dropping it forgets what was not made durable; [`Store::close`] makes everything durable first.
pub struct Store {
    engine: Arc<Engine>,
    arena: Arc<KeyArena>,
    options: StoreOptions,
    metadata: Mutex<Arc<dyn KeyProvider>>,
    data: Mutex<Arc<dyn KeyProvider>>,
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

    /// Makes all changes so far durable: they survive a crash of the process and a power cut.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn sync(&self) -> Result<()> {
        self.engine.sync(self.engine.last())
    }

    /// Makes all changes durable and the log empty, so that the next open has nothing to replay.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn checkpoint(&self) -> Result<()> {
        self.engine.checkpoint()
    }

    /// Closes the store with everything durable.
    ///
    /// # Errors
    /// Those of the device: what was not acknowledged as durable may be lost.
    pub fn close(self) -> Result<()> {
        self.engine.checkpoint()
    }
}
