//! What the files of this layer share: durability of a name, and which file a name stands for.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// Makes the directory entry of `path` durable: a new or renamed file may otherwise be gone after
/// a power cut although its contents were flushed.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether both are one file. Holds only while one of them is open: the number of a deleted file
/// is given to the next.
pub(super) fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
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
