//! Run: units that a writer reserved, and the I/O on them.

use std::io::IoSlice;

use super::Engine;
use crate::error::{Error, Object, Result};
use crate::limits::UNIT;

/// Reserved contiguous units. Dropped, they are free again, unless a transaction took them or a
/// write to them failed.
pub struct Run<'a> {
    engine: &'a Engine,
    unit: u64,
    units: u32,
}

impl<'a> Run<'a> {
    /// First unit.
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// Number of units, at least 1.
    pub fn units(&self) -> u32 {
        self.units
    }

    /// Writes whole units from the first on. Durable with the transaction that takes them.
    ///
    /// # Errors
    /// Those of the device. The run is then quarantined: it is not handed out again before the
    /// store was reopened, because what stands there is not known.
    pub fn write(&mut self, bytes: &[&[u8]]) -> Result<()> {
        let len: usize = bytes.iter().map(|bytes| bytes.len()).sum();
        if len > self.units as usize * UNIT {
            return Err(Error::Internal("more bytes than the run has units"));
        }
        let slices: Vec<IoSlice<'_>> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let result = self.engine.device.write_many(self.unit * UNIT as u64, &slices);
        result.map_err(|error| {
            self.units = 0;
            Error::io("write", Object::Contents { unit: self.unit }, error)
        })
    }

    /// Leaves the units reserved, for [`Run::adopt`] of the same engine: first and number.
    pub fn park(mut self) -> (u64, u32) {
        (self.unit, std::mem::take(&mut self.units))
    }

    /// Takes over units that were parked, and that nobody else takes over.
    pub fn adopt(engine: &'a Engine, unit: u64, units: u32) -> Run<'a> {
        Run { engine, unit, units }
    }

    /// Keeps the first `units` units for a transaction that took them, and frees the others.
    pub fn taken(mut self, units: u32) {
        let rest = self.units.saturating_sub(units);
        self.unit += u64::from(self.units - rest);
        self.units = rest;
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.units > 0 {
            self.engine.space.release(self.unit, self.units);
        }
    }
}

impl Engine {
    /// Reserves up to `want` contiguous units; fewer where space is fragmented. May write a
    /// checkpoint, as [`Engine::commit`] does.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where none is free, also after a checkpoint.
    pub fn reserve(&self, want: u32) -> Result<Run<'_>> {
        let since = self.checkpoints();
        match self.try_reserve_for(want, want) {
            Err(Error::NoSpace) if self.make_room(since)? => self.try_reserve_for(want, want),
            found => found,
        }
    }

    /// As [`Engine::reserve`], without ever waiting for a checkpoint: see [`Engine::try_commit`].
    ///
    /// # Errors
    /// [`Error::NoSpace`] where none is free now.
    pub fn try_reserve(&self, want: u32) -> Result<Run<'_>> {
        self.try_reserve_for(want, want)
    }

    /// As [`Engine::try_reserve`], for units that will be written by about `write` at a time.
    ///
    /// # Errors
    /// As there.
    pub fn try_reserve_for(&self, want: u32, write: u32) -> Result<Run<'_>> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        self.healthy()?;
        let mut found = self.space.reserve_run(want, write);
        if matches!(found, Err(Error::NoSpace)) {
            self.space.await_discard();
            self.space.reclaim(self.pins.oldest());
            found = self.space.reserve_run(want, write);
        }
        let (unit, units) = found?;
        Ok(Run { engine: self, unit, units })
    }

    /// Reads whole units. The caller holds a pin since before it looked up the address.
    pub fn read_units(&self, unit: u64, buf: &mut [u8]) -> Result<()> {
        let offset = unit.checked_mul(UNIT as u64);
        let object = Object::Contents { unit };
        let offset = offset.ok_or(Error::corrupt(object, "address"))?;
        self.device.read_at(offset, buf).map_err(|error| Error::io("read", object, error))
    }
}
