//! Extended attributes on both sides.

use std::os::fd::BorrowedFd;

use efscrypt::Error;
use efscrypt::fs::{Acl, AclKind, FileSystem, XattrMode};
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::lists;
use super::rights::{CAPABILITY, Rights};
use super::trouble::{Result, Trouble};

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

/// Attributes that one side did not take: one of them, and how many there are.
pub struct Refused {
    pub name: Vec<u8>,
    pub why: std::io::Error,
    pub count: u64,
    /// Whether the access control list is among them.
    pub list: bool,
}

/// Makes the attributes of an inode those of something of the machine. A list that no store takes,
/// because it is too long or makes no sense, is no failure.
pub fn import(
    place: &Place<'_>,
    store: &FileSystem,
    ino: u64,
    rights: &Rights,
) -> Result<Option<Refused>> {
    let inode = Inode { store, ino };
    let mut refused = None;
    for change in changes(place, &inode, rights)? {
        match change.make(place, &inode) {
            Err(Trouble::Store(why @ (Error::InvalidArgument(_) | Error::NotSupported)))
                if AclKind::of_xattr_name(&change.name).is_some() =>
            {
                refuse(&mut refused, change, std::io::Error::other(why.to_string()));
            }
            made => made?,
        }
    }
    Ok(refused)
}

/// The mode that something of the machine gets in a store: less than it has where its list is not
/// copied. Says what is left behind, if anything is.
pub fn imported_mode(
    place: &Place<'_>,
    mode: u32,
    rights: &Rights,
) -> Result<(u32, Option<&'static str>)> {
    let mut less = (mode, None);
    for name in place.names()? {
        let access = lists::is_access(&name);
        if !access && !lists::is_foreign(&name) {
            continue;
        }
        let Some(list) = place.value(&name)? else { continue };
        let left = match access {
            true if rights.any() && Acl::from_xattr(&list).is_ok() => mode,
            true => {
                less.1 = Some("its access control list");
                lists::mode_without(&list, mode)
            }
            false => lists::mode_without_foreign(&name, &list, mode),
        };
        if !access && left != mode {
            less.1 = Some("what its NFSv4 access control list says");
        }
        less.0 &= left;
    }
    Ok(less)
}

/// As [`imported_mode`], for an inode that is exported.
pub fn exported_mode(
    store: &FileSystem,
    ino: u64,
    mode: u32,
    rights: &Rights,
) -> Result<(u32, Option<&'static str>)> {
    match rights.any() {
        true => Ok((mode, None)),
        false => match store.get_acl(ino, AclKind::Access)? {
            Some(list) => Ok((list.mode_without(mode), Some("its access control list"))),
            None => Ok((mode, None)),
        },
    }
}

/// Whether an inode has the attributes of something of the machine.
pub fn is_imported(
    place: &Place<'_>,
    store: &FileSystem,
    ino: u64,
    rights: &Rights,
) -> Result<bool> {
    Ok(changes(place, &Inode { store, ino }, rights)?.is_empty())
}

/// Makes the attributes of something of the machine those of an inode. What it does not take is
/// no failure: it is worth having without.
pub fn export(
    store: &FileSystem,
    ino: u64,
    place: &Place<'_>,
    rights: &Rights,
) -> Result<Option<Refused>> {
    let inode = Inode { store, ino };
    let mut refused = None;
    for change in exports(&inode, place, rights)? {
        match change.make(&inode, place) {
            Err(Trouble::Host(why)) => refuse(&mut refused, change, why),
            made => made?,
        }
    }
    Ok(refused)
}

fn refuse(refused: &mut Option<Refused>, change: Change, why: std::io::Error) {
    let list = lists::is_access(&change.name);
    match refused {
        Some(refused) => {
            refused.count += 1;
            refused.list |= list;
        }
        None => *refused = Some(Refused { name: change.name, why, count: 1, list }),
    }
}

