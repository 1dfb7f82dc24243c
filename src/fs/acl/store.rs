//! Lists of inodes: where they stand, who may do what by them, setting them.
//!
//! A list is the value of an extended attribute. What owner, mask and others may do is not part of
//! a stored access list: those are permission bits of the inode's mode, and stand there alone. So
//! whatever sets the mode sets the list, and the two cannot disagree.

use super::{Acl, AclKind, AclTag, Credentials, rules};
use crate::error::{Error, Object, Result};
use crate::format::InodeRow;
use crate::fs::FileSystem;
use crate::fs::attr::{FileType, Wcc};
use crate::fs::caller::Caller;
use crate::fs::draft::Draft;
use crate::fs::xattr::XattrMode;
use crate::txn::Class;

const SET_GID: u32 = 0o2000;
const PERMISSIONS: u32 = 0o777;

impl Acl {
    /// Reads a list of an inode from the rows of a store.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is none, or one that no inode of the kind has.
    pub(crate) fn of_stored(value: &[u8], kind: AclKind, ino: u64, mode: u32) -> Result<Acl> {
        let bad = |why| Error::corrupt(Object::Inode { ino }, why);
        let list = Acl::from_xattr(value).map_err(|_| bad("an access control list"))?;
        let list = list.ok_or(bad("an access control list without entries"))?;
        if kind == AclKind::Default {
            return Ok(list);
        }
        match list.perm(AclTag::Mask) {
            Some(_) => Ok(list.with_mode(mode)),
            None => Err(bad("an access control list without a mask")),
        }
    }

    fn to_stored(&self, kind: AclKind) -> Vec<u8> {
        match kind {
            AclKind::Access => self.with_mode(0).to_xattr(),
            AclKind::Default => self.to_xattr(),
        }
    }
}

/// Whether an inode of this type may have such a list.
pub(crate) fn may_have(kind: AclKind, file: Option<FileType>) -> bool {
    match kind {
        AclKind::Access => file != Some(FileType::Symlink),
        AclKind::Default => file == Some(FileType::Directory),
    }
}

impl FileSystem {
    /// An access control list of an inode. `None` where it has none: then the mode says who may do
    /// what, or what is made in the directory starts from the umask.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Corrupt`] for a list that makes no sense, and those of reading
    /// rows.
    pub fn get_acl(&self, ino: u64, kind: AclKind) -> Result<Option<Acl>> {
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        self.acl_of(ino, &row, kind)
    }

    /// Sets or removes an access control list, in one transaction with all that goes with it.
    ///
    /// An access list sets the permission bits, the group's to its mask, and takes the
    /// set-group-ID bit away: for a caller that is in the inode's group or may keep the bit there
    /// is [`FileSystem::acting`]. One that says no more than a mode is kept as the mode. Removing
    /// one leaves the mode as it is, so the mask becomes the right of the owning group; who wants
    /// that group to get what the list gave it sets a list of three entries. Removing what is not
    /// there changes nothing. Who may set lists, the owner as a rule, is up to the caller.
    ///
    /// Durable after [`FileSystem::sync`].
    ///
    /// # Errors
    /// [`Error::NotDirectory`] for a default list of anything else; [`Error::NotSupported`] for a
    /// symbolic link; [`Error::Stale`], [`Error::NoSpace`], [`Error::ReadOnly`].
    pub fn set_acl(&self, ino: u64, kind: AclKind, list: Option<&Acl>) -> Result<Wcc> {
        self.set_acl_as(Caller::ANY, ino, kind, list)
    }

    pub(in crate::fs) fn set_acl_as(
        &self,
        caller: Caller,
        ino: u64,
        kind: AclKind,
        list: Option<&Acl>,
    ) -> Result<Wcc> {
        self.changing(|| self.try_set_acl(caller, ino, kind, list, XattrMode::Either))
    }

    pub(in crate::fs) fn try_set_acl(
        &self,
        caller: Caller,
        ino: u64,
        kind: AclKind,
        list: Option<&Acl>,
        how: XattrMode,
    ) -> Result<Wcc> {
        let inode = self.inodes.get(ino);
        let mut draft = self.draft(&[&inode])?;
        let before = *draft.row(ino)?;
        let file = FileType::of_mode(before.mode.get());
        if list.is_some() && !may_have(kind, file) {
            return Err(match kind {
                AclKind::Access => Error::NotSupported,
                AclKind::Default => Error::NotDirectory,
            });
        }
        let mut kept = list;
        if let (AclKind::Access, Some(list)) = (kind, list) {
            let (bits, same) = list.equiv_mode();
            let lost = if caller.keeps_group_bit() { 0 } else { SET_GID };
            let row = draft.change_row(ino)?;
            row.mode = (row.mode.get() & !(PERMISSIONS | lost) | bits).into();
            row.flags = (row.flags.get() & !InodeRow::EXCLUSIVE).into();
            row.verifier = [0; 8];
            kept = kept.filter(|_| !same);
        }
        let class = match kept {
            Some(list) => {
                self.put_acl(&mut draft, ino, kind, list, how)?;
                Class::Normal
            }
            None => {
                let there = self.drop_acl(&mut draft, ino, kind)?;
                match (there, how) {
                    (true, XattrMode::Create) => return Err(Error::Exists),
                    (false, XattrMode::Replace) => return Err(Error::NoAttribute),
                    (false, _) if list.is_none() => return Ok(Wcc::of(ino, &before, &before)),
                    (true, _) => Class::Freeing,
                    (false, _) => Class::Normal,
                }
            }
        };
        let after = *draft.touch(ino)?;
        draft.commit(class)?;
        Ok(Wcc::of(ino, &before, &after))
    }

