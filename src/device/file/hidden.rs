//! Hidden: the file of a store that is being made, which gets its name when the store is whole.
//!
//! Where the host can, the file has no name until then (`O_TMPFILE`), and is gone with its creator.
//! Elsewhere it has a name of its own beside the store's, always the same one: the next creation
//! knows it by that, and by its lock whether somebody is still at work on it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use super::create::{Found, sync_parent};
use super::{FileDevice, failed};
use crate::error::{Error, Result};

/// Longest name of a file, bytes.
const NAME_MAX: usize = 255;
/// What the name of a store that is being made ends with.
const SUFFIX: &str = ".efscrypt-new";

impl FileDevice {
    /// A new file, locked, beside what it will be called; `None` where it is to be tried again.
    pub(super) fn hidden(path: &Path) -> Result<Option<FileDevice>> {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(Error::IsDirectory);
        }
        let other = other_name(path)?;
        if let Some(file) = nameless(path)? {
            let mut device = FileDevice::lock(file, false)?;
            device.found = Found::NoName;
            // What one that was killed left on this host, which can do without now.
            drop(FileDevice::other(&other, false));
            return Ok(Some(device));
        }
        FileDevice::other(&other, true)
    }

    /// The file with a name of its own, empty; `None` where it is to be tried again. With `keep`
    /// unset, one that was left behind is removed, and there is none afterwards.
    pub(super) fn other(path: &Path, keep: bool) -> Result<Option<FileDevice>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(keep).mode(0o600);
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let file = options.open(path).map_err(|error| failed("open", error))?;
        let mut device = FileDevice::lock(file, false)?;
        let about = device.file.metadata().map_err(|error| failed("look up", error))?;
        // A file of somebody else's, or one with another name, is no creation's of ours.
        if about.uid() != rustix::process::geteuid().as_raw() || about.nlink() != 1 {
            return match device.is_named(path) {
                true => Err(Error::Exists),
                false => Ok(None),
            };
        }
        if !device.is_named(path) {
            return Ok(None);
        }
        if !keep || about.len() != 0 {
            // A new file: whoever was at work on this one may have it open still.
            fs::remove_file(path).map_err(|error| failed("remove", error))?;
            return Ok(None);
        }
        device.found = Found::OtherName(path.to_owned());
        Ok(Some(device))
    }

    /// Gives the file its name, durably, unless there is something of that name.
    pub(super) fn give_name(&self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(|error| failed("flush", error))?;
        let named = match &self.found {
            Found::OtherName(own) => rename(own, path),
            _ => {
                let from = by_descriptor(&self.file);
                let flags = AtFlags::SYMLINK_FOLLOW;
                rustix::fs::linkat(CWD, from, CWD, path, flags).map_err(io::Error::from)
            }
        };
        named.map_err(|error| failed("name", error))?;
        sync_parent(path).map_err(|error| failed("flush the directory", error))
    }
}

/// A new file without a name in the directory of `path`; `None` where the host has no such files,
/// or cannot name one later.
fn nameless(path: &Path) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(OFlags::TMPFILE.bits().cast_signed());
    let file = match options.open(parent(path)) {
        Ok(file) => file,
        Err(error) => {
            let lacking = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL, Errno::NOSYS];
            let lacks = |errno: &Errno| error.raw_os_error() == Some(errno.raw_os_error());
            return match lacking.iter().any(lacks) {
                true => Ok(None),
                false => Err(failed("create", error)),
            };
        }
    };
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    let own = file.metadata().map_err(|error| failed("look up", error))?;
    let there = fs::metadata(by_descriptor(&file)).is_ok_and(|there| id(there) == id(own));
    Ok(there.then_some(file))
}

