//! The log of key uses in a file.
//!
//! # What it proves
//! An edited, deleted, inserted or reordered record breaks the chain at that record. The chain
//! has no key: who may write the file can cut records off its end or write all of it anew. An
//! auditor who fears that keeps [`AuditSummary::head`] elsewhere from time to time: a log that
//! still contains a record with that hash has all records up to it unchanged.
//!
//! # Invariants
//! 1. A record is one line, written by one append while the file is locked (`flock`), so several
//!    processes may use one log.
//! 2. Under the lock, a line without its newline is the remains of a crash: it was never
//!    acknowledged. It is removed, and a `recover-tail` record says so. Without a record before
//!    it, it must begin as a first record does: else the file is no log, and stays as it is.
//! 3. `head` is the head after the record that ends at `end`. Before an append, records that
//!    other processes added after `end` are verified and taken in.
//! 4. After a failed flush, or a failed append whose bytes could not be removed, nothing is
//!    appended until the log is opened again: the bytes in the page cache are not to be trusted.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::error::{Error, Object, Result};

use super::record::{Head, MAX_LINE};
use super::{AuditAnchor, AuditEvent, AuditOp, AuditRecord, AuditSink, ContinuedLog, reserve};
use crate::keys::{Clock, SystemClock, disk, hex};

/// Bytes at the end of a log that are verified when it is opened: at least one whole line.
const TAIL: u64 = 4 * MAX_LINE as u64;

/// How often a name that another process creates and removes is tried.
const TRIES: u32 = 16;
/// How the first record of every log begins.
const FIRST: &[u8] = b"{\"seq\":0,\"time\":";

/// When a record survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditDurability {
    /// Before the call that it records returns: one flush (`fdatasync`) per record.
    #[default]
    EachRecord,
    /// When the operating system writes it, usually within 30 seconds. It survives the death of
    /// the process at once.
    System,
}

/// What [`AuditLog::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditSummary {
    /// Records in the log.
    pub records: u64,
    /// Hash of the last record, 64 hexadecimal digits: keep it elsewhere to notice later that
    /// the log was cut or rewritten. Zeros for an empty log.
    pub head: String,
    /// Bytes of a record that a crash cut, after the last whole one.
    pub torn_bytes: u64,
}

/// A sink that appends records to a file. Usable from many threads, and by many processes on one
/// file, each with its own `AuditLog`.
pub struct AuditLog {
    path: PathBuf,
    durability: AuditDurability,
    clock: Arc<dyn Clock>,
    tail: Mutex<Tail>,
}

struct Tail {
    file: File,
    end: u64,
    head: Head,
    failed: bool,
}

impl AuditLog {
    /// Opens the log at `path`, or creates it with mode 0600, and verifies its last records.
    ///
    /// The name must stand for the log itself: a symbolic link is refused, so that who may write
    /// to the directory cannot have another file created or continued through it.
    ///
    /// # Errors
    /// `Io`, also for a symbolic link; `IsDirectory`; `InvalidArgument` for another file that is
    /// not a regular one; `Corrupt` where the last records are not a chain, which is then left
    /// as it is.
    pub fn open(path: &Path, durability: AuditDurability) -> Result<Self> {
        Self::open_with_clock(path, durability, Arc::new(SystemClock))
    }

    /// As [`AuditLog::open`]; a log that this call creates gets the owner and group of the file
    /// `like`, so that an administrator does not lock a service out of the log that it must
    /// write. Who may not give the group keeps his own.
    pub fn open_like(path: &Path, durability: AuditDurability, like: &Path) -> Result<Self> {
        let like = fs::metadata(like).map_err(|e| io_error("stat", e))?;
        let owner = Owner { like: &like, required: true };
        Self::open_file(path, Some(owner), None, durability, Arc::new(SystemClock))
    }

    /// As [`AuditLog::open_like`], of a log that a key service knows: see
    /// [`LocalKms::open_log`](crate::keys::LocalKms::open_log).
    pub(in crate::keys) fn open_known(
        path: &Path,
        durability: AuditDurability,
        owner: Owner<'_>,
        known: Option<&AuditAnchor>,
    ) -> Result<Self> {
        Self::open_file(path, Some(owner), known, durability, Arc::new(SystemClock))
    }