    /// Whether a user gets all rights of `want`: [`ACL_READ`](super::ACL_READ),
    /// [`ACL_WRITE`](super::ACL_WRITE), [`ACL_EXECUTE`](super::ACL_EXECUTE) and sums of them. It
    /// goes by the owner and the access control list, or the mode where there is none. What the
    /// superuser may do, and what a read-only store forbids, is up to the caller.
    ///
    /// Each right asked for alone may be granted where all together are not: no one group grants
    /// them then.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for other rights; [`Error::Stale`], and those of reading rows:
    /// nothing is granted where a list cannot be read.
    pub fn access(&self, ino: u64, who: &Credentials<'_>, want: u8) -> Result<bool> {
        if want & !super::ALL != 0 {
            return Err(Error::InvalidArgument("rights that do not exist"));
        }
        let inode = self.inodes.get(ino);
        let row = inode.read(&self.engine, self.tree)?;
        let owner = (row.uid.get(), row.gid.get());
        Ok(match self.acl_of(ino, &row, AclKind::Access)? {
            Some(list) => list.permits(owner, who, want),
            None => rules::mode_permits(row.mode.get(), owner, who, want),
        })
    }

    /// A list of an inode whose lock the caller holds.
    pub(in crate::fs) fn acl_of(
        &self,
        ino: u64,
        row: &InodeRow,
        kind: AclKind,
    ) -> Result<Option<Acl>> {
        let mode = row.mode.get();
        match self.stored_xattr(ino, row, kind.xattr_name()) {
            Err(Error::NoAttribute) => Ok(None),
            Err(error) => Err(error),
            Ok(_) if !may_have(kind, FileType::of_mode(mode)) => {
                let why = "an access control list of what has none";
                Err(Error::corrupt(Object::Inode { ino }, why))
            }
            Ok(value) => Acl::of_stored(&value, kind, ino, mode).map(Some),
        }
    }

    /// Puts a list that the mode does not say.
    pub(in crate::fs) fn put_acl(
        &self,
        draft: &mut Draft<'_>,
        ino: u64,
        kind: AclKind,
        list: &Acl,
        how: XattrMode,
    ) -> Result<()> {
        self.put_xattr(draft, ino, kind.xattr_name(), &list.to_stored(kind), how)?;
        if kind == AclKind::Access {
            let row = draft.change_row(ino)?;
            row.flags = (row.flags.get() | InodeRow::ACL).into();
        }
        Ok(())
    }

    fn drop_acl(&self, draft: &mut Draft<'_>, ino: u64, kind: AclKind) -> Result<bool> {
        let there = self.drop_xattr(draft, ino, kind.xattr_name())?;
        if kind == AclKind::Access {
            let row = draft.change_row(ino)?;
            row.flags = (row.flags.get() & !InodeRow::ACL).into();
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::super::AclEntry;
    use super::*;

    #[test]
    fn what_a_stored_list_says_of_mask_and_owner_counts_nothing() {
        let entry = |tag, perm| AclEntry { tag, perm };
        let list = Acl::new(vec![
            entry(AclTag::UserObj, 7),
            entry(AclTag::User(9), 6),
            entry(AclTag::GroupObj, 5),
            entry(AclTag::Mask, 7),
            entry(AclTag::Other, 4),
        ]);
        let list = list.unwrap();
        let stored = list.to_stored(AclKind::Access);
        for value in [&stored, &list.to_xattr()] {
            let read = |mode| Acl::of_stored(value, AclKind::Access, 1, mode).unwrap();
            assert_eq!(read(0o774), list);
            assert_eq!(read(0o610).equiv_mode().0, 0o610);
        }
        let plain = Acl::from_mode(0o644).to_xattr();
        assert!(Acl::of_stored(&plain, AclKind::Access, 1, 0o644).is_err());
        assert!(Acl::of_stored(&plain, AclKind::Default, 1, 0o644).is_ok());
        assert!(Acl::of_stored(&[2, 0, 0, 0], AclKind::Default, 1, 0).is_err());
    }
}
