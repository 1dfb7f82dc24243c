//! Checkpoint: the two-phase commit of a new root.
//!
//! ```text
//! freeze     under the writer lock: trees, space and queue stop at one transaction
//! write      nodes, bitmaps, index pages; no lock that a reader or writer waits for
//! flush      phase one: everything that the new superblock will reference is durable
//! superblock in both places of the ring
//! flush      phase two: the checkpoint is what recovery finds
//! publish    frozen nodes are clean, replaced space is free once older pins are gone
//! ```
//!
//! A crash before phase two leaves the old superblock, all that it references, and its log.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use zerocopy::little_endian::U64;

use super::Engine;
use super::queue::Lsn;
use crate::block::{FrozenSpace, LogTail, write_superblock};
use crate::error::{Error, Object, Result};
use crate::format::{KEY_SLOTS, KeySlot, RING_SLOTS, Superblock};
use crate::limits::NODE_UNITS;
use crate::tree::Frozen;

/// What changes with a checkpoint beside rows and space.
pub(super) enum Reason {
    /// Only if there is something new.
    Changes,
    /// Only if much is dirty still.
    Memory,
    /// A transaction must become durable.
    Durability(Lsn),
    /// A new epoch with its first log position.
    Epoch(u64, LogTail),
    /// An epoch that no later opening may take.
    Claim(u64),
    /// Replay goes on behind this many transactions of the record at the tail.
    Replay(u64),
    /// An inode number is needed that no superblock promises yet.
    Number(u64),
    /// Nothing changes, but that the second newest state does without what the newest does without.
    Release,
    /// Nothing changes any more.
    Last,
    /// Other key slots.
    Keys(Box<[KeySlot; KEY_SLOTS]>),
}

/// The picture that one checkpoint writes.
struct Picture {
    trees: Frozen,
    space: FrozenSpace,
    last: Lsn,
}

