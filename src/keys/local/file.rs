//! The key service file as bytes: read, locked against other processes, replaced as a whole.
//!
//! # Invariants
//! 1. The name always stands for a whole file: new contents are written beside it, flushed, and
//!    renamed over it, then the directory is flushed. A crash leaves the old or the new file,
//!    and perhaps a `.tmp` beside it, which the next change overwrites.
//! 2. Who replaces the file holds an exclusive `flock` on the file that the name stood for when
//!    the lock was granted ([`lock`]). So changes are serial, and none is lost.
//! 3. A reader needs no lock. It keeps the file open that it read: as long as it does, the
//!    file's inode number cannot be given to another, so that [`Snapshot::is_current`] notices
//!    every replacement. A file rewritten in place is noticed by its size and dates.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::crypto::Rng;
use crate::error::{Error, Object, Result};

use crate::keys::disk;

/// Largest file that is read or written, bytes: some ten thousand keys.
const MAX_LEN: u64 = 8 << 20;

/// A file as it was when it was read.
pub(super) struct Snapshot {
    /// Open for invariant 3, and for the lock where it holds one.
    _file: File,
    about: Metadata,
}

impl Snapshot {
    /// Whether `path` still stands for this file, with the contents it had.
    pub(super) fn is_current(&self, path: &Path) -> Result<bool> {
        let now = fs::metadata(path).map_err(|e| io_error("stat", e, path))?;
        let stamp = |m: &Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        Ok(disk::is_same_file(&self.about, &now) && stamp(&self.about) == stamp(&now))
    }
}

/// The contents of the file, and which file it was.
pub(super) fn read(path: &Path) -> Result<(Snapshot, Vec<u8>)> {
    let file = File::open(path).map_err(|e| io_error("open", e, path))?;
    read_open(file, path)
}

/// The file under an exclusive lock that ends when the `Snapshot` is dropped, and its contents.
/// Waits for other processes.
pub(super) fn lock(path: &Path) -> Result<(Snapshot, Vec<u8>)> {
    loop {
        // Writable, because locks over NFS need that.
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|e| io_error("open", e, path))?;
        file.lock().map_err(|e| io_error("lock", e, path))?;
        let locked = file.metadata().map_err(|e| io_error("stat", e, path))?;
        let named = fs::metadata(path).map_err(|e| io_error("stat", e, path))?;
        // While this one waited, another may have renamed a new file over the locked one.
        if disk::is_same_file(&locked, &named) {
            return read_open(file, path);
        }
    }
}

/// Replaces the locked file, keeping its owner. Mode 0600 whatever it was.
///
/// # Errors
/// `Io`. Unless the flush of the directory failed, the old file is still there.
pub(super) fn replace(path: &Path, locked: &Snapshot, bytes: &[u8]) -> Result<Snapshot> {
    let temporary = with_suffix(path, ".tmp");
    // Left by a crash, or put there to be written through: either way not ours to open.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", e, path)),
        _ => {}
    }
    let file = write_new(&temporary, bytes, Some(&locked.about));
    let file = file.map_err(|e| io_error("write", e, path))?;
    let renamed = fs::rename(&temporary, path);
    renamed.and_then(|()| disk::sync_parent(path)).map_err(|e| {
        let _ = fs::remove_file(&temporary);
        io_error("replace", e, path)
    })?;
    snapshot(file, path)
}

/// Creates the file, durably.
///
/// # Errors
/// `Exists` where the name is taken; `Io`, also where its directory is not there.
pub(super) fn create(path: &Path, bytes: &[u8], rng: &Rng) -> Result<Snapshot> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists,
        _ => Error::io("create", Object::KeyService, source),
    };
    let temporary = with_suffix(path, &format!(".{:016x}.tmp", rng.u64()?));
    let file = write_new(&temporary, bytes, None).map_err(failed)?;
    // A link, because a rename would replace what another process created meanwhile.
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    linked.and_then(|()| disk::sync_parent(path)).map_err(failed)?;
    snapshot(file, path)
}

/// Writes a file that does not exist yet, flushed.
fn write_new(path: &Path, bytes: &[u8], owner: Option<&Metadata>) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let mut fill = || {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        owner.map_or(Ok(()), |owner| disk::keep_owner(&file, owner))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    fill().inspect_err(|_| {
        let _ = fs::remove_file(path);
    })?;
    Ok(file)
}

fn read_open(mut file: File, path: &Path) -> Result<(Snapshot, Vec<u8>)> {
    let about = file.metadata().map_err(|e| io_error("stat", e, path))?;
    let mut bytes = Vec::new();
    let mut limited = io::Read::by_ref(&mut file).take(MAX_LEN + 1);
    limited.read_to_end(&mut bytes).map_err(|e| io_error("read", e, path))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Error::corrupt(Object::KeyService, "it is larger than any key service file"));
    }
    Ok((Snapshot { _file: file, about }, bytes))
}

fn snapshot(file: File, path: &Path) -> Result<Snapshot> {
    let about = file.metadata().map_err(|e| io_error("stat", e, path))?;
    Ok(Snapshot { _file: file, about })
}

/// `path` with more at its end, which its `extension` does not replace.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn io_error(op: &'static str, source: io::Error, path: &Path) -> Error {
    match source.kind() {
        io::ErrorKind::IsADirectory => Error::IsDirectory,
        io::ErrorKind::NotFound => Error::KeyUnreachable(format!(
            "there is no key service file {}: mount what holds it, name another, or create one",
            path.display()
        )),
        _ => Error::io(op, Object::KeyService, source),
    }
}
