//! Owning: the engine sees that the store is still its own before it changes anything for good.

use super::Engine;
use crate::error::Result;

impl Engine {
    /// Sees that nobody took the store over, and moves the heartbeat; a flush of the caller makes
    /// that durable. A failure poisons.
    ///
    /// # Errors
    /// [`Error::TakenOver`](crate::Error::TakenOver); those of the device.
    pub(super) fn beat(&self) -> Result<()> {
        self.or_poison(self.ownership.as_ref().map_or(Ok(()), |own| own.beat()))
    }

    /// As [`Engine::beat`], where the last is some seconds ago; `false` where it is not.
    ///
    /// # Errors
    /// As there.
    pub(super) fn beat_if_due(&self) -> Result<bool> {
        self.or_poison(self.ownership.as_ref().map_or(Ok(false), |own| own.beat_if_due()))
    }

    /// Sees that nobody took the store over. A failure poisons.
    ///
    /// # Errors
    /// As [`Engine::beat`].
    pub(super) fn own(&self) -> Result<()> {
        self.or_poison(self.ownership.as_ref().map_or(Ok(()), |own| own.check()))
    }

    /// Shows others that the store is open, where there is nothing to make durable: at most every
    /// few seconds.
    ///
    /// # Errors
    /// As [`Engine::beat`].
    pub(super) fn keep(&self) -> Result<()> {
        if self.beat_if_due()? {
            self.flush()?;
        }
        Ok(())
    }

    /// Says that the store is closed, so that nobody waits who opens it next. It changes nothing
    /// any more.
    ///
    /// # Errors
    /// As [`Engine::beat`].
    pub(super) fn disown(&self) -> Result<()> {
        let Some(own) = &self.ownership else { return Ok(()) };
        self.or_poison(own.close())?;
        self.flush()
    }
}
