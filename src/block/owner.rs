//! The owner unit: who has the store open for writing, for those whom no lock keeps apart: another
//! host, another name of the same device.
//!
//! An opening writes its own, with a random incarnation, and reads it again before each superblock.
//! Whoever finds another's there was taken over, and changes nothing any more. Somebody who may
//! still be there is watched first: as long as the store is open the heartbeat moves.
//!
//! Nothing else rests on the unit: one that is torn, damaged, forged or an older one costs a wait
//! at most, or a store that has to be opened again.

mod host;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zerocopy::little_endian::U64;

pub use host::Identity;

use super::Sealer;
use crate::device::Device;
use crate::error::{Error, Object, Result};
use crate::format::{OWNER_AT, OwnerBody};
use crate::limits::UNIT;

/// How long an owner that may still be there is watched, unless said otherwise: six times
/// [`BEAT`].
const STILL: Duration = Duration::from_secs(30);
/// After how long the heartbeat moves again, where anything is made durable.
const BEAT: Duration = Duration::from_millis(4_500);
/// How often a unit that is not the owner's is read again: it may just be written.
const ATTEMPTS: u32 = 4;

/// What to do about an owner that did not close the store and may still have it open: on another
/// host, in another container, or a process that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Takeover {
    /// Watch it so long, at most an hour: as soon as it moves the store is in use; where it does
    /// not, take the store over. By default 30 seconds.
    After(Duration),
    /// Take the store over, whoever has it open: when it is known that nobody has.
    AtOnce,
    /// Leave it to it: the store is in use.
    Never,
}

impl Default for Takeover {
    fn default() -> Takeover {
        Takeover::After(STILL)
    }
}

/// Openings of this process that are not dropped yet.
static LIVE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Gone,
    Perhaps,
}

/// The store is this opening's, until it is dropped or taken over.
pub struct Ownership {
    device: Arc<dyn Device>,
    sealer: Arc<Sealer>,
    state: Mutex<State>,
}

struct State {
    body: OwnerBody,
    beaten: Instant,
    /// Whether the unit was read as it was written.
    seen: bool,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        LIVE.lock().remove(&self.state.lock().body.incarnation.get());
    }
}

impl Ownership {
    /// Makes the store this opening's, once whoever had it is gone, or was watched so long as
    /// `takeover` says. Returns also whether somebody was watched: then the store may have changed
    /// meanwhile. Durable only after the caller's flush.
    ///
    /// # Errors
    /// [`Error::InUseBy`]; those of the device.
    pub fn claim(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        identity: &Identity,
        takeover: Takeover,
    ) -> Result<(Ownership, bool)> {
        let mut watched = false;
        if let Some(owner) = read(&*device, &sealer)
            && presence(&owner, &identity.0) == Presence::Perhaps
        {
            watched = watch(&*device, &sealer, &owner, takeover)?;
        }
        let ownership = Ownership::begin(device, sealer, identity)?;
        Ok((ownership, watched))
    }

    /// Makes the store this opening's, whoever had it: a new one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn begin(
        device: Arc<dyn Device>,
        sealer: Arc<Sealer>,
        identity: &Identity,
    ) -> Result<Ownership> {
        let incarnation = sealer.rng().u64()?;
        let mut body = identity.0;
        body.incarnation = U64::new(incarnation);
        let state = State { body, beaten: Instant::now(), seen: false };
        let ownership = Ownership { device, sealer, state: Mutex::new(state) };
        LIVE.lock().insert(incarnation);
        ownership.write(&ownership.state.lock().body)?;
        Ok(ownership)
    }

    /// Sees that the store is still this opening's.
    ///
    /// # Errors
    /// [`Error::TakenOver`]; [`Error::Corrupt`] where the unit was wiped; those of the device.
    pub fn check(&self) -> Result<()> {
        self.look(&mut self.state.lock())
    }

    /// As [`Ownership::check`], and moves the heartbeat. Durable only after the caller's flush.
    ///
    /// # Errors
    /// As there.
    pub fn beat(&self) -> Result<()> {
        let mut state = self.state.lock();
        self.look(&mut state)?;
        self.advance(&mut state)
    }

    /// As [`Ownership::beat`], where the last is some seconds ago; `false` where it is not.
    ///
    /// # Errors
    /// As there.
    pub fn beat_if_due(&self) -> Result<bool> {
        let mut state = self.state.lock();
        if state.beaten.elapsed() < BEAT {
            return Ok(false);
        }
        self.look(&mut state)?;
        self.advance(&mut state)?;
        Ok(true)
    }

    /// Says that the store is closed. Durable only after the caller's flush.
    ///
    /// # Errors
    /// As [`Ownership::check`].
    pub fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        self.look(&mut state)?;
        state.body = state.body.closed();
        self.advance(&mut state)
    }

    fn advance(&self, state: &mut State) -> Result<()> {
        state.body.heartbeat += 1;
        self.write(&state.body)?;
        state.beaten = Instant::now();
        Ok(())
    }

    fn look(&self, state: &mut State) -> Result<()> {
        for attempt in 0..ATTEMPTS {
            let mut unit = [0; UNIT];
            if self.device.read_fresh(OWNER_AT, &mut unit).is_err() {
                // That says of nobody that they are here.
                continue;
            }
            let is_blank = unit.iter().all(|byte| *byte == 0);
            match self.sealer.open_owner(&mut unit) {
                Some(owner) if owner.incarnation == state.body.incarnation => {
                    state.seen = true;
                    return Ok(());
                }
                Some(owner) => return Err(Error::TakenOver(describe(&owner).into())),
                None if is_blank && state.seen && attempt + 1 == ATTEMPTS => {
                    let why = "something wrote over it while it was open";
                    return Err(Error::corrupt(Object::Store, why));
                }
                // Perhaps it is just being written.
                None => sleep(Duration::from_millis(u64::from(attempt))),
            }
        }
        // Damaged, or never written: it is written anew.
        self.write(&state.body)
    }

    fn write(&self, body: &OwnerBody) -> Result<()> {
        let unit = self.sealer.seal_owner(body)?;
        self.device
            .write_at(OWNER_AT, &unit[..])
            .map_err(|error| Error::io("write", Object::Owner, error))
    }
}

