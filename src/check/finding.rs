//! What a check can find.

use std::fmt;

use crate::error::Error;
use crate::txn::{MAX_DAMAGED, StructureReport};

/// Something that does not fit together. Names are not part of it: a directory's number and an
/// entry's cookie say which.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by what they are; the text explains each")]
pub enum Finding {
    /// A row that does not parse.
    Row(Error),
    /// The store is shorter than it was.
    Truncated { have: u64, need: u64 },
    /// There is no root directory.
    NoRoot,
    /// An entry leads to an inode that does not exist.
    EntryToNothing { dir: u64, cookie: u64, ino: u64 },
    /// An entry stands in something that is no directory.
    EntryInNothing { dir: u64, cookie: u64 },
    /// An entry says another type than the inode.
    EntryType { dir: u64, cookie: u64, ino: u64 },
    /// An entry stands where a lookup does not find it.
    EntryMisplaced { dir: u64, cookie: u64 },
    /// A directory has two entries of one name.
    EntryTwice { dir: u64, cookie: u64 },
    /// A directory has a second name.
    DirectoryTwice { dir: u64, cookie: u64, ino: u64 },
    /// The link count is not the number of names.
    Links { ino: u64, stored: u32, found: u32 },
    /// The number of entries is another.
    Entries { dir: u64, stored: u64, found: u64 },
    /// The size of a directory is not that of its names.
    NameBytes { dir: u64, stored: u64, found: u64 },
    /// A directory does not know its parent.
    Parent { dir: u64, stored: u64, found: u64 },
    /// An inode that no path from the root leads to, and that does not wait to be freed.
    Unreachable { ino: u64 },
    /// An ORPHAN row for an inode that does not need one, or does not exist.
    Orphan { ino: u64 },
    /// The number of extended attributes is another.
    Xattrs { ino: u64, stored: u32, found: u32 },
    /// A piece of an extended attribute without the others, or of nothing.
    XattrPiece { ino: u64, cookie: u64 },
    /// An access control list that makes no sense, or of an inode that cannot have one.
    AclBroken { ino: u64, cookie: u64 },
    /// The inode says that it has an access list and has none, or has one and does not say so.
    Acls { ino: u64, stored: u32, found: u32 },
    /// Contents of an inode that does not exist or has none.
    ContentsOfNothing { ino: u64, unit: u64 },
    /// Contents behind the end of their file.
    ContentsBeyondEnd { ino: u64, unit: u64 },
    /// Two pieces of contents for one place of a file.
    ContentsTwice { ino: u64, unit: u64 },
    /// The number of units that the contents take is another.
    Units { ino: u64, stored: u64, found: u64 },
    /// Contents whose data key does not exist or is another file's.
    KeyMissing { ino: u64, key: u64 },
    /// A data key of a file that does not exist.
    KeyOfNothing { key: u64, ino: u64 },
    /// Contents that a repair found lost: no reader gets them for zeros.
    ContentsLost { ino: u64, unit: u64, units: u64 },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Finding as F;
        match self {
            F::Row(error) => write!(f, "{error}"),
            F::Truncated { have, need } => write!(f, "truncated to {have} bytes of {need}"),
            F::NoRoot => write!(f, "there is no root directory"),
            F::EntryToNothing { dir, cookie, ino } => {
                write!(f, "entry {cookie:#x} of directory {dir}: no inode {ino}")
            }
            F::EntryInNothing { dir, cookie } => {
                write!(f, "entry {cookie:#x}: {dir} is no directory")
            }
            F::EntryType { dir, cookie, ino } => {
                write!(f, "entry {cookie:#x} of directory {dir}: inode {ino} is of another type")
            }
            F::EntryMisplaced { dir, cookie } => {
                write!(f, "entry {cookie:#x} of directory {dir} is not where its name belongs")
            }
            F::EntryTwice { dir, cookie } => {
                write!(f, "entry {cookie:#x} of directory {dir} has the name of another one")
            }
            F::DirectoryTwice { dir, cookie, ino } => {
                write!(
                    f,
                    "entry {cookie:#x} of directory {dir} is a second name of directory {ino}"
                )
            }
            F::Links { ino, stored, found } => {
                write!(f, "inode {ino} has {found} links and says {stored}")
            }
            F::Entries { dir, stored, found } => {
                write!(f, "directory {dir} has {found} entries and says {stored}")
            }
            F::NameBytes { dir, stored, found } => {
                write!(f, "directory {dir} has {found} bytes of names and says {stored}")
            }
            F::Parent { dir, stored, found } => {
                write!(f, "directory {dir} stands in {found} and says {stored}")
            }
            F::Unreachable { ino } => write!(f, "inode {ino} has no path from the root"),
            F::Orphan { ino } => {
                write!(f, "inode {ino} is on the list to be freed and must not be")
            }
            F::Xattrs { ino, stored, found } => {
                write!(f, "inode {ino} has {found} extended attributes and says {stored}")
            }
            F::XattrPiece { ino, cookie } => {
                write!(f, "inode {ino}: a stray piece of extended attribute {cookie:#x}")
            }
            _ => self.write_rest(f),
        }
    }
}

impl Finding {
    /// Writes what is about contents and lists.
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Finding as F;
        match self {
            F::AclBroken { ino, cookie } => {
                write!(f, "inode {ino}: access control list {cookie:#x} makes no sense")
            }
            F::Acls { ino, stored, found } => {
                write!(f, "inode {ino} has {found} access lists and says {stored}")
            }
            F::ContentsOfNothing { ino, unit } => {
                write!(f, "contents at unit {unit} of inode {ino}, which has none")
            }
            F::ContentsBeyondEnd { ino, unit } => {
                write!(f, "inode {ino}: contents at unit {unit}, behind the end")
            }
            F::ContentsTwice { ino, unit } => {
                write!(f, "inode {ino}: two pieces of contents at unit {unit}")
            }
            F::Units { ino, stored, found } => {
                write!(f, "inode {ino} takes {found} units and says {stored}")
            }
            F::KeyMissing { ino, key } => write!(f, "inode {ino}: no data key {key:#x}"),
            F::KeyOfNothing { key, ino } => {
                write!(f, "data key {key:#x} is for inode {ino}, which does not exist")
            }
            F::ContentsLost { ino, unit, units } => {
                write!(f, "inode {ino}: the contents of {units} units from {unit} on are lost")
            }
            _ => Ok(()),
        }
    }
}

/// What a check saw and found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Nodes and units.
    pub structure: StructureReport,
    /// Inodes.
    pub inodes: u64,
    /// Those that are directories.
    pub directories: u64,
    /// Names.
    pub entries: u64,
    /// Inodes that wait to be freed.
    pub orphans: u64,
    /// What does not fit together, besides nodes and units.
    pub findings: Vec<Finding>,
    /// Stretches of contents that a repair found lost: the first 1000. They fit together with the
    /// rest, so they are none of the findings.
    pub lost: Vec<Finding>,
}

impl CheckReport {
    /// Adds what a check of other inodes found. What is said of nodes and units stays.
    pub(super) fn add(&mut self, part: CheckReport) {
        self.inodes += part.inodes;
        self.directories += part.directories;
        self.entries += part.entries;
        self.orphans += part.orphans;
        self.findings.extend(part.findings);
        self.lost.extend(part.lost);
        self.lost.truncate(MAX_DAMAGED);
    }

    /// Whether nothing is wrong; contents may be [lost](CheckReport::lost) all the same.
    pub fn is_clean(&self) -> bool {
        self.structure.is_clean() && self.findings.is_empty()
    }
}
