//! Making the file of a new store, and undoing that.
//!
//! Nothing is ever overwritten, and nothing is removed that a creation did not make: what it found
//! is what undoing leaves. Both happen under the lock on the open file, so nobody else can have
//! begun to use what is undone. A file that was removed or replaced between its opening and its
//! lock is noticed, because the name has to stand for the locked file.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{FileDevice, Kind, failed};
use crate::error::{Error, Result};

/// Bytes at the start of a block device that must be zero before a store is created there: every
/// common partition table and file system has its mark in them, and so has a store.
const BLANK_PROBE: usize = 1 << 20;

/// How often a creation starts over because somebody else changed what the name stands for.
const TRIES: usize = 8;

/// What stood under the name of a device when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: the creation made the file.
    Nothing,
    /// A file without a byte.
    EmptyFile,
    /// A block device without a mark.
    BlankDevice,
    /// A store, or what is opened as one.
    Store,
}

impl FileDevice {
    /// Creates an empty file of mode 0600 to hold a store, or takes over an empty file or a blank
    /// block device, and makes its directory entry durable. What fails later is undone with
    /// [`FileDevice::undo_create`].
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] for a file that is not empty, a symbolic link that leads nowhere, or a
    /// block device whose first MiB is not zero: nothing is ever overwritten.
    /// [`Error::IsDirectory`], [`Error::InvalidArgument`] for other types. [`Error::InUse`] when it
    /// is locked or mounted. [`Error::NotFound`] without a parent directory, else [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<FileDevice> {
        let path = path.as_ref();
        for _ in 0..TRIES {
            if let Some(device) = FileDevice::try_create(path)? {
                return Ok(device);
            }
        }
        Err(Error::Exists)
    }

    /// One attempt; `None` where the name came to stand for something else meanwhile.
    fn try_create(path: &Path) -> Result<Option<FileDevice>> {
        let known = match fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("look up", error)),
        };
        let file = match (FileDevice::open_file(path, known.as_ref(), false), &known) {
            (Err(Error::Exists), None) | (Err(Error::NotFound), Some(_)) => return Ok(None),
            (file, _) => file?,
        };
        let mut device = FileDevice::lock(file, false)?;
        if !device.is_named(path) {
            return Ok(None);
        }
        device.found = match (device.kind, &known) {
            (Kind::Block, _) => Found::BlankDevice,
            (Kind::File, Some(_)) => Found::EmptyFile,
            (Kind::File, None) => Found::Nothing,
        };
        match device.kind {
            Kind::Block => device.check_blank()?,
            Kind::File if device.known_len() != 0 => return Err(Error::Exists),
            Kind::File => sync_parent(path).map_err(|error| {
                device.undo_create(path);
                failed("flush the directory", error)
            })?,
        }
        Ok(Some(device))
    }

    /// Undoes a creation whose store could not be made: removes the file that it made from `path`,
    /// empties the file that was empty, blanks the start of the block device that was blank. Does
    /// nothing to a device that was opened, and removes no other file that got the name meanwhile.
    ///
    /// What fails stays as it is: the failure to report is that of the creation.
    pub fn undo_create(&self, path: impl AsRef<Path>) {
        let _ = match self.found {
            Found::Nothing if self.is_named(path.as_ref()) => {
                fs::remove_file(&path).and_then(|()| sync_parent(path.as_ref()))
            }
            Found::EmptyFile => self.file.set_len(0).and_then(|()| self.file.sync_all()),
            Found::BlankDevice => self.blank(),
            Found::Nothing | Found::Store => Ok(()),
        };
        if self.kind == Kind::File {
            self.len.store(0, Ordering::Release);
        }
    }

    fn check_blank(&self) -> Result<()> {
        let mut probe = vec![0; BLANK_PROBE.min(self.known_len() as usize)];
        self.file.read_exact_at(&mut probe, 0).map_err(|error| failed("read", error))?;
        if probe.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Error::Exists) }
    }

    /// Leaves nothing by which [`FileDevice::create`], or an open, takes this for a store.
    fn blank(&self) -> io::Result<()> {
        let zeros = vec![0; BLANK_PROBE.min(self.known_len() as usize)];
        self.file.write_all_at(&zeros, 0)?;
        self.file.sync_data()
    }

    /// Whether a name still stands for this file.
    fn is_named(&self, path: &Path) -> bool {
        let id = |about: io::Result<Metadata>| about.ok().map(|about| (about.dev(), about.ino()));
        let own = id(self.file.metadata());
        own.is_some() && own == id(fs::metadata(path))
    }
}

/// Makes the file's directory entry durable, or its absence: without it, a flushed file can be gone
/// after a power cut. A path to a file that is there is resolved first, so that the entry is the
/// file's own, not a link's.
fn sync_parent(path: &Path) -> io::Result<()> {
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
    fn a_link_that_leads_nowhere_is_not_followed() {
        let (dir, path) = scratch();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, &path).unwrap();
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