    /// As [`AuditLog::open`], with another clock for the dates of records.
    pub fn open_with_clock(
        path: &Path,
        durability: AuditDurability,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::open_file(path, None, None, durability, clock)
    }

    fn open_file(
        path: &Path,
        owner: Option<Owner<'_>>,
        known: Option<&AuditAnchor>,
        durability: AuditDurability,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let file = match known {
            Some(_) => open_existing(path)?.ok_or(Error::AuditLogMismatch("it is not there"))?,
            None => open_or_create(path, owner)?,
        };
        Self::of_file(file, path, known, durability, clock)
    }

    /// The log in an open file, with its end verified.
    pub(super) fn of_file(
        file: File,
        path: &Path,
        known: Option<&AuditAnchor>,
        durability: AuditDurability,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut tail = Tail { file, end: 0, head: Head::START, failed: false };
        tail.file.lock().map_err(|e| io_error("lock", e))?;
        known.map_or(Ok(()), |known| known.check(&mut tail.file))?;
        let torn = tail.load().map_err(|error| tail.locate(error))?;
        if tail.end == 0 {
            disk::sync_parent(path).map_err(|e| io_error("flush", e))?;
        }
        let log = AuditLog { path: path.to_owned(), durability, clock, tail: Mutex::new(tail) };
        let mut tail = log.tail.lock();
        reserve::keep(&tail.file, path);
        if torn > 0 {
            log.recover(&mut tail)?;
        }
        tail.file.unlock().map_err(|e| io_error("unlock", e))?;
        drop(tail);
        Ok(log)
    }

    /// Verifies a whole log without changing it, while others go on appending to it: what was
    /// there when the call began is read without the lock, and only what came since under it.
    ///
    /// # Errors
    /// `Corrupt` with [`Object::AuditRecord`] at the first record that is not the one written
    /// there; `Io`; `IsDirectory`; `InvalidArgument` for another file that is not a regular one.
    pub fn verify(path: &Path) -> Result<AuditSummary> {
        let (file, len) = open_to_verify(path)?;
        Self::verify_file(&file, (&file).take(len))
    }

