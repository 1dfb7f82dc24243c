//! Holds: what the file systems at the destination of an export can keep, and what they did not.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::host::{HostDir, set_mode_of, set_owner_of, set_times_of};
use super::host_kind;
use super::meta::{Kind, Meta, Time};

const SECOND: i128 = 1_000_000_000;
/// Grains of times that file systems have, nanoseconds: ext4, NTFS, some of the network, exFAT,
/// ext3, FAT.
const GRAINS: [i128; 7] = [1, 100, 1000, 1_000_000, 10_000_000, SECOND, 2 * SECOND];
/// Seconds that every file system can keep: 1980 to 2037.
const COMMON: std::ops::Range<i64> = 315_619_200..2_145_916_800;
/// A time that no coarse grain divides, and permissions that no mask leaves as they are.
const PROBE_TIME: Time = Time { seconds: 1_000_000_001, nanoseconds: 999_999_999 };
const PROBE_MODES: [u32; 2] = [0o641, 0o406];
const PROBE_OWNER: u32 = 1;
/// Most times out of the ordinary that are remembered.
const TIMES: usize = 1024;

/// What a file system keeps.
#[derive(Clone, Copy)]
pub struct Holds {
    /// Nanoseconds to which it rounds times down.
    grain: i128,
    pub modes: bool,
    pub owners: bool,
    /// Whether different names never lead to one file.
    pub exact_names: bool,
}

impl Holds {
    /// Everything.
    pub const ALL: Holds = Holds { grain: 1, modes: true, owners: true, exact_names: true };

    /// By trying it in a directory, with a file under a private name where it needs one.
    fn probe(dir: &HostDir, private: &[u8], privileged: bool) -> io::Result<Holds> {
        let kind = host_kind::of_open(dir)?;
        let (file, named) = dir.scratch(private, host_kind::may_fold(kind))?;
        let probed = Holds::try_on(&file, privileged);
        let folds = named && dir.find(&private.to_ascii_uppercase())?.is_some();
        if named {
            dir.remove(private, Kind::Regular)?;
        }
        Ok(Holds { exact_names: !folds && host_kind::has_exact_names(dir), ..probed? })
    }

    fn try_on(file: &File, privileged: bool) -> io::Result<Holds> {
        let look = || Ok::<_, io::Error>(Meta::of_stat(&rustix::fs::fstat(file)?));
        let mut wanted = Meta { mtime: PROBE_TIME, atime: PROBE_TIME, ..look()? };
        set_times_of(file, &wanted)?;
        let there = nanoseconds(look()?.mtime);
        let time = nanoseconds(PROBE_TIME);
        let grain = GRAINS.into_iter().find(|grain| time - time % grain == there).unwrap_or(1);
        let mut modes = true;
        for mode in PROBE_MODES {
            modes &= set_mode_of(file, mode).is_ok() && look()?.mode == mode;
        }
        let mut owners = true;
        if privileged {
            (wanted.uid, wanted.gid) = (PROBE_OWNER, PROBE_OWNER);
            owners = set_owner_of(file, &wanted).is_ok() && look()?.uid == PROBE_OWNER;
        }
        Ok(Holds { grain, modes, owners, exact_names: true })
    }

    fn rounded(&self, time: Time) -> Time {
        let all = nanoseconds(time);
        let kept = all - all.rem_euclid(self.grain);
        let seconds = i64::try_from(kept.div_euclid(SECOND)).unwrap_or(time.seconds);
        Time { seconds, nanoseconds: kept.rem_euclid(SECOND) as u32 }
    }
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * SECOND + i128::from(time.nanoseconds)
}

/// The file systems at and below one destination.
#[derive(Default)]
pub struct Destination {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    devices: HashMap<u64, Holds>,
    /// Times that became others.
    times: HashMap<Time, Time>,
    /// Directories of the store and names in them that are not there.
    lost: HashSet<(u64, Box<[u8]>)>,
    /// Whether a name of an inode became a file of its own.
    split: bool,
}

impl Destination {
    /// What the file system of a directory keeps. What cannot be tried is taken to be kept: the
    /// first failure says more.
    pub fn holds(&self, dir: &HostDir, device: u64, private: &[u8], privileged: bool) -> Holds {
        if let Some(holds) = self.lock().devices.get(&device) {
            return *holds;
        }
        let holds = Holds::probe(dir, private, privileged).unwrap_or(Holds::ALL);
        self.lock().devices.insert(device, holds);
        holds
    }

    /// The same for whoever compares, and tries nothing.
    pub fn known(&self, device: u64) -> Holds {
        self.lock().devices.get(&device).copied().unwrap_or(Holds::ALL)
    }

    /// Whether a file of the destination has a time, as far as that can be kept there.
    pub fn has_time(&self, holds: &Holds, there: Time, wanted: Time) -> bool {
        there == wanted
            || there == holds.rounded(wanted)
            || self.lock().times.get(&wanted) == Some(&there)
    }

    /// A time became another one: it cannot be kept.
    pub fn note_time(&self, wanted: Time, there: Time) {
        let mut state = self.lock();
        if state.times.len() < TIMES {
            state.times.insert(wanted, there);
        }
    }

    /// Finds out what becomes of a time that not every file system keeps.
    pub fn try_time(&self, dir: &HostDir, private: &[u8], wanted: &Meta) {
        let time = wanted.mtime;
        if COMMON.contains(&time.seconds) || self.lock().times.contains_key(&time) {
            return;
        }
        let Ok((file, named)) = dir.scratch(private, false) else { return };
        let set = set_times_of(&file, wanted);
        if let (Ok(()), Ok(stat)) = (set, rustix::fs::fstat(&file)) {
            self.note_time(time, Meta::of_stat(&stat).mtime);
        }
        if named {
            // What is left goes with the next export.
            let _ = dir.remove(private, Kind::Regular);
        }
    }

    /// A name of the store is not in the destination.
    pub fn lose(&self, dir: u64, name: &[u8]) {
        self.lock().lost.insert((dir, name.into()));
    }

    pub fn has_lost(&self, dir: u64, name: &[u8]) -> bool {
        let state = self.lock();
        !state.lost.is_empty() && state.lost.contains(&(dir, name.into()))
    }

    /// Names that belong together became files of their own.
    pub fn split(&self) {
        self.lock().split = true;
    }

    pub fn has_split(&self) -> bool {
        self.lock().split
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_down() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (grain, from, to) in [
            (1, time(5, 123_456_789), time(5, 123_456_789)),
            (100, time(5, 123_456_789), time(5, 123_456_700)),
            (SECOND, time(5, 999_999_999), time(5, 0)),
            (2 * SECOND, time(5, 1), time(4, 0)),
            (SECOND, time(-5, 1), time(-5, 0)),
            (2 * SECOND, time(-5, 1), time(-6, 0)),
        ] {
            assert_eq!(Holds { grain, ..Holds::ALL }.rounded(from), to);
        }
        let probed = nanoseconds(PROBE_TIME);
        let kept: HashSet<i128> = GRAINS.iter().map(|grain| probed - probed % grain).collect();
        assert_eq!(kept.len(), GRAINS.len(), "grains that the probe does not tell apart");
    }
}
