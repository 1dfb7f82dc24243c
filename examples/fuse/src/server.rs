//! The server: what every request has in common.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use efscrypt::fs::{Attr, FileSystem, FileType};
use efscrypt::{Error, ErrorKind, Store};
use fuser::Errno;

use crate::attr::BLOCK;
use crate::failure::say;
use crate::workers::Workers;

/// How long the kernel keeps names and attributes: the store is locked, so nobody but the kernel
/// behind this mount changes them.
pub const KEPT: Duration = Duration::from_secs(3600);

/// Set-ID bits: they go when somebody writes.
const SET_IDS: u32 = 0o6000;

/// Threads for requests that wait.
const WORKERS: usize = 16;
/// Most complaints about damage and failed devices; the system's log holds no more of them.
const MOST_COMPLAINTS: u32 = 100;
/// Attempts at a name that leads to another inode each time it is looked at.
const ATTEMPTS: usize = 16;

/// A mounted store. It translates, and remembers nothing that the engine does not.
pub struct Server {
    service: Arc<Service>,
    workers: Workers,
}

/// What does the work of requests, on any thread.
pub struct Service {
    store: Arc<Store>,
    complaints: AtomicU32,
}

impl Server {
    /// Serves a store.
    ///
    /// # Errors
    /// Those of starting threads.
    pub fn new(store: Arc<Store>) -> io::Result<Server> {
        let service = Arc::new(Service { store, complaints: AtomicU32::new(0) });
        Ok(Server { service, workers: Workers::start(WORKERS)? })
    }

    /// Does one request's work at once: what hardly ever waits.
    pub fn work<T>(
        &self,
        work: impl FnOnce(&FileSystem) -> efscrypt::Result<T>,
    ) -> Result<T, Errno> {
        self.service.work(work)
    }

    /// What does the work.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Has a request done elsewhere that may wait for the device.
    pub fn hand_on(&self, request: impl FnOnce(&Service) + Send + 'static) {
        let service = Arc::clone(&self.service);
        self.workers.give(move || request(&service));
    }
}

impl Service {
    /// Does one request's work. A failure becomes the number that programs see; damage, failed
    /// devices and bugs are said aloud too.
    pub fn work<T>(
        &self,
        work: impl FnOnce(&FileSystem) -> efscrypt::Result<T>,
    ) -> Result<T, Errno> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self.store.file_system())));
        match done {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.errno(&error)),
            Err(_panic) => {
                self.store.poison("a request panicked");
                Err(Errno::EIO)
            }
        }
    }

    fn errno(&self, error: &Error) -> Errno {
        use ErrorKind::{Corrupt, Internal, Io, Poisoned};
        let kind = error.kind();
        if matches!(kind, Corrupt | Internal | Io | Poisoned)
            && self.complaints.fetch_add(1, Ordering::Relaxed) < MOST_COMPLAINTS
        {
            say(&error.to_string());
        }
        Errno::from_i32(kind.errno())
    }
}

/// How long the kernel keeps an inode's attributes. It does not look at the mode again after a
/// write that takes set-ID bits away, and would still run the program as its owner; and nobody
/// tells it when space that a truncation left is freed.
pub fn kept(attr: &Attr) -> Duration {
    let whole = attr.size.checked_next_multiple_of(BLOCK.into()).unwrap_or(u64::MAX);
    let changes = attr.mode & SET_IDS != 0 || attr.space > whole;
    match attr.kind == FileType::Regular && changes {
        true => Duration::ZERO,
        false => KEPT,
    }
}

/// What a name leads to, with a reference for the kernel: the inode stays until it is forgotten,
/// whatever happens to its names.
pub fn enter(fs: &FileSystem, dir: u64, name: &[u8]) -> efscrypt::Result<Attr> {
    if name == b"." {
        return enter_again(fs, dir);
    }
    let mut attempts = ATTEMPTS;
    loop {
        let attr = fs.lookup(dir, name)?;
        attempts -= 1;
        match fs.open(attr.ino) {
            // Removed between the two.
            Err(Error::Stale) if attempts > 0 => {}
            opened => return opened.map(|()| attr),
        }
    }
}

/// An inode of any type that the kernel forgot, and has a file handle of.
fn enter_again(fs: &FileSystem, ino: u64) -> efscrypt::Result<Attr> {
    fs.open(ino)?;
    fs.getattr(ino).inspect_err(|_| {
        let _kernel_learns_nothing = fs.close(ino);
    })
}

/// Attributes of what was just made, with a reference for the kernel.
pub fn entered(fs: &FileSystem, attr: Attr) -> efscrypt::Result<Attr> {
    fs.open(attr.ino)?;
    Ok(attr)
}
