//! Trim: free space goes back to the host, once the two newest states do without it.
//!
//! A superblock may be lost with what follows it, so the state before the newest must be whole:
//! what a checkpoint made free is discarded after the next one, and the device is cut off after two
//! whose superblocks say that it may be. Space that is not discarded may be written again after one
//! checkpoint, as ever.

use super::Engine;
use super::checkpoint::Reason;
use crate::error::{Error, Object, Result};
use crate::limits::UNIT;

/// Units of the shortest run that is discarded in passing: shorter ones are soon used, and each
/// costs the host as much as a long one.
const RUN: u64 = 16;
/// Fewest units that are worth a checkpoint of their own.
const WORTH: u64 = 256;
/// Most units that one call discards in passing: 4 GiB.
const MOST: u64 = 1 << 20;
/// Fewest bytes by which the device is cut off in passing, and by which it is at all.
const CUT: u64 = 8 << 20;
const CUT_LEAST: u64 = 1 << 20;
/// A device that grows ahead of need grows by less than this part of its length, and by less than
/// so many bytes.
const AHEAD_PART: u64 = 8;
const AHEAD_MOST: u64 = 128 << 20;
/// Regions that are looked at together: 16 GiB.
const WINDOW: u64 = 256;

/// What a trim gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Bytes that were free, and that the device was told so, also where it knew it before.
    pub discarded: u64,
    /// Bytes by which the device became shorter.
    pub cut: u64,
    /// Bytes that the device takes up less at its host; `None` where it does not say.
    pub returned: Option<u64>,
    /// Whether the device can give space back at all.
    pub supported: bool,
}

impl Engine {
    /// Gives all free space back to the host, and cuts the device off behind the last that is in
    /// use. Readers and writers go on meanwhile; memory is bounded.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; those of writing checkpoints, which poison the store; those of the
    /// device in discarding, which harm nothing: what was given back until then is.
    pub fn trim(&self) -> Result<Trimmed> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        let _one = self.trimming.lock();
        let occupied = || self.device.occupied().ok().flatten();
        let (before, len) = (occupied(), self.device_len()?);
        self.checkpoint()?;
        self.space.reclaim(self.pins.oldest());
        self.cut_end(CUT_LEAST)?;
        let (mut units, mut from) = (0, 0);
        loop {
            let window = from..from + WINDOW;
            let more = self.space.loosen(window.clone(), self.device_len()?)?;
            self.ripen()?;
            loop {
                let step = self.space.discard_step(1, u64::MAX)?;
                units += step.units;
                if step.done {
                    break;
                }
            }
            self.space.unload(window);
            from += WINDOW;
            if !more || self.space.keeps_all() {
                break;
            }
        }
        self.space.rewind();
        let returned = before.zip(occupied()).map(|(before, now)| before.saturating_sub(now));
        let cut = len.saturating_sub(self.device_len()?);
        let supported = !self.space.keeps_all() || cut > 0;
        Ok(Trimmed { discarded: units * UNIT as u64, cut, returned, supported })
    }

    /// Gives back what became free since the store was opened, in long runs, but for about `keep`
    /// units: a bounded amount, and only where that is much. Returns whether nothing is left that
    /// would be given back.
    ///
    /// # Errors
    /// As [`Engine::trim`].
    pub fn give_back(&self, keep: u64) -> Result<bool> {
        let Some(_one) = self.trimming.try_lock() else { return Ok(true) };
        let loose = self.space.loose(RUN);
        if self.options.read_only || loose.all < keep.saturating_add(WORTH) {
            return Ok(true);
        }
        let len = self.device_len()?;
        let gain = CUT.max((len / AHEAD_PART).min(AHEAD_MOST));
        let cut = keep < gain / UNIT as u64 && self.cut_end(gain)?;
        if !cut && loose.ripe < keep.saturating_add(WORTH) {
            self.ripen()?;
        }
        let all = self.space.loose(RUN).ripe.saturating_sub(keep);
        let mut left = all.min(MOST);
        while left > 0 {
            let step = self.space.discard_step(RUN, left)?;
            left = left.saturating_sub(step.units);
            if step.done {
                break;
            }
        }
        self.space.rewind();
        Ok(all <= MOST)
    }

    /// Writes a checkpoint although nothing changed, so that the second newest state is the newest
    /// of before. Not where space is discarded too early on purpose.
    fn ripen(&self) -> Result<()> {
        if self.space.is_rash() {
            return Ok(());
        }
        self.checkpoint_with(Reason::Release)
    }

    /// Cuts the device off where nothing is in use up to its end, if it gets shorter by `gain`
    /// bytes; returns whether that was tried.
    fn cut_end(&self, gain: u64) -> Result<bool> {
        let grows = self.device.capacity().is_ok_and(|capacity| capacity.is_none());
        if !grows || !self.space.plan_cut(self.device_len()?, gain)? {
            return Ok(false);
        }
        let durable = self.ripen().and_then(|()| self.ripen());
        self.space.cut_off(durable.is_ok())?;
        durable.map(|()| true)
    }

    fn device_len(&self) -> Result<u64> {
        self.device.len().map_err(|error| Error::io("measure", Object::Store, error))
    }

    /// Units that were handed out since the store was opened: how busy it is.
    pub fn handed_out(&self) -> u64 {
        self.space.handed_out()
    }
}
