//! The server: what every request has in common.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use efscrypt::fs::{Attr, FileSystem};
use efscrypt::{Error, ErrorKind, Store};
use fuser::Errno;

use crate::attr::Seen;
use crate::failure::say;
use crate::workers::Workers;

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
    /// Whether the kernel keeps back what programs write.
    write_back: bool,
    complaints: AtomicU32,
}

impl Server {
    /// Serves a store; with `write_back`, the kernel may keep back what programs write.
    ///
    /// # Errors
    /// Those of starting threads.
    pub fn new(store: Arc<Store>, write_back: bool) -> io::Result<Server> {
        let service = Arc::new(Service { store, write_back, complaints: AtomicU32::new(0) });
        Ok(Server { service, workers: Workers::start(WORKERS)? })
    }

    /// Does one request's work at once: what hardly ever waits.
    pub fn work<T>(
        &self,
        work: impl FnOnce(&FileSystem) -> efscrypt::Result<T>,
    ) -> Result<T, Errno> {
        self.service.work(work)
    }

    /// An inode as the kernel sees it.
    pub fn seen(&self, attr: &Attr) -> Seen {
        self.service.seen(attr)
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
    /// The store's files.
    pub fn file_system(&self) -> &FileSystem {
        self.store.file_system()
    }

    /// Whether the kernel keeps back what programs write.
    pub fn writes_back(&self) -> bool {
        self.write_back
    }

    /// An inode as the kernel sees it.
    pub fn seen(&self, attr: &Attr) -> Seen {
        Seen::new(attr, self.write_back)
    }

    /// Does one request's work. A failure becomes the number that programs see; damage, failed
    /// devices and bugs are said aloud too.
    pub fn work<T>(
        &self,
        work: impl FnOnce(&FileSystem) -> efscrypt::Result<T>,
    ) -> Result<T, Errno> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self.file_system())));
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
        use ErrorKind::{Corrupt, Internal, Io, Poisoned, TakenOver, Truncated};
        let kind = error.kind();
        if matches!(kind, Corrupt | Internal | Io | Poisoned | TakenOver | Truncated)
            && self.complaints.fetch_add(1, Ordering::Relaxed) < MOST_COMPLAINTS
        {
            say(&error.to_string());
        }
        Errno::from_i32(kind.errno())
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