    /// As [`AuditLog::verify`], of a log that a key service knows.
    ///
    /// # Errors
    /// Also `AuditLogMismatch` where it is not there, or does not hold what is known of it.
    pub fn verify_known(path: &Path, known: &AuditAnchor) -> Result<AuditSummary> {
        let opened = open_to_verify(path).map_err(|error| match &error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::AuditLogMismatch("it is not there")
            }
            _ => error,
        });
        let (mut file, len) = opened?;
        let summary = Self::verify_file(&file, (&file).take(len))?;
        known.check(&mut file)?;
        Ok(summary)
    }

    /// Verifies `there`, what the file held, without the lock, and the rest under it.
    fn verify_file(mut file: &File, there: impl Read) -> Result<AuditSummary> {
        let mut scan = Scan::from(Some(Head::START));
        // A writer may be at work on the last line, so nothing is said of it before the lock is
        // held. What ends this pass early is found once more below.
        let _ = scan.read(BufReader::new(there));
        file.lock_shared().map_err(|e| io_error("lock", e))?;
        file.seek(SeekFrom::Start(scan.whole)).map_err(|e| io_error("seek", e))?;
        scan.read(BufReader::new(file))?;
        let head = scan.head.unwrap_or(Head::START);
        Ok(AuditSummary {
            records: head.next_seq,
            head: hex::encode(&head.hash),
            torn_bytes: scan.torn,
        })
    }

    /// The file of the log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the remains of a crash and says so in the log.
    fn recover(&self, tail: &mut Tail) -> Result<()> {
        tail.file.set_len(tail.end).map_err(|e| io_error("truncate", e))?;
        // It went with what was cut off.
        reserve::keep(&tail.file, &self.path);
        self.append(tail, &AuditEvent::new(AuditOp::RecoverTail, "efscrypt", ""))
    }

    /// Takes in what other processes appended, then appends. Needs the lock on the file.
    fn append_locked(&self, tail: &mut Tail, event: &AuditEvent<'_>) -> Result<()> {
        self.catch_up(tail)?;
        self.append(tail, event)
    }

    /// Takes in what other processes appended, and what a crash of one left.
    fn catch_up(&self, tail: &mut Tail) -> Result<()> {
        let here = tail.file.metadata().map_err(|e| io_error("stat", e))?;
        match fs::metadata(&self.path) {
            Ok(there) if disk::is_same_file(&here, &there) => {}
            Ok(_) => return Err(Error::corrupt(Object::AuditLog, "another file took its place")),
            Err(e) => return Err(io_error("stat", e)),
        }
        if here.len() < tail.end {
            return Err(Error::corrupt(Object::AuditLog, "it was cut while in use"));
        }
        if here.len() > tail.end && tail.catch_up()? > 0 {
            self.recover(tail)?;
        }
        Ok(())
    }

    fn append(&self, tail: &mut Tail, event: &AuditEvent<'_>) -> Result<()> {
        self.append_record(tail, AuditRecord::new(event, tail.head, self.clock.now()))
    }

    fn append_record(&self, tail: &mut Tail, mut record: AuditRecord) -> Result<()> {
        let (mut line, head) =
            record.seal().map_err(|_| Error::Internal("an audit record has no JSON form"))?;
        line.push(b'\n');
        self.write(tail, &line)?;
        tail.head = head;
        tail.end += line.len() as u64;
        reserve::keep(&tail.file, &self.path);
        if self.durability == AuditDurability::EachRecord {
            tail.flush()?;
        }
        Ok(())
    }

    /// Writes a line at the end, all of it or nothing.
    fn write(&self, tail: &mut Tail, line: &[u8]) -> Result<()> {
        let Err(first) = tail.write(line) else { return Ok(()) };
        let again = !tail.failed && disk::is_full(&first) && reserve::release(&self.path);
        let error = match again {
            true => match tail.write(line) {
                Ok(()) => return Ok(()),
                Err(second) => second,
            },
            false => first,
        };
        Err(io_error("append", error))
    }

    /// Begins the chain with a record about the log before it.
    pub(super) fn begin_chain(
        &self,
        event: &AuditEvent<'_>,
        continues: ContinuedLog,
    ) -> Result<()> {
        let mut tail = self.tail.lock();
        tail.file.lock().map_err(|e| io_error("lock", e))?;
        let record = AuditRecord::new(event, tail.head, self.clock.now());
        let record = AuditRecord { continues: Some(continues.bounded()), ..record };
        self.append_record(&mut tail, record)?;
        tail.flush()?;
        tail.file.unlock().map_err(|e| io_error("unlock", e))
    }

    /// The place after the last record, which is durable.
    pub(in crate::keys) fn durable_end(&self) -> Result<AuditAnchor> {
        let mut tail = self.tail.lock();
        tail.file.lock().map_err(|e| io_error("lock", e))?;
        let caught_up = self.catch_up(&mut tail).and_then(|()| match self.durability {
            AuditDurability::EachRecord => Ok(()),
            AuditDurability::System => tail.flush(),
        });
        tail.file.unlock().map_err(|e| io_error("unlock", e))?;
        caught_up?;
        let (records, head) = (tail.head.next_seq, tail.head.hash);
        Ok(AuditAnchor { records, bytes: tail.end, head })
    }
}

impl AuditSink for AuditLog {
    /// Appends one record.
    ///
    /// # Errors
    /// `Io`; `Corrupt` where the file was cut, replaced, or continued by something that is not
    /// a chain.
    fn record(&self, event: &AuditEvent<'_>) -> Result<()> {
        let mut tail = self.tail.lock();
        if tail.failed {
            return Err(io_error("append", io::Error::other("an earlier write or flush failed")));
        }
        tail.file.lock().map_err(|e| io_error("lock", e))?;
        let result = self.append_locked(&mut tail, event);
        tail.file.unlock().map_err(|e| io_error("unlock", e))?;
        result
    }

    fn anchor(&self) -> Result<Option<(PathBuf, AuditAnchor)>> {
        Ok(Some((self.path.clone(), self.durable_end()?)))
    }
}

