//! The key service file as bytes: read, locked against other processes, replaced as a whole.
//!
//! # Invariants
//! 1. The name always stands for a whole file: new contents are written beside it, flushed, and
//!    renamed over it, then the directory is flushed. A crash leaves the old or the new file,
//!    and perhaps a `.tmp` beside it, which the next change removes: it may hold a key that was
//!    destroyed since.
//! 2. Who replaces the file holds an exclusive `flock` on the file that the name stood for when
//!    the lock was granted ([`lock`]). So changes are serial, and none is lost. Where something
//!    else put another file there, two may hold a lock: each writes to a name of its own, and
//!    gives up if the name no longer stands for the file it locked.
//! 3. A reader needs no lock. It keeps the file open that it read: as long as it does, the
//!    file's inode number cannot be given to another, so that [`Snapshot::is_current`] notices
//!    every replacement. A file rewritten in place is noticed by its size and dates.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::crypto::Rng;
use crate::error::{Error, Object, Result};

use super::spare;
use crate::keys::disk;

/// Largest file that is read or written, bytes: some ten thousand keys. Tests fill a smaller one.
pub(super) const MAX_LEN: u64 = if cfg!(test) { 32 << 10 } else { 8 << 20 };
/// Largest file that keys, versions and aliases may be added to, bytes. In the rest, every key
/// has room for another state: a full file never keeps a key from being disabled or deleted.
pub(super) const MAX_GROWN_LEN: u64 = MAX_LEN / 4 * 3;
/// End of the names of unfinished files.
const TEMPORARY: &str = ".tmp";

/// A file as it was when it was read.
pub(super) struct Snapshot {
    /// Open for invariant 3, and for the lock where it holds one.
    file: File,
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
    let file = disk::open_regular(OpenOptions::new().read(true), path);
    read_open(file.map_err(|e| io_error("open", e, path))?, path)
}

/// The file under an exclusive lock that ends when the `Snapshot` is dropped, and its contents.
/// Waits for other processes.
pub(super) fn lock(path: &Path) -> Result<(Snapshot, Vec<u8>)> {
    loop {
        // Writable, because locks over NFS need that.
        let file = disk::open_regular(OpenOptions::new().read(true).write(true), path);
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

/// Replaces the locked file, keeping its owner, group, mode and access control list.
///
/// # Errors
/// `FileTooLarge`, before anything is touched; `Corrupt` where the file was replaced or written
/// by something that does not take the lock, which stays; `Io`. The old file is still there then.
/// Within the outer result, `Io` where the new file has the name and may lose it in a power cut.
pub(super) fn replace(
    path: &Path,
    locked: &Snapshot,
    bytes: &[u8],
    (limit, rng): (u64, &Rng),
) -> Result<Result<Snapshot>> {
    check_len(bytes, limit)?;
    remove_leftovers(path);
    spare::keep(path, bytes.len() as u64, &locked.about);
    let temporary = temporary(path, rng)?;
    let failed = |e| io_error("write", e, path);
    let (file, from_spare) = match write_new(&temporary, bytes, Some(&locked.file)) {
        Err(e) if disk::is_full(&e) => {
            (write_spare(path, &temporary, bytes, locked, rng)?.map_err(|_| failed(e))?, true)
        }
        written => (written.map_err(failed)?, false),
    };
    let replaced = match locked.is_current(path) {
        Ok(true) => put(&temporary, path, from_spare).map_err(|e| io_error("replace", e, path)),
        Ok(false) => {
            Err(Error::corrupt(Object::KeyService, "another file took its place meanwhile"))
        }
        Err(error) => Err(error),
    };
    let exchanged = replaced.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    let durable = disk::sync_parent(path).map_err(|e| io_error("flush", e, path));
    if exchanged {
        spare::give_back(path, &temporary, bytes.len() as u64, &locked.about);
    }
    if from_spare {
        let _ends_with_the_file = file.unlock();
    }
    Ok(durable.and_then(|()| snapshot(file, path)))
}

/// Writes the new contents into the spare, where the disk has no room for them. The file is locked:
/// who waits for the next change waits until the spare is there again.
fn write_spare(
    path: &Path,
    temporary: &Path,
    bytes: &[u8],
    locked: &Snapshot,
    rng: &Rng,
) -> Result<io::Result<File>> {
    // A file that had the name before may get it again within one tick of the clock: its date of
    // change must be another all the same, for those who compare it.
    let earlier = Duration::from_nanos(rng.u64()? % 1_000_000_000);
    Ok(spare::take(path, temporary, bytes).and_then(|file| {
        let finish = || {
            disk::keep_access(&file, &locked.file)?;
            file.set_modified(SystemTime::now() - earlier)?;
            file.lock()
        };
        finish().inspect_err(|_| {
            let _ = fs::remove_file(temporary);
        })?;
        Ok(file)
    }))
}

/// Gives the new file the name. Where it was the spare, the old file has the name of the new one
/// afterwards, if the file system can do that; returns whether it has.
fn put(temporary: &Path, path: &Path, from_spare: bool) -> io::Result<bool> {
    if from_spare {
        match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            result => return Ok(result.map(|()| true)?),
        }
    }
    fs::rename(temporary, path)?;
    Ok(false)
}

/// Creates the file, durably.
///
/// # Errors
/// `Exists` where the name is taken; `FileTooLarge`; `Io`, also where its directory is not there.
pub(super) fn create(path: &Path, bytes: &[u8], rng: &Rng) -> Result<Snapshot> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::Exists.named(format_args!("key service file {}", path.display()))
        }
        _ => Error::io("create", Object::KeyService, source),
    };
    check_len(bytes, MAX_GROWN_LEN)?;
    let temporary = temporary(path, rng)?;
    let file = write_new(&temporary, bytes, None).map_err(failed)?;
    let named = name_new(&temporary, path).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    });
    named.and_then(|()| disk::sync_parent(path)).map_err(failed)?;
    snapshot(file, path)
}

