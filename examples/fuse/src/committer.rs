//! What happens without being asked for: changes become durable after a while, as on other file
//! systems, and what removed files held is freed.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use efscrypt::Store;

use crate::failure::say;

/// How long a change waits at most until it is durable.
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
            let mut round = 0u32;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                round = round.wrapping_add(1);
                if !commit(&store, round.is_multiple_of(UPKEEP)) {
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

/// Returns whether to go on.
fn commit(store: &Weak<Store>, upkeep: bool) -> bool {
    let Some(store) = store.upgrade() else { return false };
    let fs = store.file_system();
    let done = match upkeep {
        true => fs.maintain().map(drop),
        false => fs.sync(),
    };
    match done {
        Ok(()) | Err(efscrypt::Error::ReadOnly) => true,
        Err(error) => {
            say(&format!("cannot make changes durable: {error}"));
            false
        }
    }
}