/// Whether something of the machine has the attributes of an inode, beside those that its system
/// gave to it.
pub fn is_exported(
    store: &FileSystem,
    ino: u64,
    place: &Place<'_>,
    rights: &Rights,
) -> Result<bool> {
    Ok(exports(&Inode { store, ino }, place, rights)?.is_empty())
}

/// Whether something of the machine would get or lose rights of the system by an export.
pub fn changes_capability(
    store: &FileSystem,
    ino: u64,
    place: &Place<'_>,
    rights: &Rights,
) -> Result<bool> {
    let changes = exports(&Inode { store, ino }, place, rights)?;
    Ok(changes.iter().any(|change| change.name == CAPABILITY))
}

/// Whether something of the machine has any that would be copied.
pub fn any(place: &Place<'_>, rights: &Rights) -> Result<bool> {
    Ok(!kept(place, rights)?.is_empty())
}

/// An attribute that one side has to get from the other, or to lose.
struct Change {
    name: Vec<u8>,
    sets: bool,
}

impl Change {
    fn make(&self, from: &impl Side, to: &impl Side) -> Result<()> {
        match (self.sets, from.value(&self.name)?) {
            (true, Some(value)) => to.set(&self.name, &value),
            (true, None) => Ok(()),
            (false, _) => to.remove(&self.name),
        }
    }
}

/// What makes the attributes of one side those of the other.
fn changes(from: &impl Side, to: &impl Side, rights: &Rights) -> Result<Vec<Change>> {
    let (wanted, mut there) = (kept(from, rights)?, to.names()?);
    // The list goes with the permissions, which are copied: where no attribute is, one that is
    // there has to go, as it would give more than they do.
    there.retain(|name| rights.keep(name) || (!rights.any() && lists::is_access(name)));
    let mut changes = Vec::new();
    for name in &wanted {
        let same = there.binary_search(name).is_ok() && to.value(name)? == from.value(name)?;
        if !same {
            changes.push(Change { name: name.clone(), sets: true });
        }
    }
    let others = there.into_iter().filter(|name| wanted.binary_search(name).is_err());
    changes.extend(others.map(|name| Change { name, sets: false }));
    Ok(changes)
}

fn exports(from: &Inode<'_>, to: &Place<'_>, rights: &Rights) -> Result<Vec<Change>> {
    let mut changes = changes(from, to, rights)?;
    changes.retain(|change| change.sets || !Rights::leave(&change.name));
    Ok(changes)
}

fn kept(side: &impl Side, rights: &Rights) -> Result<Vec<Vec<u8>>> {
    if !rights.any() {
        return Ok(Vec::new());
    }
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
        match AclKind::of_xattr_name(name) {
            None => self.store.set_xattr(self.ino, name, value, XattrMode::Either)?,
            // The set-group-ID bit is copied, too.
            Some(kind) => {
                let list = Acl::from_xattr(value)?;
                self.store.privileged().set_acl(self.ino, kind, list.as_ref())?
            }
        };
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        if lists::is_access(name)
            && let Some(list) = self.store.get_acl(self.ino, AclKind::Access)?
        {
            let plain = without(&list);
            self.store.privileged().set_acl(self.ino, AclKind::Access, Some(&plain))?;
            return Ok(());
        }
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
        if lists::is_access(name)
            && let Some(list) = self.value(name)?
            && let Ok(Some(list)) = Acl::from_xattr(&list)
        {
            return self.set(name, &without(&list).to_xattr());
        }
        Ok(match self {
            Place::Open(fd) => fs::fremovexattr(fd, name),
            Place::Path(path) => fs::lremovexattr(&path[..], name),
        }?)
    }
}

/// What stands for a list until the mode is set: were it only taken away, its mask would be the
/// right of the owning group.
fn without(list: &Acl) -> Acl {
    let (mode, _) = list.equiv_mode();
    Acl::from_mode(list.mode_without(mode))
}