/// Moves a file to a name that is free: what another process created there meanwhile stays.
fn name_new(temporary: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // File systems without this kind of rename have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(temporary, path),
        result => Ok(result?),
    }
}

/// As [`name_new`], for file systems that have links.
fn link_new(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(temporary, path)?;
    let _ = fs::remove_file(temporary);
    Ok(())
}

fn check_len(bytes: &[u8], limit: u64) -> Result<()> {
    match bytes.len() as u64 <= limit {
        true => Ok(()),
        false => Err(Error::FileTooLarge),
    }
}

/// A name beside `path` that no other process takes.
fn temporary(path: &Path, rng: &Rng) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}{TEMPORARY}", rng.u64()?));
    Ok(name.into())
}

/// Removes what crashes left of changes to `path`. Needs the lock, so that it removes no change
/// that is under way; what cannot be removed stays.
fn remove_leftovers(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let (Some(name), Ok(entries)) =
        (path.file_name(), fs::read_dir(parent.unwrap_or(".".as_ref())))
    else {
        return;
    };
    for entry in entries.flatten() {
        if is_temporary(entry.file_name().as_bytes(), name.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether [`temporary`] makes that name for a file called `of`.
fn is_temporary(name: &[u8], of: &[u8]) -> bool {
    let random = name.strip_prefix(of).and_then(|rest| rest.strip_prefix(b"."));
    random.and_then(|rest| rest.strip_suffix(TEMPORARY.as_bytes())).is_some_and(|random| {
        random.len() == 16 && random.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Writes a file that does not exist yet, flushed.
fn write_new(path: &Path, bytes: &[u8], like: Option<&File>) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let mut fill = || {
        file.write_all(bytes)?;
        match like {
            Some(like) => disk::keep_access(&file, like)?,
            None => file.set_permissions(fs::Permissions::from_mode(0o600))?,
        }
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
    Ok((Snapshot { file, about }, bytes))
}

fn snapshot(file: File, path: &Path) -> Result<Snapshot> {
    let about = file.metadata().map_err(|e| io_error("stat", e, path))?;
    Ok(Snapshot { file, about })
}

pub(super) fn io_error(op: &'static str, source: io::Error, path: &Path) -> Error {
    match source.kind() {
        io::ErrorKind::IsADirectory => Error::IsDirectory,
        io::ErrorKind::InvalidInput => {
            Error::InvalidArgument("a key service file is a regular file")
        }
        io::ErrorKind::NotFound => Error::KeyUnreachable(format!(
            "there is no key service file {}: mount what holds it, name another, or create one",
            path.display()
        )),
        _ => Error::io(op, Object::KeyService, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyArena;
    use crate::error::ErrorKind;
    use crate::keys::{Argon2Cost, KeyState, LocalKms, LocalOptions, Passphrase, Unlock};

    fn rng() -> Rng {
        Rng::new(&KeyArena::new().unwrap()).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_takes_no_more_keys_but_every_key_can_be_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kms");
        let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse".to_vec()).unwrap());
        let cost = Argon2Cost::new(8, 1, 1).unwrap();
        let options = LocalOptions { cost, ..LocalOptions::default() };
        let kms = LocalKms::init_with(&path, &unlock, options).unwrap();
        let kind = |e: Error| e.kind();
        let refused = (0..1000).find_map(|_| kms.create_key(None).err()).unwrap();
        assert_eq!(kind(refused), ErrorKind::FileTooLarge);

        let whole = fs::read(&path).unwrap();
        let keys = kms.list().unwrap();
        assert_eq!(kind(kms.create_key(Some("alias/more")).unwrap_err()), ErrorKind::FileTooLarge);
        let long = format!("alias/{}", "x".repeat(250));
        let mut refused = None;
        for i in 0..10 {
            refused = refused.or(kms.set_alias(&long[..250 - i], &keys[0].id).err());
            refused = refused.or(kms.rotate(&keys[0].id).err());
        }
        assert_eq!(refused.map(kind), Some(ErrorKind::FileTooLarge));
        assert!(whole.len() as u64 <= MAX_GROWN_LEN);
        assert_eq!(names(dir.path()), ["kms", "kms.reserve"]);

        for key in &keys {
            kms.schedule_deletion(&key.id, 30).unwrap();
        }
        let reopened = LocalKms::open(&path, &unlock).unwrap().list().unwrap();
        assert_eq!(reopened.len(), keys.len());
        let pending =
            |k: &crate::keys::KeyDescription| matches!(k.state, KeyState::PendingDeletion { .. });
        assert!(reopened.iter().all(pending));
    }

    #[test]
    fn a_file_that_took_the_place_of_the_locked_one_stays() {
        let (dir, rng) = (tempfile::tempdir().unwrap(), rng());
        let path = dir.path().join("kms");
        create(&path, b"first", &rng).unwrap();
        let (locked, bytes) = lock(&path).unwrap();
        assert_eq!(bytes, b"first");
        fs::write(dir.path().join("restored"), b"restored").unwrap();
        fs::rename(dir.path().join("restored"), &path).unwrap();
        let (second, _) = lock(&path).unwrap();
        let error = replace(&path, &locked, b"stale", (MAX_LEN, &rng)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(fs::read(&path).unwrap(), b"restored");
        assert_eq!(names(dir.path()), ["kms", "kms.reserve"]);
        replace(&path, &second, b"second", (MAX_LEN, &rng)).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");

        let (locked, _) = lock(&path).unwrap();
        fs::write(&path, b"rewritten in place").unwrap();
        assert!(replace(&path, &locked, b"stale", (MAX_LEN, &rng)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"rewritten in place");
    }

    #[test]
    fn a_name_is_taken_once_with_and_without_links() {
        let dir = tempfile::tempdir().unwrap();
        for (name, take) in [("renamed", name_new as fn(&_, &_) -> _), ("linked", link_new)] {
            let (path, temporary) = (dir.path().join(name), dir.path().join("temporary"));
            fs::write(&temporary, name).unwrap();
            take(&temporary, &path).unwrap();
            assert!(!temporary.exists());
            fs::write(&temporary, "another").unwrap();
            let error: io::Error = take(&temporary, &path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&path).unwrap(), name);
        }
    }

    #[test]
    fn only_names_of_unfinished_files_are_leftovers() {
        let leftover = temporary(Path::new("kms"), &rng()).unwrap();
        assert!(is_temporary(leftover.as_os_str().as_bytes(), b"kms"));
        assert!(is_temporary(b"kms.0123456789abcdef.tmp", b"kms"));
        for other in ["kms", "kms.tmp", "kms.audit", "kms.0123456789abcdeg.tmp", "kms.0.tmp"] {
            assert!(!is_temporary(other.as_bytes(), b"kms"), "{other}");
        }
        assert!(!is_temporary(b"other.0123456789abcdef.tmp", b"kms"));
    }
}