impl Engine {
    /// Makes everything so far durable and the log empty.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn checkpoint(&self) -> Result<()> {
        self.write_checkpoint(self.checkpointing.lock(), Reason::Changes)
    }

    /// As [`Engine::checkpoint`], unless one is at work already.
    pub(super) fn try_checkpoint(&self) -> Result<()> {
        match self.checkpointing.try_lock() {
            Some(guard) => self.write_checkpoint(guard, Reason::Changes),
            None => Ok(()),
        }
    }

    /// As [`Engine::checkpoint`], unless the transaction is durable by now.
    pub(super) fn checkpoint_for(&self, lsn: Lsn) -> Result<()> {
        self.write_checkpoint(self.checkpointing.lock(), Reason::Durability(lsn))
    }

    /// As [`Engine::checkpoint`], as the last of this open: nothing may change afterwards. Gives
    /// space back that became free.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&self) -> Result<()> {
        self.ending.store(true, Ordering::Relaxed);
        self.checkpoint_with(Reason::Last)?;
        // Nobody writes for now. What a device fails to take back is free all the same.
        if let Err(error) = self.give_back(0) {
            self.healthy().map_err(|_| error)?;
        }
        self.disown()
    }

    /// Writes a checkpoint for a reason of its own.
    pub(super) fn checkpoint_with(&self, reason: Reason) -> Result<()> {
        self.write_checkpoint(self.checkpointing.lock(), reason)
    }

    /// Commits other key slots, and then overwrites every older slot of the superblock ring.
    ///
    /// # Errors
    /// Those of the device, which poison the store.
    pub fn write_keys(&self, slots: [KeySlot; KEY_SLOTS]) -> Result<()> {
        for _ in 0..RING_SLOTS {
            let reason = Reason::Keys(Box::new(slots));
            self.write_checkpoint(self.checkpointing.lock(), reason)?;
        }
        Ok(())
    }

    fn write_checkpoint(&self, only: MutexGuard<'_, ()>, reason: Reason) -> Result<()> {
        if self.options.read_only {
            return Ok(());
        }
        self.healthy()?;
        self.look_at_device()?;
        let idle = || self.forest.dirty_bytes() == 0 && !self.space.has_given();
        match &reason {
            Reason::Durability(lsn) if self.queue.durable() >= *lsn => return Ok(()),
            Reason::Number(number) if self.inodes.covers(*number) => return Ok(()),
            Reason::Memory if self.forest.dirty_bytes() <= self.dirty_cap() => return Ok(()),
            Reason::Changes | Reason::Last
                if idle() && self.queue.durable() == self.queue.appended() =>
            {
                return self.keep();
            }
            _ => {}
        }
        let result = self.whole(|| self.write_picture(self.superblock(), reason));
        let superblock = self.or_poison(result)?;
        *self.committed.write() = superblock;
        // Held across I/O: who waits comes next, not who comes again.
        MutexGuard::unlock_fair(only);
        Ok(())
    }

    fn write_picture(&self, mut next: Superblock, reason: Reason) -> Result<Superblock> {
        let mut picture = self.freeze()?;
        // Before the flush, which makes this length durable.
        let device_len =
            self.device.len().map_err(|error| Error::io("measure", Object::Store, error))?;
        let device_len = self.space.promised_len(device_len);
        let root = self.forest.seal(&mut picture.trees)?;
        let space = self.space.write(&picture.space)?;
        self.beat()?;
        self.flush()?;

        next.body.log_applied = U64::ZERO;
        next.body.restored = 0;
        let mut tail = self.queue.hold(picture.last);
        let promise = match self.ending.load(Ordering::Relaxed) {
            true => self.inodes.last_promise(),
            false => self.inodes.promise(),
        };
        match reason {
            Reason::Epoch(epoch, first) => {
                next.body.epoch = U64::new(epoch);
                tail = first;
            }
            Reason::Claim(epoch) => next.body.epoch = U64::new(next.body.epoch.get().max(epoch)),
            Reason::Keys(slots) => next.keys = *slots,
            Reason::Replay(applied) => next.body.log_applied = U64::new(applied),
            Reason::Changes
            | Reason::Memory
            | Reason::Durability(_)
            | Reason::Number(_)
            | Reason::Release
            | Reason::Last => {}
        }
        next.body.next_ino = U64::new(promise);
        next.header.generation = U64::new(picture.trees.generation());
        next.body.root = root;
        next.body.space = space;
        next.body.used_units = U64::new(picture.space.used);
        next.body.device_len = U64::new(device_len);
        next.body.log_head = U64::new(tail.offset);
        next.body.log_seq = U64::new(tail.seq);
        next.body.log_tag = tail.tag;
        // Another's superblock must not be overwritten.
        self.own()?;
        write_superblock(&*self.device, &self.sealer, &next)?;
        self.flush()?;
        self.inodes.promised(promise);
        self.publish(picture, &tail)?;
        Ok(next)
    }

    /// Stops trees, space and queue at one transaction.
    fn freeze(&self) -> Result<Picture> {
        let _writer = self.writer.lock();
        let trees = self.forest.freeze()?;
        for &unit in trees.places() {
            self.space.take(unit, NODE_UNITS as u32)?;
        }
        for unit in trees.retired() {
            // What the space map does not know as in use is lost, and no reason to end all work.
            match self.space.give(unit, NODE_UNITS as u32) {
                Err(Error::Corrupt { .. }) => {}
                given => given?,
            }
        }
        let space = self.space.freeze();
        Ok(Picture { trees, space, last: self.queue.freeze() })
    }

    fn publish(&self, picture: Picture, tail: &LogTail) -> Result<()> {
        let generation = picture.trees.generation();
        {
            let _writer = self.writer.lock();
            self.forest.publish(picture.trees)?;
        }
        self.pins.advance(generation);
        self.space.thaw(picture.space, generation);
        self.space.reclaim(self.pins.oldest());
        self.queue.covered(picture.last, tail);
        Ok(())
    }
}
