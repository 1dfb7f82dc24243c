//! Durability: what is certain when an operation returns, and how to ask for more.
//!
//! All changes of a store stand in one order, and become durable in that order: *durable* means
//! that the change, and every one before it, survives what follows.
//!
//! - The process is killed, or the power fails: a deferred change may be lost, with all that came
//!   after it; a durable one is there, as far as the disk keeps what it said it flushed.
//! - The disk fails to flush, or to write the log: the store is poisoned, see below. What was
//!   acknowledged as durable before is there.
//! - The disk loses or garbles sectors: an error that names what is damaged, never wrong bytes.
//!   Only a damaged end of the log cannot be told from one that a crash tore.
//!
//! A change is deferred unless asked for otherwise: by [`FileSystem::stable`] and
//! [`FileSystem::durably`] for some, by [`MountOptions::durable`](super::MountOptions) for all, and
//! afterwards by [`FileSystem::commit`], [`FileSystem::fsync`] and [`FileSystem::sync`]. Callers
//! that wait at the same time share one flush.
//!
//! A store that could not make something durable is poisoned: every later change fails with the
//! first cause, also the durable ones that waited, whose changes may or may not be there after the
//! next open. Reads go on.

use super::FileSystem;
use crate::error::Result;

/// What is durable of a change when its call returns: the `stable_how` of NFS (RFC 1813, 3.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    /// Nothing yet.
    Unstable,
    /// Contents, and what is needed to read them.
    DataSync,
    /// All of it.
    FileSync,
}

/// Answer to a change with what is certain of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stable<T> {
    /// What the change answered.
    pub answer: T,
    /// How durable it is: at least as was asked.
    pub committed: Stability,
    /// [`FileSystem::write_verifier`] as of the change.
    pub verifier: [u8; 8],
}

impl FileSystem {
    /// Makes changes, and has them as durable as asked for when it returns, with all that came
    /// before them: for [`Stability::DataSync`] as for [`Stability::FileSync`] everything.
    ///
    /// ```
    /// # use efscrypt::{fs::{FileSystem, Stability, Stable, Write}, Result};
    /// # fn answer(fs: &FileSystem, ino: u64, bytes: &[u8]) -> Result<Stable<Write>> {
    /// fs.stable(Stability::DataSync, |fs| fs.write(ino, 0, bytes))
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the changes, of which those before the failed one stay, deferred. Those of the
    /// device, which poison the store: the changes may or may not be durable then.
    pub fn stable<T>(
        &self,
        stability: Stability,
        changes: impl FnOnce(&FileSystem) -> Result<T>,
    ) -> Result<Stable<T>> {
        let answer = changes(self)?;
        let committed = match stability {
            Stability::Unstable => stability,
            Stability::DataSync | Stability::FileSync => {
                self.sync()?;
                Stability::FileSync
            }
        };
        Ok(Stable { answer, committed, verifier: self.write_verifier() })
    }

    /// Makes changes, all of which are durable when it returns: as [`FileSystem::stable`] with
    /// [`Stability::FileSync`].
    ///
    /// # Errors
    /// As there.
    pub fn durably<T>(&self, changes: impl FnOnce(&FileSystem) -> Result<T>) -> Result<T> {
        Ok(self.stable(Stability::FileSync, changes)?.answer)
    }

    /// Makes what was written to a range of a file durable, and returns the write verifier: where
    /// it is the one that a write answered with, that write is durable now; where it is another,
    /// the store was opened since, and the client has to write again. A `len` of 0 means up to the
    /// end. All that came before is made durable too, whatever the range.
    ///
    /// # Errors
    /// [`Error::Stale`](crate::Error::Stale), [`Error::IsDirectory`](crate::Error::IsDirectory) or
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for what is not a regular file or
    /// no range; those of the device, which poison the store.
    pub fn commit(&self, ino: u64, offset: u64, len: u64) -> Result<[u8; 8]> {
        self.check_range(ino, offset, len)?;
        self.sync()?;
        Ok(self.write_verifier())
    }

    /// Makes everything that happened to an inode durable; and with it all that came before, as
    /// [`FileSystem::sync`] does.
    ///
    /// # Errors
    /// [`Error::Stale`](crate::Error::Stale); those of the device, which poison the store.
    pub fn fsync(&self, ino: u64) -> Result<()> {
        self.inodes.get(ino).row(&self.engine, self.tree)?;
        self.sync()
    }

    /// Makes everything so far durable. Returns at once where all is.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn sync(&self) -> Result<()> {
        self.engine.sync(self.engine.last())?;
        self.reap_few();
        self.look();
        Ok(())
    }

    /// The verifier that a server answers to writes which are not durable yet, and to commits: it
    /// is another one for each opening of the store for writing, so a client sees that what it
    /// wrote before may be lost. Within one opening nothing is lost: a store that failed to make
    /// something durable is poisoned, and commits nothing until it is opened again.
    pub fn write_verifier(&self) -> [u8; 8] {
        let id = u128::from_le_bytes(*self.engine.store_id());
        ((id >> 64) as u64 ^ id as u64).wrapping_add(self.engine.epoch()).to_le_bytes()
    }

    /// Fails once the store is poisoned, with the first cause: for a server that would rather stop,
    /// or open the store again, than answer every change with that error.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Forked`](crate::Error::Forked).
    pub fn health(&self) -> Result<()> {
        self.engine.healthy()
    }
}
