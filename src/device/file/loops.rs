//! Loop devices: a file that is a block device too. A lock on the one says nothing to who opens the
//! other, and each has a cache of its own: whoever writes to both destroys what is there.
//!
//! Linux tells what a loop device is made of. Where it does not, or not in this mount namespace,
//! the owner unit of the store is what is left.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, major, minor};

use crate::error::{Error, Result};

/// The file that a block device is made of, locked as the device is; `None` where there is none, or
/// where the device is a part of it only.
///
/// # Errors
/// [`Error::InUseBy`] where it is locked already.
pub(super) fn lock_backing(device: &Metadata, read_only: bool) -> Result<Option<File>> {
    let rdev = device.rdev();
    let about = format!("/sys/dev/block/{}:{}/loop", major(rdev), minor(rdev));
    let Some(path) = backing_file(Path::new(&about)) else { return Ok(None) };
    let is_whole = fs::read_to_string(format!("{about}/offset")).is_ok_and(|at| at.trim() == "0");
    let is_file = fs::metadata(&path).is_ok_and(|found| found.is_file());
    if !is_whole || !is_file {
        return Ok(None);
    }
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(&path) else {
        return Ok(None);
    };
    match if read_only { file.try_lock_shared() } else { file.try_lock() } {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUseBy(
            format!(
                "{} is open, of which the device is made: close what has it open",
                path.display()
            )
            .into(),
        )),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Refuses a file that a loop device is made of: it has to be used through that.
///
/// # Errors
/// [`Error::InUseBy`] with the device.
pub(super) fn refuse_looped(file: &Metadata) -> Result<()> {
    let Ok(devices) = fs::read_dir("/sys/block") else { return Ok(()) };
    for device in devices.flatten() {
        let name = device.file_name();
        if !name.as_encoded_bytes().starts_with(b"loop") {
            continue;
        }
        let about = device.path();
        let Some(backing) = backing_file(&about.join("loop")) else { continue };
        let same = fs::metadata(backing)
            .is_ok_and(|backing| (backing.dev(), backing.ino()) == (file.dev(), file.ino()));
        let writes = fs::read_to_string(about.join("ro")).is_ok_and(|ro| ro.trim() == "0");
        if same && writes {
            let name = Path::new("/dev").join(name);
            let why = format!("{0} is made of it: open {0}, or detach it", name.display());
            return Err(Error::InUseBy(why.into()));
        }
    }
    Ok(())
}

/// What the kernel says that a loop device is made of, if that still has the name.
fn backing_file(about: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    let mut path = fs::read(about.join("backing_file")).ok()?;
    if path.last() == Some(&b'\n') {
        path.pop();
    }
    (!path.ends_with(b" (deleted)")).then(|| std::ffi::OsString::from_vec(path).into())
}
