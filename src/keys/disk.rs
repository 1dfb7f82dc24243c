//! What the files of this layer share: durability of a name, and which file a name stands for.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// Where Linux keeps the access control list of a file.
const ACL: &str = "system.posix_acl_access";
/// Longest value of an extended attribute, bytes.
const MAX_ACL: usize = 64 << 10;

#[cfg(test)]
thread_local! {
    /// Whether directories that this thread flushes fail.
    pub(super) static FLUSHES_FAIL: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Makes the directory entry of `path` durable: a new or renamed file may otherwise be gone after
/// a power cut although its contents were flushed.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    if FLUSHES_FAIL.get() {
        return Err(io::Error::other("a flush that a test lets fail"));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Opens a file that must be a regular one. Nobody waits for a pipe that has no writer, and no
/// device is read.
///
/// # Errors
/// Also `IsADirectory`, and `InvalidInput` for what is neither.
pub(super) fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    check_regular(&file)?;
    Ok(file)
}

/// Refuses what is not a regular file.
pub(super) fn check_regular(file: &File) -> io::Result<()> {
    match file.metadata()?.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Whether a write found no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether both are one file. Holds only while one of them is open: the number of a deleted file
/// is given to the next.
pub(super) fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Gives a new file the owner, group, permission bits and access control list of the file `like`,
/// whose place it takes. Where it cannot have the group, its own group gets no rights.
pub(super) fn keep_access(file: &File, like: &File) -> io::Result<()> {
    let about = like.metadata()?;
    keep_owner(file, &about)?;
    let same_group = file.metadata()?.gid() == about.gid();
    let mode = about.mode() & 0o7777;
    let mode = if same_group { mode } else { mode & !0o070 };
    // Before the list: these bits are its mask where there is one.
    file.set_permissions(Permissions::from_mode(mode))?;
    match acl(like)? {
        Some(list) if same_group => Ok(fsetxattr(file, ACL, &list, XattrFlags::empty())?),
        // What the directory gave it.
        _ => match fremovexattr(file, ACL) {
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            result => Ok(result?),
        },
    }
}

/// The access control list of a file, as the kernel has it.
fn acl(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut list = vec![0; MAX_ACL];
    match fgetxattr(file, ACL, &mut list) {
        Ok(len) => {
            list.truncate(len);
            Ok(Some(list))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a new file to the owner and group of the file that `like` is about, so that an
/// administrator's change does not lock a service out of its own file.
///
/// Only root may give files away, and others may give a group only where they are in it. The
/// files of this layer are open to their owner alone, so the group may differ; the owner may not.
pub(super) fn keep_owner(file: &File, like: &Metadata) -> io::Result<()> {
    let is = file.metadata()?;
    if (is.uid(), is.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    match fchown(file, Some(like.uid()), Some(like.gid())) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && is.uid() == like.uid() => Ok(()),
        result => result,
    }
}
