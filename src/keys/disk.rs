//! What the files of this layer share: durability of a name, and which file a name stands for.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
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