/// A path to an open file, with a name or without. The thread's own table of descriptors: it may
/// have another than its process.
fn by_descriptor(file: &File) -> String {
    format!("/proc/thread-self/fd/{}", file.as_raw_fd())
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// The name of a store that is being made: that of the store with a dot and [`SUFFIX`], and without
/// its last bytes where that is too long.
fn other_name(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or(Error::InvalidArgument("it is no name of a file"))?;
    let most = NAME_MAX - 1 - SUFFIX.len();
    let name = &name.as_bytes()[..name.len().min(most)];
    let mut own = OsString::from(".");
    own.push(OsStr::from_bytes(name));
    own.push(SUFFIX);
    Ok(parent(path).join(own))
}

/// Renames a file unless there is something of the new name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        renamed => return Ok(renamed?),
    }
    match fs::hard_link(from, to) {
        Ok(()) => return fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // A file that nobody else made holds the name meanwhile; killed here, it is there empty.
    drop(OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?);
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::error::ErrorKind;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        (dir, path)
    }

    fn entries(dir: &tempfile::TempDir) -> usize {
        fs::read_dir(dir.path()).unwrap().count()
    }

    /// As on a host without files that have no name.
    fn other(path: &Path) -> FileDevice {
        let own = other_name(path).unwrap();
        let made = (0..3).find_map(|_| FileDevice::other(&own, true).unwrap());
        made.unwrap()
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_published() {
        let (dir, path) = scratch();
        let ways: [fn(&Path) -> FileDevice; 2] = [|path| FileDevice::begin(path).unwrap(), other];
        for begin in ways {
            let device = begin(&path);
            device.write_at(0, b"whole").unwrap();
            assert!(!path.exists());
            device.publish(&path).unwrap();
            assert_eq!((fs::read(&path).unwrap(), entries(&dir)), (b"whole".to_vec(), 1));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
            drop(device);

            fs::write(&path, b"another's").unwrap();
            let again = begin(&dir.path().join("second"));
            let refused = again.publish(&path).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Exists);
            assert_eq!(fs::read(&path).unwrap(), b"another's");
            again.undo_create(&path);
            assert_eq!(entries(&dir), 1);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_a_killed_creation_left_beside_it_is_taken_away_and_what_is_at_work_is_not() {
        let (dir, path) = scratch();
        let own = other_name(&path).unwrap();
        fs::write(&own, vec![7; 90_000]).unwrap();
        let device = other(&path);
        assert_eq!(device.len().unwrap(), 0);
        assert_eq!(FileDevice::other(&own, true).unwrap_err().kind(), ErrorKind::InUse);
        drop(FileDevice::begin(&path).unwrap());
        assert!(own.exists(), "somebody is at work on it");
        drop(device);
        // A host that can do without removes it.
        drop(FileDevice::begin(&path).unwrap());
        assert_eq!(entries(&dir), 0);
        // What no creation made stays.
        fs::write(dir.path().join("linked"), b"precious").unwrap();
        fs::hard_link(dir.path().join("linked"), &own).unwrap();
        assert_eq!(FileDevice::other(&own, true).unwrap_err().kind(), ErrorKind::Exists);
        fs::remove_file(&own).unwrap();
        std::os::unix::fs::symlink(dir.path().join("linked"), &own).unwrap();
        assert!(FileDevice::other(&own, true).is_err());
        drop(FileDevice::begin(&path).unwrap());
        assert_eq!(fs::read(dir.path().join("linked")).unwrap(), b"precious");
    }

    #[test]
    fn renaming_without_the_hosts_help_replaces_nothing() {
        let (dir, path) = scratch();
        let own = other_name(&path).unwrap();
        fs::write(&own, b"new").unwrap();
        fs::write(&path, b"old").unwrap();
        assert_eq!(rename(&own, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&path).unwrap();
        rename(&own, &path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), entries(&dir)), (b"new".to_vec(), 1));
    }

    #[test]
    fn a_name_of_any_length_has_another() {
        for len in [1, 200, 255] {
            let (_dir, path) = scratch();
            let path = path.with_file_name("n".repeat(len));
            other(&path).publish(&path).unwrap();
            assert!(path.exists());
        }
        assert!(FileDevice::begin(Path::new("/")).is_err());
        let (dir, _) = scratch();
        let slash = format!("{}/store/", dir.path().display());
        assert!(FileDevice::begin(Path::new(&slash)).is_err());
        let none = dir.path().join("none").join("store");
        assert_eq!(FileDevice::begin(&none).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