impl Tail {
    /// Writes at the end, all or nothing; `failed` where neither came about.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(line);
        if written.is_err() {
            self.failed = self.file.set_len(self.end).is_err();
        }
        written
    }

    fn flush(&mut self) -> Result<()> {
        let flushed = self.file.sync_data();
        self.failed |= flushed.is_err();
        flushed.map_err(|e| io_error("flush", e))
    }

    /// The first record that is damaged, where an error from the end of the log does not name it.
    fn locate(&mut self, error: Error) -> Error {
        if !matches!(error, Error::Corrupt { .. }) || self.file.seek(SeekFrom::Start(0)).is_err() {
            return error;
        }
        let mut scan = Scan::from(Some(Head::START));
        scan.read(BufReader::new(&self.file)).err().unwrap_or(error)
    }

    /// Finds the end of the chain from the last records; returns the bytes of a cut one.
    fn load(&mut self) -> Result<u64> {
        let len = self.file.metadata().map_err(|e| io_error("stat", e))?.len();
        let start = len.saturating_sub(TAIL);
        self.file.seek(SeekFrom::Start(start)).map_err(|e| io_error("seek", e))?;
        let mut reader = BufReader::new(&self.file);
        let mut skipped = Vec::new();
        if start > 0 {
            let mut line = reader.by_ref().take(MAX_LINE as u64 + 1);
            line.read_until(b'\n', &mut skipped).map_err(|e| io_error("read", e))?;
        }
        let mut scan = Scan::from((start == 0).then_some(Head::START));
        scan.read(reader)?;
        let no_chain = || Error::corrupt(Object::AuditLog, "it does not end in records");
        self.head = scan.head.ok_or_else(no_chain)?;
        self.end = start + skipped.len() as u64 + scan.whole;
        Ok(scan.torn)
    }

    /// Takes in the records after `end`; returns the bytes of a cut one.
    fn catch_up(&mut self) -> Result<u64> {
        self.file.seek(SeekFrom::Start(self.end)).map_err(|e| io_error("seek", e))?;
        let mut scan = Scan::from(Some(self.head));
        scan.read(BufReader::new(&self.file))?;
        self.head = scan.head.unwrap_or(self.head);
        self.end += scan.whole;
        Ok(scan.torn)
    }
}

/// Whose a log that is created here becomes.
#[derive(Clone, Copy)]
pub(in crate::keys) struct Owner<'a> {
    /// The owner and group of the file that this is about.
    pub like: &'a Metadata,
    /// Whether there is no log where it cannot become his; else it stays whoever creates it.
    pub required: bool,
}

/// Opens the file that the name stands for, or creates one, with that owner where it is given.
fn open_or_create(path: &Path, owner: Option<Owner<'_>>) -> Result<File> {
    // The name may come and go between the two: another try each time it did.
    for _ in 0..TRIES {
        // Creating first: what this call did not create is never given to another owner.
        match create_new(path, owner) {
            Err(Error::Exists) => {}
            created => return created,
        }
        if let Some(file) = open_existing(path)? {
            return Ok(file);
        }
    }
    Err(io_error("open", io::Error::other("its name comes and goes")))
}

/// Creates the file, with that owner.
pub(super) fn create_new(path: &Path, owner: Option<Owner<'_>>) -> Result<File> {
    let file = log_options().create_new(true).mode(0o600).open(path);
    give(file.map_err(|e| io_error("create", e))?, path, owner)
}

/// The file that the name stands for, if there is one.
fn open_existing(path: &Path) -> Result<Option<File>> {
    match log_options().open(path) {
        Ok(file) => {
            disk::check_regular(&file).map_err(|e| io_error("open", e))?;
            Ok(Some(file))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("open", e)),
    }
}

/// The file of a log that is to be verified, and its length.
fn open_to_verify(path: &Path) -> Result<(File, u64)> {
    let file = disk::open_regular(OpenOptions::new().read(true), path);
    let file = file.map_err(|e| io_error("open", e))?;
    let len = file.metadata().map_err(|e| io_error("stat", e))?.len();
    Ok((file, len))
}

/// No link is followed, and a pipe without a reader makes nobody wait.
fn log_options() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(flags.bits().cast_signed());
    options
}

/// Gives a log that this process created to its owner, or removes it again.
fn give(file: File, path: &Path, owner: Option<Owner<'_>>) -> Result<File> {
    let Some(Owner { like, required }) = owner else { return Ok(file) };
    match disk::keep_owner(&file, like) {
        Err(e) if required || e.kind() != io::ErrorKind::PermissionDenied => {
            let _ = fs::remove_file(path);
            Err(io_error("chown", e))
        }
        _ => Ok(file),
    }
}

