//! Entries of directories, as the kernel sees them.

use std::time::Duration;

use efscrypt::fs::DirEntry;
use efscrypt::{Error, Result};
use fuser::{FileAttr, Generation};

use crate::attr::{Seen, file_type, no_attr};
use crate::server::Service;

/// An entry of a directory as the kernel sees it.
pub struct Listed {
    pub seen: Seen,
    /// Whether the kernel has a reference with it: it takes none of "." and "..".
    pub referred: bool,
}

impl Listed {
    /// `None` for an entry that was removed meanwhile. One whose inode cannot be read shows without
    /// a number, which some C libraries leave out; who looks at its name learns why.
    pub fn of(service: &Service, entry: &DirEntry<'_>) -> Option<Listed> {
        let fs = service.file_system();
        let referred = !matches!(entry.name, b"." | b"..");
        let open = || if referred { fs.open(entry.ino) } else { Ok(()) };
        let look = || {
            open()?;
            fs.getattr(entry.ino).inspect_err(|_| {
                if referred {
                    let _kernel_learns_nothing = fs.close(entry.ino);
                }
            })
        };
        match look() {
            Ok(attr) => Some(Listed { seen: service.seen(&attr), referred }),
            Err(Error::Stale) => None,
            Err(_) => {
                // With a number, the kernel would count a reference.
                let file = FileAttr { kind: file_type(entry.kind), ..no_attr() };
                let seen = Seen { file, generation: Generation(0), kept: Duration::ZERO };
                Some(Listed { seen, referred: false })
            }
        }
    }
}

/// What a directory read came to: a failure behind entries that were read shows when the kernel
/// asks for what follows them.
pub fn partly(any: bool, read: Result<bool>) -> Result<()> {
    match read {
        Err(error) if !any => Err(error),
        _ => Ok(()),
    }
}
