//! Whether the file under a store is still all there, while it is open.
//!
//! Somebody may cut it, delete it, or put another in its place. Whatever is written from then on is
//! lost, though every write and flush succeeds: the host writes to a file that nobody finds again,
//! or makes a cut one long again, with a hole in it. So the file is looked at with each flush, and
//! now and then before writes, as a write would hide the cut. Once something is seen it stays so.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{FileDevice, Kind};

/// Microseconds after which a write looks at the file again.
const INTERVAL: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Whole {
    /// Whether the file had a name: some file systems count none.
    named: bool,
    opened: Instant,
    /// Microseconds from the opening to the last look.
    looked: AtomicU64,
    /// What is wrong, once it was seen.
    lost: OnceLock<(io::ErrorKind, String)>,
}

impl Whole {
    pub(super) fn new(named: bool) -> Whole {
        let (looked, lost) = (AtomicU64::new(0), OnceLock::new());
        Whole { named, opened: Instant::now(), looked, lost }
    }

    /// Whether a write should look first.
    fn is_due(&self) -> bool {
        let now = self.opened.elapsed().as_micros() as u64;
        now.saturating_sub(self.looked.load(Ordering::Relaxed)) >= INTERVAL && {
            self.looked.store(now, Ordering::Relaxed);
            true
        }
    }

    fn fail(&self, kind: io::ErrorKind, why: String) -> io::Result<()> {
        self.lost.get_or_init(|| (kind, why));
        self.known()
    }

    fn known(&self) -> io::Result<()> {
        match self.lost.get() {
            Some((kind, why)) => Err(io::Error::new(*kind, why.clone())),
            None => Ok(()),
        }
    }
}

/// Bytes of a block device.
pub(super) fn block_len(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

impl FileDevice {
    /// Looks at the file, and says what is wrong, also if that was seen before.
    pub(super) fn look(&self) -> io::Result<()> {
        self.whole.known()?;
        let (have, named) = self.about()?;
        if self.whole.named && !named {
            let why = "its file was deleted, or another put in its place, while it was open";
            return self.whole.fail(io::ErrorKind::NotFound, why.to_owned());
        }
        if have >= self.known_len() {
            return Ok(());
        }
        // Its length is being changed by another thread of this process, perhaps.
        let _growth = self.growth.lock();
        let ((have, _), known) = (self.about()?, self.known_len());
        if have >= known {
            return Ok(());
        }
        let why = format!("it was cut while it was open: it has {have} bytes, and had {known}");
        self.whole.fail(io::ErrorKind::UnexpectedEof, why)
    }

    /// As [`FileDevice::look`], at most every two milliseconds: before a write.
    pub(super) fn look_now_and_then(&self) -> io::Result<()> {
        self.whole.known()?;
        if self.whole.is_due() { self.look() } else { Ok(()) }
    }

    /// The file's length, and whether it has a name.
    fn about(&self) -> io::Result<(u64, bool)> {
        match self.kind {
            Kind::File => {
                let about = self.file.metadata()?;
                Ok((about.len(), about.nlink() > 0))
            }
            // Its node may go, and the device stay.
            Kind::Block => Ok((block_len(&self.file)?, true)),
        }
    }

    /// The answer to a read: where the file ends, if it ended there, which is looked at.
    pub(super) fn ended(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return error;
        }
        if !self.read_only {
            let _remembered = self.look();
        }
        match self.about() {
            Ok((len, _)) => {
                let why = format!("the device ends before it, at byte {len}");
                io::Error::new(io::ErrorKind::UnexpectedEof, why)
            }
            Err(_) => error,
        }
    }
}
