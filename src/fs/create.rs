//! Making inodes: files, directories, symbolic links, special files.

use zerocopy::FromZeros;

use super::FileSystem;
use super::acl::{Acl, AclKind};
use super::attr::{Attr, FileType, PERMISSION_BITS, Time, Wcc};
use super::dir::{Place, check_new_name, live_directory};
use super::draft::Draft;
use super::link::retry_stale;
use super::names::Target;
use super::xattr::XattrMode;
use crate::error::{Error, Result};
use crate::format::InodeRow;
use crate::limits::{MAX_INLINE_LEN, MAX_SYMLINK_LEN};
use crate::txn::Class;

const SET_GID: u32 = 0o2000;

/// Attributes of a new inode. In a directory with the set-group-ID bit the group is the
/// directory's, and a new directory has the bit too. In a directory with a default access control
/// list, permission bits that it does not grant are taken away, and what is made, unless it is a
/// symbolic link, gets an access list where the mode does not say all of it, and a directory the
/// same default list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewAttr {
    /// Permission bits; others are ignored.
    pub mode: u32,
    /// Permission bits that are taken away, unless the directory has a default access control
    /// list. A caller that took them away itself says 0. No symbolic link loses any.
    pub umask: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access, where it is not now.
    pub atime: Option<Time>,
    /// Last change of contents, where it is not now.
    pub mtime: Option<Time>,
}

/// What creating a file does where the name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    /// A regular file is taken as it is.
    Unchecked,
    /// Nothing: [`Error::Exists`].
    Guarded,
    /// As `Guarded`, unless the file was created with the same verifier and no attribute was set
    /// since: so a client may repeat a request whose answer was lost, also after a crash.
    Exclusive([u8; 8]),
}

/// Answer to a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The inode, new or found.
    pub attr: Attr,
    /// Whether it is new.
    pub created: bool,
    /// The directory before and after.
    pub dir: Wcc,
}

/// What is to be made.
struct Node<'n> {
    kind: FileType,
    new: &'n NewAttr,
    rdev: u64,
    verifier: Option<[u8; 8]>,
    /// Contents or link target.
    contents: &'n [u8],
}

/// Mode and access control lists of a new inode.
pub(super) struct Lists {
    mode: u32,
    access: Option<Acl>,
    default: Option<Acl>,
}

/// What an attempt to make an inode came to: `Err` where the name led to one that was removed
/// before it was looked at.
type Made = std::result::Result<Created, Target>;

impl FileSystem {
    /// Makes a regular file.
    ///
    /// # Errors
    /// [`Error::Exists`] as the mode says; [`Error::NotDirectory`], [`Error::NotFound`] where the
    /// directory was removed, [`Error::NameTooLong`], [`Error::InvalidArgument`] for a name that
    /// no entry may have and for nanoseconds of a second or more, [`Error::Stale`],
    /// [`Error::NoSpace`], [`Error::ReadOnly`].
    pub fn create(
        &self,
        dir: u64,
        name: &[u8],
        new: &NewAttr,
        mode: CreateMode,
    ) -> Result<Created> {
        self.create_with(dir, name, new, mode, &[])
    }

    /// Makes a regular file with contents: up to 2 KiB in the same transaction, more of them in
    /// transactions that follow. Where the file exists its contents stay.
    ///
    /// # Errors
    /// As [`FileSystem::create`], and those of writing.
    pub fn create_with(
        &self,
        dir: u64,
        name: &[u8],
        new: &NewAttr,
        mode: CreateMode,
        contents: &[u8],
    ) -> Result<Created> {
        let verifier = match mode {
            CreateMode::Exclusive(verifier) => Some(verifier),
            CreateMode::Unchecked | CreateMode::Guarded => None,
        };
        let (first, rest) = match contents.len() {
            0..=MAX_INLINE_LEN => (contents, &[][..]),
            _ => (&[][..], contents),
        };
        let node = Node { kind: FileType::Regular, new, rdev: 0, verifier, contents: first };
        let created = self.make(dir, name, &node, |row| match mode {
            CreateMode::Unchecked => FileType::of_mode(row.mode.get()) == Some(FileType::Regular),
            CreateMode::Guarded => false,
            CreateMode::Exclusive(verifier) => {
                row.flags.get() & InodeRow::EXCLUSIVE != 0 && row.verifier == verifier
            }
        })?;
        if !created.created || rest.is_empty() {
            return Ok(created);
        }
        let attr = self.write_all(created.attr.ino, first.len() as u64, rest)?;
        Ok(Created { attr, ..created })
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`FileSystem::create`] with [`CreateMode::Guarded`], and [`Error::TooManyLinks`].
    pub fn mkdir(&self, dir: u64, name: &[u8], new: &NewAttr) -> Result<Created> {
        let kind = FileType::Directory;
        let node = Node { kind, new, rdev: 0, verifier: None, contents: &[] };
        self.make(dir, name, &node, |_| false)
    }