fn read(device: &dyn Device, sealer: &Sealer) -> Option<OwnerBody> {
    let mut unit = [0; UNIT];
    device.read_fresh(OWNER_AT, &mut unit).ok()?;
    sealer.open_owner(&mut unit)
}

fn describe(owner: &OwnerBody) -> String {
    format!("process {} on host {}", owner.pid, owner.host())
}

/// Watches an owner until it moves; returns once it closed, or was still for long enough.
fn watch(
    device: &dyn Device,
    sealer: &Sealer,
    first: &OwnerBody,
    takeover: Takeover,
) -> Result<bool> {
    let in_use = || {
        let why = format!("{} has it open: close it there", describe(first));
        Err(Error::InUseBy(why.into()))
    };
    let patience = match takeover {
        Takeover::AtOnce => return Ok(false),
        Takeover::Never => return in_use(),
        Takeover::After(patience) => patience.min(Duration::from_secs(3600)),
    };
    let start = Instant::now();
    let step = (patience / 50).clamp(Duration::from_millis(5), Duration::from_millis(500));
    while start.elapsed() < patience {
        sleep(step.min(patience.saturating_sub(start.elapsed())));
        match read(device, sealer) {
            Some(now) if now == *first => {}
            Some(now) if now.is_closed() => return Ok(true),
            Some(_) => return in_use(),
            // Not readable just now, or damaged: that says nothing.
            None => {}
        }
    }
    Ok(true)
}

/// Whether an owner may still have the store open.
fn presence(owner: &OwnerBody, own: &OwnerBody) -> Presence {
    let same_boot = owner.boot != [0; 16] && owner.boot == own.boot;
    let same_numbers = owner.namespace != U64::ZERO && owner.namespace == own.namespace;
    let gone = match (same_boot, same_numbers) {
        _ if owner.is_closed() => true,
        // Processes of the same numbers: this one, and others that can be looked at.
        (true, true) if owner.pid == own.pid && owner.started == own.started => {
            !LIVE.lock().contains(&owner.incarnation.get())
        }
        (true, true) => !host::lives(owner.pid.get(), owner.started.get()),
        // In another container: what is not seen may be there.
        (true, false) => false,
        // Its host was started anew since.
        (false, _) => owner.boot != [0; 16] && own.boot != [0; 16] && owner.is_host_of(own),
    };
    if gone { Presence::Gone } else { Presence::Perhaps }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner on a host, with its boot, machine and process.
    fn owner(boot: u8, machine: u8, pid: u32, namespace: u64) -> OwnerBody {
        let mut owner = OwnerBody::new(b"host");
        (owner.boot, owner.machine) = ([boot; 16], [machine; 16]);
        (owner.pid, owner.namespace) = (pid.into(), namespace.into());
        owner
    }

    #[test]
    fn only_what_is_known_to_be_gone_is_gone() {
        use Presence::{Gone, Perhaps};
        let own = Identity::this().0;
        let dead = u32::MAX - 7;
        let here = |pid, namespace| {
            let mut here = owner(0, 1, pid, namespace);
            here.boot = own.boot;
            here
        };
        let namespace = own.namespace.get();
        assert!(own.boot != [0; 16] && namespace != 0 && own.started.get() != 0);
        assert_eq!(presence(&here(dead, namespace), &own), Gone, "a process that ended");
        assert_eq!(presence(&here(dead, namespace + 1), &own), Perhaps, "in another container");
        assert_eq!(presence(&here(dead, 0), &own), Perhaps, "in an unknown one");
        let mut other = here(1, namespace);
        assert_eq!(presence(&other, &own), Perhaps, "a process that started nobody knows when");
        other.started = U64::new(u64::MAX);
        assert_eq!(presence(&other, &own), Gone, "another process of the number");
        assert_eq!(presence(&own, &own), Gone, "this process, which dropped it");
        LIVE.lock().insert(own.incarnation.get());
        assert_eq!(presence(&own, &own), Perhaps, "this process");
        LIVE.lock().remove(&own.incarnation.get());
        let parent = std::os::unix::process::parent_id();
        let started = host::started(parent).unwrap().into();
        let mut parent = here(parent, namespace);
        parent.started = started;
        assert_eq!(presence(&parent, &own), Perhaps, "a process that lives");
        assert_eq!(presence(&parent.closed(), &own), Gone, "closed");
        // Other boots.
        let me = owner(1, 1, 5, 9);
        assert_eq!(presence(&owner(2, 1, 5, 9), &me), Gone, "before this host was started");
        assert_eq!(presence(&owner(2, 2, 5, 9), &me), Perhaps, "another machine of the name");
        assert_eq!(presence(&owner(2, 0, 5, 9), &owner(1, 0, 5, 9)), Perhaps, "unknown machines");
        assert_eq!(presence(&owner(0, 1, 5, 9), &me), Perhaps, "an unknown boot");
    }
}
