//! Extended attributes on both sides.

use std::os::fd::BorrowedFd;

use efscrypt::Error;
use efscrypt::fs::{FileSystem, XattrMode};
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::rights::Rights;
use super::trouble::Result;

/// Longest list of names and longest value that Linux gives out, bytes.
const MAX: usize = 64 << 10;

/// Something of the machine that has attributes.
pub enum Place<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Anything else; a symbolic link is not followed.
    Path(Vec<u8>),
}

/// An inode of a store.
struct Inode<'a> {
    store: &'a FileSystem,
    ino: u64,
}

/// What has attributes. One value at a time is in memory: together they may be very large.
trait Side {
    /// In order.
    fn names(&self) -> Result<Vec<Vec<u8>>>;

    /// `None` where there is no such attribute.
    fn value(&self, name: &[u8]) -> Result<Option<Vec<u8>>>;

    fn set(&self, name: &[u8], value: &[u8]) -> Result<()>;

    fn remove(&self, name: &[u8]) -> Result<()>;
}

/// Makes the attributes of an inode those of something of the machine.
pub fn import(place: &Place<'_>, store: &FileSystem, ino: u64, rights: &Rights) -> Result<()> {
    copy(place, &Inode { store, ino }, rights)
}

/// Makes the attributes of something of the machine those of an inode.
pub fn export(store: &FileSystem, ino: u64, place: &Place<'_>, rights: &Rights) -> Result<()> {
    copy(&Inode { store, ino }, place, rights)
}

/// Whether both have the same.
pub fn same(store: &FileSystem, ino: u64, place: &Place<'_>, rights: &Rights) -> Result<bool> {
    let inode = Inode { store, ino };
    let names = kept(place, rights)?;
    if names != kept(&inode, rights)? {
        return Ok(false);
    }
    for name in names {
        if place.value(&name)? != inode.value(&name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether something of the machine has any that would be copied.
pub fn any(place: &Place<'_>, rights: &Rights) -> Result<bool> {
    Ok(!kept(place, rights)?.is_empty())
}

fn copy(from: &impl Side, to: &impl Side, rights: &Rights) -> Result<()> {
    let (wanted, there) = (kept(from, rights)?, kept(to, rights)?);
    for name in &wanted {
        let Some(value) = from.value(name)? else { continue };
        if there.binary_search(name).is_err() || to.value(name)?.as_ref() != Some(&value) {
            to.set(name, &value)?;
        }
    }
    for name in there.iter().filter(|name| wanted.binary_search(name).is_err()) {
        to.remove(name)?;
    }
    Ok(())
}

fn kept(side: &impl Side, rights: &Rights) -> Result<Vec<Vec<u8>>> {
    let mut names = side.names()?;
    names.retain(|name| rights.keep(name));
    Ok(names)
}

impl Side for Inode<'_> {
    fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.store.list_xattrs(self.ino)?;
        names.sort_unstable();
        Ok(names)
    }

    fn value(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.store.get_xattr(self.ino, name) {
            Err(Error::NoAttribute) => Ok(None),
            value => Ok(Some(value?)),
        }
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        self.store.set_xattr(self.ino, name, value, XattrMode::Either)?;
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        self.store.remove_xattr(self.ino, name)?;
        Ok(())
    }
}

impl Side for Place<'_> {
    fn names(&self) -> Result<Vec<Vec<u8>>> {
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
        let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn value(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
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

    fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        let flags = XattrFlags::empty();
        Ok(match self {
            Place::Open(fd) => fs::fsetxattr(fd, name, value, flags),
            Place::Path(path) => fs::lsetxattr(&path[..], name, value, flags),
        }?)
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        Ok(match self {
            Place::Open(fd) => fs::fremovexattr(fd, name),
            Place::Path(path) => fs::lremovexattr(&path[..], name),
        }?)
    }
}
