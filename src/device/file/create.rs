//! Making the file of a new store, and undoing that.
//!
//! Nothing is ever overwritten, and nothing is removed that a creation did not make: what it found
//! is what undoing leaves. Both happen under the lock on the open file, so nobody else can have
//! begun to use what is undone. A file that was removed or replaced between its opening and its
//! lock is noticed, because the name has to stand for the locked file.
//!
//! A store is there whole or not at all, also where its creator is killed: a new file gets its name
//! once the store in it is durable ([`super::hidden`]); a block device, or a file that was there
//! empty, begins with a mark until then, by which the next creation knows that it may start over.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::super::unfinished::{PROBE, UNFINISHED_LEN, is_all_unfinished, mark};
use super::{FileDevice, Kind, failed};
use crate::error::{Error, Result};

/// Bytes at the start of a block device that must be zero before a store is created there: every
/// common partition table and file system has its mark in them, and so has a store.
const BLANK_PROBE: usize = 1 << 20;

/// How often a creation starts over because somebody else changed what the name stands for.
const TRIES: usize = 8;

/// What stood under the name of a device when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: the creation made the file.
    Nothing,
    /// Nothing, and the file has no name yet.
    NoName,
    /// Nothing, and the file has this name of its own for now.
    OtherName(PathBuf),
    /// A file without a byte, or with an unfinished store.
    EmptyFile,
    /// A block device without a mark, or with an unfinished store.
    BlankDevice,
    /// A store, or what is opened as one.
    Store,
}