    /// Makes a symbolic link with a target of 1 to 4,095 bytes; the target is contents: sealed
    /// under a data key.
    ///
    /// # Errors
    /// As [`FileSystem::create`] with [`CreateMode::Guarded`].
    pub fn symlink(&self, dir: u64, name: &[u8], target: &[u8], new: &NewAttr) -> Result<Created> {
        if target.len() > MAX_SYMLINK_LEN {
            return Err(Error::NameTooLong);
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Error::InvalidArgument("a link target is not empty and has no NUL"));
        }
        let kind = FileType::Symlink;
        let node = Node { kind, new, rdev: 0, verifier: None, contents: target };
        self.make(dir, name, &node, |_| false)
    }

    /// Makes a named pipe, a socket or a device node. `rdev` is the device's number.
    ///
    /// # Errors
    /// As [`FileSystem::create`] with [`CreateMode::Guarded`]; [`Error::InvalidArgument`] for
    /// other types.
    pub fn mknod(
        &self,
        dir: u64,
        name: &[u8],
        kind: FileType,
        rdev: u64,
        new: &NewAttr,
    ) -> Result<Created> {
        let rdev = match kind {
            FileType::CharDevice | FileType::BlockDevice => rdev,
            FileType::Fifo | FileType::Socket => 0,
            _ => return Err(Error::InvalidArgument("mknod makes pipes, sockets and devices")),
        };
        self.make(dir, name, &Node { kind, new, rdev, verifier: None, contents: &[] }, |_| false)
    }

    /// Makes an inode; one that has the name already is the answer if `accept` takes it.
    fn make(
        &self,
        dir: u64,
        name: &[u8],
        node: &Node<'_>,
        accept: impl Fn(&InodeRow) -> bool,
    ) -> Result<Created> {
        check_new_name(name)?;
        let times = [node.new.atime, node.new.mtime];
        times.iter().flatten().try_for_each(Time::check)?;
        self.changing(|| {
            let mut stale = None;
            loop {
                match self.try_make(dir, name, node, &accept)? {
                    Ok(created) => return Ok(created),
                    Err(target) => retry_stale(&mut stale, target, target.ino)?,
                }
            }
        })
    }

    /// One attempt.
    fn try_make(
        &self,
        dir: u64,
        name: &[u8],
        node: &Node<'_>,
        accept: impl Fn(&InodeRow) -> bool,
    ) -> Result<Made> {
        let parent = self.inodes.get(dir);
        let (inode, mut draft, before, cookie) = loop {
            let draft = self.draft(&[&parent])?;
            let before = *draft.row(dir)?;
            live_directory(&before)?;
            let cookie = match self.place(dir, name)? {
                Place::Free(cookie) => cookie,
                Place::Taken(target) => {
                    drop(draft);
                    return match self.existing(&before, dir, target.ino, accept) {
                        Err(Error::Stale) => Ok(Err(target)),
                        found => found.map(Ok),
                    };
                }
            };
            if let Some(inode) = self.new_inode()? {
                break (inode, draft, before, cookie);
            }
            drop(draft);
            self.engine.promise_inos()?;
        };
        let ino = inode.ino();
        let lists = self.inherited(dir, &before, node)?;
        let row = new_row(&draft, dir, &before, node, lists.mode);
        draft.add(&inode, row)?;
        self.put_lists(&mut draft, ino, &lists)?;
        draft.add_entry(dir, name, Target { ino, kind: node.kind as u8, cookie })?;
        if node.kind == FileType::Directory {
            draft.add_links(dir, 1)?;
        }
        let (row, after) = (*draft.row(ino)?, *draft.row(dir)?);
        let row = if node.contents.is_empty() {
            draft.commit(Class::Normal)?;
            row
        } else {
            draft.commit_with(ino, node.contents)?
        };
        let dir = Wcc::of(dir, &before, &after);
        Ok(Ok(Created { attr: Attr::of(ino, &row), created: true, dir }))
    }

    /// What a new inode gets from its directory.
    fn inherited(&self, dir: u64, parent: &InodeRow, node: &Node<'_>) -> Result<Lists> {
        let mode = node.new.mode & PERMISSION_BITS;
        if node.kind == FileType::Symlink {
            return Ok(Lists { mode, access: None, default: None });
        }
        let Some(default) = self.acl_of(dir, parent, AclKind::Default)? else {
            return Ok(Lists {
                mode: mode & !(node.new.umask & 0o777),
                access: None,
                default: None,
            });
        };
        let (mode, access) = default.inherit(mode);
        let default = (node.kind == FileType::Directory).then_some(default);
        Ok(Lists { mode, access, default })
    }

    /// The row and the lists of a whiteout for a directory: what says, to an overlay of file
    /// systems, that a name is not there.
    pub(super) fn whiteout(
        &self,
        draft: &Draft<'_>,
        dir: u64,
        new: &NewAttr,
    ) -> Result<(InodeRow, Lists)> {
        let kind = FileType::CharDevice;
        let node = Node { kind, new, rdev: 0, verifier: None, contents: &[] };
        let parent = draft.row(dir)?;
        let lists = self.inherited(dir, parent, &node)?;
        Ok((new_row(draft, dir, parent, &node, lists.mode), lists))
    }

    pub(super) fn put_lists(&self, draft: &mut Draft<'_>, ino: u64, lists: &Lists) -> Result<()> {
        if let Some(list) = &lists.access {
            self.put_acl(draft, ino, AclKind::Access, list, XattrMode::Either)?;
        }
        if let Some(list) = &lists.default {
            self.put_acl(draft, ino, AclKind::Default, list, XattrMode::Either)?;
        }
        Ok(())
    }

    fn existing(
        &self,
        before: &InodeRow,
        dir: u64,
        ino: u64,
        accept: impl Fn(&InodeRow) -> bool,
    ) -> Result<Created> {
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        if !accept(&row) {
            return Err(Error::Exists);
        }
        let dir = Wcc::of(dir, before, before);
        Ok(Created { attr: Attr::of(ino, &row), created: false, dir })
    }
}

fn new_row(draft: &Draft<'_>, dir: u64, parent: &InodeRow, node: &Node<'_>, mode: u32) -> InodeRow {
    let new = node.new;
    let (now, change) = (draft.stamp.now, draft.stamp.change);
    let directory = node.kind == FileType::Directory;
    let mut mode = node.kind.mode_bits() | mode;
    let mut gid = new.gid;
    if parent.mode.get() & SET_GID != 0 {
        gid = parent.gid.get();
        mode |= if directory { SET_GID } else { 0 };
    }
    let mut row = InodeRow::new_zeroed();
    row.mode = mode.into();
    row.nlink = if directory { 2 } else { 1 }.into();
    (row.uid, row.gid) = (new.uid.into(), gid.into());
    (row.generation, row.change) = (change.into(), change.into());
    row.atime = new.atime.map_or(now, Into::into);
    row.mtime = new.mtime.map_or(now, Into::into);
    (row.ctime, row.btime) = (now, now);
    (row.rdev, row.parent) = (node.rdev.into(), dir.into());
    if let Some(verifier) = node.verifier {
        row.verifier = verifier;
        row.flags = InodeRow::EXCLUSIVE.into();
    }
    row
}
