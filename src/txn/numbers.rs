//! Numbers that are never issued twice: `epoch << 40 | n`.
//!
//! The epoch rises at each opening for writing, so whoever counts `n` in memory needs to remember
//! nothing. Where 2^40 numbers of one kind are used up, those of the next epoch follow, once it is
//! durable that no later opening takes that epoch.

use std::sync::atomic::Ordering;

use super::Engine;
use super::checkpoint::Reason;
use crate::error::{Error, Result};

/// Bits that count within an epoch.
pub(super) const COUNT_BITS: u32 = 40;
/// Epochs are below this one.
const EPOCHS: u64 = 1 << 23;

/// The epoch behind another one.
///
/// # Errors
/// [`Error::Unsupported`] behind the last.
pub(super) fn next_epoch(epoch: u64) -> Result<u64> {
    let next = epoch.checked_add(1).filter(|epoch| *epoch < EPOCHS);
    next.ok_or(Error::Unsupported("it was opened for writing too often"))
}

impl Engine {
    /// Number `n` of some kind, counted from 1 since the store was opened.
    ///
    /// # Errors
    /// Where an epoch is used up, those of a checkpoint; [`Error::Unsupported`] behind the last.
    #[inline]
    pub fn number(&self, n: u64) -> Result<u64> {
        let number = (self.epoch() << COUNT_BITS).saturating_add(n);
        let epoch = number >> COUNT_BITS;
        if epoch > self.claimed.load(Ordering::Acquire) {
            self.claim_epoch(epoch)?;
        }
        Ok(number)
    }

    /// Makes it durable that an epoch is used up.
    #[cold]
    fn claim_epoch(&self, epoch: u64) -> Result<()> {
        next_epoch(epoch)?;
        self.checkpoint_with(Reason::Claim(epoch))?;
        self.claimed.fetch_max(epoch, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::MemoryDevice;
    use crate::txn::{EngineOptions, fixed_keys, fixed_unlock};

    fn options() -> EngineOptions {
        EngineOptions { log_bytes: 512 << 10, ..EngineOptions::default() }
    }

    #[test]
    fn numbers_beyond_an_epoch_come_from_the_next() {
        let device = Arc::new(MemoryDevice::new());
        let engine = Engine::create(device.clone(), fixed_keys(1).unwrap(), &options()).unwrap();
        let generation = engine.generation();
        assert_eq!(engine.number(1).unwrap(), (1 << 40) + 1);
        assert_eq!(engine.number((1 << 40) - 1).unwrap(), (2 << 40) - 1);
        assert_eq!(engine.generation(), generation, "nothing was written");
        assert_eq!(engine.number(1 << 40).unwrap(), 2 << 40);
        assert_eq!(engine.number(3 << 40).unwrap(), 4 << 40);
        assert_eq!(engine.generation(), generation + 2);
        engine.number((3 << 40) + 5).unwrap();
        engine.number(1 << 40).unwrap();
        assert_eq!(engine.generation(), generation + 2, "claimed once");
        assert!(engine.number(1 << 63).is_err());
        drop(engine);
        // Nothing was closed: what was claimed is durable.
        let engine = Engine::open(device, |_| fixed_unlock(2), &options()).unwrap();
        assert_eq!(engine.number(1).unwrap(), (5 << 40) + 1);
    }
}
