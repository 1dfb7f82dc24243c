//! The signals that end the program.

use std::fs;
use std::io;
use std::process;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use efscrypt::Store;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::say;
use crate::mountpoint::{Attempt, Mountpoint};

/// What the kernel says of this process.
const STATUS: &str = "/proc/self/status";
/// How long programs that have files open may go on after a signal.
const GRACE: Duration = Duration::from_secs(10);
/// How often they are asked about.
const OFTEN: Duration = Duration::from_millis(100);
/// How long the server has for what the kernel put in line.
const HAND_OVER: Duration = Duration::from_millis(500);
/// How long another holder of the store may take to let it go, and the kernel to hand over what it
/// holds back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps signals from ending the program, from now on: before it mounts, so that none leaves a
/// mount behind that nobody serves. Those that who started it has ignored, as `nohup` has SIGHUP
/// and a script has SIGINT of what it starts aside, stay so.
pub fn hold() -> io::Result<Signals> {
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    Signals::new([SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| !ignores(&status, *signal)))
}

/// Whether a process ignores a signal, by what the kernel says of it.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) >> (signal - 1) & 1 != 0
}

/// Unmounts when a signal comes, or came since they are held. Programs that still have files open
/// have some time to close them; another signal ends that.
pub fn watch(mut signals: Signals, place: Mountpoint, store: &Arc<Store>) -> io::Result<()> {
    let store = Arc::downgrade(store);
    // Not waited for: it ends with the program.
    let watch = move || {
        while signals.forever().next().is_some() {
            match end(&place, &mut signals) {
                Ok(Attempt::OutOfSight) => leave(&store),
                Ok(_) => return,
                // Somebody else unmounted it, or another signal may do better.
                Err(error) => say(&format!("cannot unmount: {error}")),
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
    Ok(())
}

fn end(place: &Mountpoint, signals: &mut Signals) -> io::Result<Attempt> {
    let start = Instant::now();
    let mut told = false;
    loop {
        match place.let_go()? {
            Attempt::Busy => {}
            // Nobody can say whether programs have files open either.
            Attempt::Forbidden => break,
            Attempt::Ended | Attempt::OutOfSight => return Ok(Attempt::Ended),
        }
        if !std::mem::replace(&mut told, true) {
            say("programs have files open: they have 10 s to close them");
        }
        if start.elapsed() > GRACE || signals.pending().next().is_some() {
            break;
        }
        thread::sleep(OFTEN);
    }
    write_back(place);
    place.cut()
}

/// Has the kernel hand over what programs wrote into memory that shows files, within a time: what
/// still changes then, or takes longer, is lost with the mount.
fn write_back(place: &Mountpoint) {
    let (done, finished) = channel();
    let place = place.clone();
    let write = move || done.send(place.write_back());
    // Not waited for beyond the time: the end of the mount ends it.
    let started = thread::Builder::new().name("write back".to_owned()).spawn(write);
    let result = started.map(|_| finished.recv_timeout(PATIENCE));
    if !matches!(result, Ok(Ok(Ok(())))) {
        say("what programs changed in mapped memory, and what the kernel kept back, may be lost");
    }
    // Some kernels say that it is done when they have put it in line for the server.
    thread::sleep(HAND_OVER);
}

/// Ends the program while the kernel still waits for answers: that ends the mount.
fn leave(store: &Weak<Store>) {
    let done = store.upgrade().map_or(Ok(()), |store| store.sync());
    match done {
        Ok(()) | Err(efscrypt::Error::ReadOnly) => {
            say("unmounted: everything that arrived is committed");
            process::exit(0)
        }
        Err(error) => {
            say(&format!("cannot make changes durable: {error}"));
            process::exit(1)
        }
    }
}

/// The store, once nobody else holds it; `None` where somebody does for too long, who then only
/// reads what is committed.
pub fn only_one(mut store: Arc<Store>) -> Option<Store> {
    for _ in 0..PATIENCE.as_millis() / 10 {
        match Arc::try_unwrap(store) {
            Ok(store) => return Some(store),
            Err(shared) => store = shared,
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_known() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000003\nSigCgt:\tf\n";
        assert!(ignores(status, SIGHUP) && ignores(status, SIGINT) && !ignores(status, SIGTERM));
        assert!(!ignores("", SIGHUP));
    }
}