/// What a stretch of a log holds, as far as it was read.
struct Scan {
    /// Head after the last whole record; `None` where there is none and none was given.
    head: Option<Head>,
    /// Bytes of whole records.
    whole: u64,
    /// Bytes after them.
    torn: u64,
}

impl Scan {
    /// A stretch that continues `head`; where that is not known, the first record is believed.
    fn from(head: Option<Head>) -> Self {
        Scan { head, whole: 0, torn: 0 }
    }

    /// Verifies records up to the end of `reader`. After an error the scan stands behind the last
    /// record that is good.
    fn read(&mut self, mut reader: impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = reader.by_ref().take(MAX_LINE as u64 + 1);
            let len = limited.read_until(b'\n', &mut line).map_err(|e| io_error("read", e))?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return self.end_torn(&line);
            };
            let place = self.place();
            let (record, next) =
                AuditRecord::parse(text).map_err(|why| Error::corrupt(place, why))?;
            if let Some(head) = self.head {
                record.follows(head).map_err(|why| Error::corrupt(place, why))?;
            }
            self.head = Some(next);
            self.whole += len as u64;
        }
    }

    /// Takes in the bytes behind the last newline.
    fn end_torn(&mut self, line: &[u8]) -> Result<()> {
        if line.len() > MAX_LINE {
            return Err(Error::corrupt(self.place(), "its line is too long"));
        }
        if self.head == Some(Head::START) && !begins_first(line) {
            return Err(Error::corrupt(Object::AuditLog, "it is no log of key uses"));
        }
        self.torn = line.len() as u64;
        Ok(())
    }

    /// The record that is read next.
    fn place(&self) -> Object {
        self.head.map_or(Object::AuditLog, |head| Object::AuditRecord { seq: head.next_seq })
    }
}

/// Whether a crash can have left these bytes of a first record.
fn begins_first(torn: &[u8]) -> bool {
    torn.starts_with(FIRST) || FIRST.starts_with(torn)
}

pub(super) fn io_error(op: &'static str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists,
        io::ErrorKind::IsADirectory => Error::IsDirectory,
        io::ErrorKind::InvalidInput => Error::InvalidArgument("an audit log is a regular file"),
        _ => Error::io(op, Object::AuditLog, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn after_a_failed_write_that_cannot_be_undone_the_log_stays_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let log = AuditLog::open(&path, AuditDurability::EachRecord).unwrap();
        let event = AuditEvent::new(AuditOp::Wrap, "local", "k");
        log.record(&event).unwrap();
        let writable = std::mem::replace(&mut log.tail.lock().file, File::open(&path).unwrap());
        assert_eq!(log.record(&event).unwrap_err().kind(), ErrorKind::Io);
        log.tail.lock().file = writable;
        let error = log.record(&event).unwrap_err();
        assert!(error.to_string().contains("earlier"), "{error}");
        AuditLog::open(&path, AuditDurability::EachRecord).unwrap().record(&event).unwrap();
        assert_eq!(AuditLog::verify(&path).unwrap().records, 2);

        let directory = AuditLog::open(dir.path(), AuditDurability::System).err().unwrap();
        assert_eq!(directory.kind(), ErrorKind::IsDirectory);
    }

    /// Reads a file, and has a key used each time.
    struct Busy<'a> {
        file: &'a File,
        other: File,
        log: &'a AuditLog,
        reads: u32,
    }

    impl Read for Busy<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.other.try_lock().expect("verification holds the lock");
            self.other.unlock()?;
            if self.reads > 0 {
                self.reads -= 1;
                self.log.record(&AuditEvent::new(AuditOp::Unwrap, "local", "k")).unwrap();
            }
            self.file.read(buf)
        }
    }

    #[test]
    fn keys_are_used_while_a_long_log_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let log = AuditLog::open(&path, AuditDurability::System).unwrap();
        for _ in 0..100 {
            log.record(&AuditEvent::new(AuditOp::Wrap, "local", "k")).unwrap();
        }
        let (file, other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
        let busy = Busy { file: &file, other, log: &log, reads: 2 };
        let summary = AuditLog::verify_file(&file, busy.take(20_000)).unwrap();
        assert_eq!((summary.records, summary.torn_bytes), (102, 0));
        assert_eq!(summary.head, AuditLog::verify(&path).unwrap().head);
    }
}
