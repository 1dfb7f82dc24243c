//! What happens without being asked for: changes become durable after a while, as on other file
//! systems, and what removed files held is freed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use efscrypt::Store;

use crate::failure::say;

/// How long a change waits until it is made durable, beside what that takes.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many intervals pass between two rounds of upkeep.
const UPKEEP: u32 = 12;

/// The thread that commits.
pub struct Committer {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Committer {
    /// Starts it.
    pub fn start(store: &Arc<Store>) -> io::Result<Committer> {
        let (stop, stopped) = channel();
        let store = Arc::downgrade(store);
        let commit = move || {
            let mut told = Told::default();
            let mut round = 0u32;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                round = round.wrapping_add(1);
                let upkeep = round.is_multiple_of(UPKEEP);
                let done = catch_unwind(AssertUnwindSafe(|| commit(&store, upkeep, &mut told)));
                if done.is_err() {
                    // Nothing would become durable by itself any more.
                    say("a commit panicked: the store takes no more changes");
                    store.upgrade().inspect(|store| store.poison("a commit panicked"));
                }
                if !matches!(done, Ok(true)) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(commit)?;
        Ok(Committer { stop, thread })
    }

    /// Ends it, once it has done what it is at.
    pub fn stop(self) {
        drop(self.stop);
        let _it_said_so = self.thread.join();
    }
}

/// What failed the last time, and was said.
#[derive(Default)]
struct Told {
    sync: bool,
    upkeep: bool,
}

/// Returns whether to go on: as long as the store takes changes. What fails now may succeed later,
/// and whatever upkeep cannot free must not keep changes from becoming durable.
fn commit(store: &Weak<Store>, upkeep: bool, told: &mut Told) -> bool {
    let Some(store) = store.upgrade() else { return false };
    let fs = store.file_system();
    complain(fs.sync(), "cannot make changes durable", &mut told.sync);
    if upkeep {
        complain(fs.maintain(), "cannot free what was removed", &mut told.upkeep);
    }
    fs.health().is_ok()
}

/// Says a failure, once until it succeeds.
fn complain<T>(done: efscrypt::Result<T>, doing: &str, told: &mut bool) {
    match done {
        Ok(_) | Err(efscrypt::Error::ReadOnly) => *told = false,
        Err(error) if !std::mem::replace(told, true) => say(&format!("{doing}: {error}")),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_until_it_succeeds() {
        let mut told = false;
        complain::<()>(Err(efscrypt::Error::ReadOnly), "read", &mut told);
        assert!(!told);
        complain::<()>(Err(efscrypt::Error::NoSpace), "write", &mut told);
        assert!(told);
        complain(Ok(true), "write", &mut told);
        assert!(!told);
    }
}
