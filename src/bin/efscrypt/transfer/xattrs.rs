//! Extended attributes on both sides.

use std::io;
use std::os::fd::BorrowedFd;

use efscrypt::fs::{FileSystem, XattrMode};
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::trouble::Result;

/// Names and values in order of names.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Longest list of names and longest value that Linux gives out, bytes.
const MAX: usize = 64 << 10;

/// Something of the machine that has attributes.
pub enum Place<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Anything else; a symbolic link is not followed.
    Path(Vec<u8>),
}

/// Makes the attributes of an inode those of something of the machine. `fresh`: it has none yet.
pub fn import(
    place: &Place<'_>,
    store: &FileSystem,
    ino: u64,
    fresh: bool,
    privileged: bool,
) -> Result<()> {
    let wanted = of_host(place, privileged)?;
    let there = if fresh { Vec::new() } else { of_store(store, ino, privileged)? };
    for (name, value) in wanted.iter().filter(|pair| !there.contains(pair)) {
        store.set_xattr(ino, name, value, XattrMode::Either)?;
    }
    for (name, _) in there.iter().filter(|(name, _)| !has(&wanted, name)) {
        store.remove_xattr(ino, name)?;
    }
    Ok(())
}

/// Makes the attributes of something of the machine those of an inode.
pub fn export(store: &FileSystem, ino: u64, place: &Place<'_>, privileged: bool) -> Result<()> {
    let wanted = of_store(store, ino, privileged)?;
    let there = of_host(place, privileged)?;
    for (name, value) in wanted.iter().filter(|pair| !there.contains(pair)) {
        place.set(name, value)?;
    }
    for (name, _) in there.iter().filter(|(name, _)| !has(&wanted, name)) {
        place.remove(name)?;
    }
    Ok(())
}

/// Whether both have the same.
pub fn same(store: &FileSystem, ino: u64, place: &Place<'_>, privileged: bool) -> Result<bool> {
    Ok(of_store(store, ino, privileged)? == of_host(place, privileged)?)
}

fn has(pairs: &Pairs, name: &[u8]) -> bool {
    pairs.iter().any(|(other, _)| other == name)
}

/// Who is not root may neither see nor set those of the system; access control lists are the
/// owner's.
fn is_ours(name: &[u8], privileged: bool) -> bool {
    privileged || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

fn of_store(store: &FileSystem, ino: u64, privileged: bool) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for name in store.list_xattrs(ino)? {
        if is_ours(&name, privileged) {
            let value = store.get_xattr(ino, &name)?;
            pairs.push((name, value));
        }
    }
    pairs.sort_unstable();
    Ok(pairs)
}

fn of_host(place: &Place<'_>, privileged: bool) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for name in place.names()?.split(|byte| *byte == 0) {
        if !name.is_empty()
            && is_ours(name, privileged)
            && let Some(value) = place.value(name)?
        {
            pairs.push((name.to_owned(), value));
        }
    }
    pairs.sort_unstable();
    Ok(pairs)
}

impl Place<'_> {
    /// Names, each with a NUL behind it.
    fn names(&self) -> io::Result<Vec<u8>> {
        let len = match self {
            Place::Open(fd) => fs::flistxattr_query(fd),
            Place::Path(path) => fs::llistxattr_query(&path[..]),
        };
        match len {
            // Most files have none; some file systems never.
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut names = vec![0; MAX];
        let len = match self {
            Place::Open(fd) => fs::flistxattr(fd, &mut names[..]),
            Place::Path(path) => fs::llistxattr(&path[..], &mut names[..]),
        }?;
        names.truncate(len);
        Ok(names)
    }

    /// The value of an attribute; `None` where it is gone.
    fn value(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; MAX];
        let len = match self {
            Place::Open(fd) => fs::fgetxattr(fd, name, &mut value[..]),
            Place::Path(path) => fs::lgetxattr(&path[..], name, &mut value[..]),
        };
        match len {
            Ok(len) => {
                value.truncate(len);
                value.shrink_to_fit();
                Ok(Some(value))
            }
            Err(Errno::NODATA) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn set(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self {
            Place::Open(fd) => fs::fsetxattr(fd, name, value, flags),
            Place::Path(path) => fs::lsetxattr(&path[..], name, value, flags),
        }?)
    }

    fn remove(&self, name: &[u8]) -> io::Result<()> {
        Ok(match self {
            Place::Open(fd) => fs::fremovexattr(fd, name),
            Place::Path(path) => fs::lremovexattr(&path[..], name),
        }?)
    }
}