impl FileDevice {
    /// Creates an empty file of mode 0600 to hold a store, or takes over an empty file or a blank
    /// block device, and makes its directory entry durable. What fails later is undone with
    /// [`FileDevice::undo_create`].
    ///
    /// The name is there at once, and stays where the process is killed before a store is made in
    /// the file: [`Store::create_file`](crate::Store::create_file) leaves nothing then.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] for a file that is not empty, a symbolic link that leads nowhere, or a
    /// block device whose first MiB is not zero: nothing is ever overwritten. What an unfinished
    /// [`Store::create_file`](crate::Store::create_file) left is taken for empty.
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`] for other types. [`Error::InUse`] when it
    /// is locked or mounted. [`Error::NotFound`] without a parent directory, else [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<FileDevice> {
        let path = path.as_ref();
        tries(|| {
            let known = known(path)?;
            let device = FileDevice::take(path, known.as_ref(), Found::Nothing)?;
            if let Some(device) = &device {
                match device.found {
                    Found::Nothing => sync_parent(path).map_err(|error| {
                        device.undo_create(path);
                        failed("flush the directory", error)
                    })?,
                    _ => device.clear(0)?,
                }
            }
            Ok(device)
        })
    }

    /// As [`FileDevice::create`], for a store that [`FileDevice::publish`] shows once it is whole:
    /// until then nobody takes what is there for a store, and after a kill [`FileDevice::create`]
    /// and this take it for nothing.
    ///
    /// # Errors
    /// Those of [`FileDevice::create`].
    pub(crate) fn begin(path: &Path) -> Result<FileDevice> {
        tries(|| match known(path)? {
            None if fs::symlink_metadata(path).is_ok() => Err(Error::Exists),
            None => FileDevice::hidden(path),
            known => {
                let device = FileDevice::take(path, known.as_ref(), Found::EmptyFile)?;
                device.as_ref().map_or(Ok(()), FileDevice::put_mark)?;
                Ok(device)
            }
        })
    }

    /// Shows a store that is whole and flushed under its name, durably.
    ///
    /// # Errors
    /// [`Error::Exists`] where something got the name meanwhile; [`Error::Io`].
    pub(crate) fn publish(&self, path: &Path) -> Result<()> {
        match &self.found {
            Found::EmptyFile | Found::BlankDevice => self
                .file
                .write_all_at(&[0; UNFINISHED_LEN], 0)
                .and_then(|()| self.file.sync_data())
                .map_err(|error| failed("write", error)),
            Found::NoName | Found::OtherName(_) => self.give_name(path),
            Found::Nothing | Found::Store => Ok(()),
        }
    }

    /// Whether a file, or a block device, holds nothing but a store that was never finished:
    /// [`FileDevice::create`] takes it for empty. `false` where that cannot be seen.
    pub fn is_unfinished(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let Ok(known) = fs::metadata(path) else { return false };
        // Locked, it is being made just now, which a creation finds out.
        let device = FileDevice::open_file(path, Some(&known), true)
            .and_then(|file| FileDevice::lock(file, true));
        device.is_ok_and(|device| device.has_unfinished())
    }

    /// Opens and locks what stands under a name, or a new file, if that can take a store; `None`
    /// where the name came to stand for something else meanwhile.
    fn take(path: &Path, known: Option<&Metadata>, new: Found) -> Result<Option<FileDevice>> {
        let file = match (FileDevice::open_file(path, known, false), known) {
            (Err(Error::Exists), None) | (Err(Error::NotFound), Some(_)) => return Ok(None),
            (file, _) => file?,
        };
        let mut device = FileDevice::lock(file, false)?;
        if !device.is_named(path) {
            return Ok(None);
        }
        device.found = match (device.kind, known) {
            (Kind::Block, _) => Found::BlankDevice,
            (Kind::File, Some(_)) => Found::EmptyFile,
            (Kind::File, None) => new,
        };
        if device.has_unfinished() {
            return Ok(Some(device));
        }
        match device.kind {
            Kind::Block => device.check_blank()?,
            Kind::File if device.known_len() != 0 => return Err(Error::Exists),
            Kind::File => {}
        }
        Ok(Some(device))
    }

    /// Undoes a creation whose store could not be made: removes the file that it made from `path`,
    /// empties the file that was empty, blanks the start of the block device that was blank. Does
    /// nothing to a device that was opened, and removes no other file that got the name meanwhile.
    ///
    /// What fails stays as it is: the failure to report is that of the creation.
    pub fn undo_create(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let _ = match &self.found {
            Found::Nothing if self.is_named(path) => remove(path),
            Found::OtherName(own) if self.is_named(own) => remove(own),
            // It may have got its name, and then not have got it durably.
            Found::NoName | Found::OtherName(_) if self.is_named(path) => remove(path),
            Found::EmptyFile => self.file.set_len(0).and_then(|()| self.file.sync_all()),
            Found::BlankDevice => self.blank(0),
            Found::Nothing | Found::NoName | Found::OtherName(_) | Found::Store => Ok(()),
        };
        if self.kind == Kind::File {
            self.len.store(0, Ordering::Release);
        }
    }

    /// Says, durably, that what follows is no store yet. What an unfinished one left goes first.
    fn put_mark(&self) -> Result<()> {
        if self.has_unfinished() {
            // The mark stays: killed here, it is as it was.
            return self.clear(UNFINISHED_LEN);
        }
        let marked = self.file.write_all_at(&mark(), 0).and_then(|()| self.file.sync_data());
        if let Err(error) = marked {
            self.undo_create("");
            return Err(failed("write", error));
        }
        self.measure();
        Ok(())
    }

    /// Leaves nothing but the first `from` bytes of an unfinished store.
    fn clear(&self, from: usize) -> Result<()> {
        let cleared = match self.kind {
            Kind::Block if self.has_unfinished() => self.blank(from),
            Kind::Block => Ok(()),
            Kind::File if self.known_len() == 0 => Ok(()),
            Kind::File => self.file.set_len(from as u64).and_then(|()| self.file.sync_all()),
        };
        self.measure();
        cleared.map_err(|error| failed("clear", error))
    }

    /// Looks anew how long a file is that nobody else uses yet.
    fn measure(&self) {
        if self.kind == Kind::File
            && let Ok(about) = self.file.metadata()
        {
            let mut growth = self.growth.lock();
            growth.reserved = about.len()..about.len();
            self.len.store(about.len(), Ordering::Release);
            self.fresh.store(about.len(), Ordering::Release);
        }
    }

    /// Whether nothing is here but what an unfinished creation left.
    fn has_unfinished(&self) -> bool {
        let mut start = vec![0; PROBE.min(self.known_len() as usize)];
        self.file.read_exact_at(&mut start, 0).is_ok() && is_all_unfinished(&start)
    }

    fn check_blank(&self) -> Result<()> {
        let mut probe = vec![0; BLANK_PROBE.min(self.known_len() as usize)];
        self.file.read_exact_at(&mut probe, 0).map_err(|error| failed("read", error))?;
        if probe.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Error::Exists) }
    }

    /// Leaves nothing behind the first `from` bytes by which [`FileDevice::create`], or an open,
    /// takes this for a store.
    fn blank(&self, from: usize) -> io::Result<()> {
        let zeros = vec![0; BLANK_PROBE.min(self.known_len() as usize)];
        // The mark goes last: killed between, the rest is known by it.
        let mark = UNFINISHED_LEN.min(zeros.len());
        self.file.write_all_at(&zeros[mark..], mark as u64)?;
        self.file.sync_data()?;
        if from < mark {
            self.file.write_all_at(&zeros[from..mark], from as u64)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Whether a name still stands for this file.
    pub(super) fn is_named(&self, path: &Path) -> bool {
        let id = |about: io::Result<Metadata>| about.ok().map(|about| (about.dev(), about.ino()));
        let own = id(self.file.metadata());
        own.is_some() && own == id(fs::metadata(path))
    }
}

/// Makes a creation, again where somebody else changed what the name stands for meanwhile.
fn tries(mut attempt: impl FnMut() -> Result<Option<FileDevice>>) -> Result<FileDevice> {
    for _ in 0..TRIES {
        if let Some(device) = attempt()? {
            return Ok(device);
        }
    }
    Err(Error::Exists)
}

/// What stands under a name.
fn known(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look up", error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).and_then(|()| sync_parent(path))
}

/// Makes the file's directory entry durable, or its absence: without it, a flushed file can be gone
/// after a power cut. A path to a file that is there is resolved first, so that the entry is the
/// file's own, not a link's.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = resolved.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::error::ErrorKind;

    fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        (dir, path)
    }

    #[test]
    fn undoing_removes_a_file_that_was_made_and_empties_one_that_was_empty() {
        let (_dir, path) = scratch();
        let device = FileDevice::create(&path).unwrap();
        device.write_at(0, &[7; 9000]).unwrap();
        device.undo_create(&path);
        assert!(!path.exists());
        drop(device);

        fs::write(&path, b"").unwrap();
        let ino = fs::metadata(&path).unwrap().ino();
        let device = FileDevice::create(&path).unwrap();
        device.write_at(0, &[7; 9000]).unwrap();
        device.undo_create(&path);
        let left = fs::metadata(&path).unwrap();
        assert_eq!((left.ino(), left.len()), (ino, 0));
    }

    #[test]
    fn undoing_leaves_what_others_put_there_and_what_was_only_opened() {
        let (dir, path) = scratch();
        let device = FileDevice::create(&path).unwrap();
        device.write_at(0, &[7; 9000]).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, b"another's").unwrap();
        device.undo_create(&path);
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        drop(device);

        let device = FileDevice::open(&path, false).unwrap();
        device.undo_create(&path);
        assert_eq!(fs::read(&path).unwrap(), b"another's");
    }

    #[test]
    fn undoing_blanks_a_block_device() {
        let (_dir, path) = scratch();
        fs::write(&path, vec![0; 3 << 20]).unwrap();
        // A file in the role of a block device, which a test cannot have.
        let mut device = FileDevice::open(&path, false).unwrap();
        (device.kind, device.found) = (Kind::Block, Found::BlankDevice);
        device.check_blank().unwrap();
        for at in [0, 256 << 10, (1 << 20) - 4096, 2 << 20] {
            device.write_at(at, &[7; 4096]).unwrap();
        }
        assert_eq!(device.check_blank().unwrap_err().kind(), ErrorKind::Exists);
        device.undo_create(&path);
        device.check_blank().unwrap();
    }

    #[test]
    fn a_mark_stands_until_the_store_is_published_and_is_taken_for_empty() {
        let (_dir, path) = scratch();
        fs::write(&path, b"").unwrap();
        for rest in [0, 1, 40 << 20] {
            let device = FileDevice::begin(&path).unwrap();
            device.allocate(0, (16 << 10) + rest).unwrap();
            device.write_at(16 << 10, b"\x89EFSC\r\n\x1a and so on").unwrap();
            drop(device);
            assert!(FileDevice::is_unfinished(&path), "as after a kill");
        }
        let ino = fs::metadata(&path).unwrap().ino();
        let device = FileDevice::begin(&path).unwrap();
        device.write_at(16 << 10, b"whole").unwrap();
        device.publish(&path).unwrap();
        drop(device);
        assert!(!FileDevice::is_unfinished(&path));
        assert_eq!(FileDevice::begin(&path).unwrap_err().kind(), ErrorKind::Exists);
        let made = fs::read(&path).unwrap();
        assert_eq!((&made[..16 << 10], &made[16 << 10..]), (&[0; 16 << 10][..], &b"whole"[..]));
        assert_eq!(fs::metadata(&path).unwrap().ino(), ino);

        // What somebody else put beside a mark is not ours.
        fs::write(&path, [&mark()[..], &[0; 20_000], b"another's"].concat()).unwrap();
        let device = FileDevice::begin(&path).unwrap();
        device.undo_create(&path);
        drop(device);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        fs::write(&path, [&mark()[..], &[0; 16384], b"another's"].concat()).unwrap();
        assert_eq!(FileDevice::begin(&path).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(FileDevice::create(&path).unwrap_err().kind(), ErrorKind::Exists);
    }

    #[test]
    fn a_block_device_with_an_unfinished_store_is_blank() {
        let (_dir, path) = scratch();
        fs::write(&path, vec![0; 3 << 20]).unwrap();
        // A file in the role of a block device, which a test cannot have.
        let open = || {
            let mut device = FileDevice::open(&path, false).unwrap();
            (device.kind, device.found) = (Kind::Block, Found::BlankDevice);
            device
        };
        let device = open();
        device.put_mark().unwrap();
        device.write_at(16 << 10, b"\x89EFSC\r\n\x1a").unwrap();
        device.write_at(900 << 10, &[7; 4096]).unwrap();
        drop(device);
        let device = open();
        assert!(device.has_unfinished());
        device.put_mark().unwrap();
        let left = fs::read(&path).unwrap();
        assert!(left[..16 << 10] == mark() && left[16 << 10..1 << 20].iter().all(|b| *b == 0));
        device.publish(&path).unwrap();
        device.check_blank().unwrap();
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_followed() {
        let (dir, path) = scratch();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert_eq!(FileDevice::begin(&path).unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(FileDevice::create(&path).unwrap_err().kind(), ErrorKind::Exists);
        assert!(!target.exists());
    }

    #[test]
    fn creators_of_one_name_do_not_destroy_each_others_file() {
        let (_dir, path) = scratch();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let Ok(device) = FileDevice::create(path) else { continue };
                        device.write_at(0, &[thread; 64]).unwrap();
                        let mut kept = [0; 64];
                        device.read_at(0, &mut kept).unwrap();
                        assert_eq!(kept, [thread; 64]);
                        assert!(device.is_named(path), "a store in a file without a name");
                        device.undo_create(path);
                    }
                });
            }
        });
    }
}
