//! What a repair does, and what it finds gone.

use std::fmt;

use crate::error::Error;
use crate::fs::FileType;

/// One thing that a repair does to the rows of a store, or that it cannot bring back.
#[derive(Debug)]
pub struct Note {
    /// The inode that it is about; 0 where it is about none.
    pub ino: u64,
    /// A path of that inode, from the root directory of the repaired file system.
    pub path: Option<Vec<u8>>,
    /// What it is.
    pub what: Mending,
}

/// What a [`Note`] says.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by what they are; the text explains each")]
pub enum Mending {
    /// A row that does not parse is left out.
    RowDropped(Error),
    /// The attributes of an inode are gone; what its names and contents tell of it is kept. The
    /// size is the least that holds its contents.
    AttributesLost { kind: FileType, size: u64 },
    /// The times of an inode are from an older state, and so were its permissions and owner: these
    /// are told alone, and it is root's. The size was, and is, the least that holds its contents.
    AttributesOlder { kind: FileType, mode: u32, uid: u32, gid: u32, size: [u64; 2] },
    /// A name is from an older state.
    NameOlder,
    /// The store's name, or a tag, or what says that a file has lost stretches, is from an older
    /// state.
    PropertyOlder,
    /// A name is left out: nothing is known of what it led to.
    NameDropped { dir: u64, name: Vec<u8>, target: u64 },
    /// A name is left out: it stood where no lookup finds it, or twice; its inode stays.
    NameMoved { dir: u64, name: Vec<u8> },
    /// Names of a directory are gone.
    NamesLost { count: u64 },
    /// No name of the inode is left: it gets one in `/lost+found`.
    NameLost { name: Vec<u8> },
    /// Extended attributes are gone, in whole or in part.
    XattrsLost { count: u32 },
    /// A piece of an extended attribute is left out.
    XattrDropped,
    /// An access list is gone. What the mode said without it would have been more than the list
    /// did, so the owner alone has rights now.
    AclLost,
    /// Contents are gone, bytes from `from` and up to `to`: reading them fails.
    ContentsLost { from: u64, to: u64 },
    /// Contents do not have their checksum, bytes from `from` and up to `to`: reading them fails.
    ContentsDamaged { from: u64, to: u64 },
    /// Contents of a file that is not there any more are left out.
    ContentsDropped { units: u64 },
    /// Two pieces of contents were there for the same place: the newer one stays.
    ContentsTwice { from: u64, to: u64 },
    /// The size was below what contents there are.
    SizeRaised { from: u64, to: u64 },
    /// Data keys that nothing uses are left out.
    KeysDropped { count: u64 },
    /// Counts or the parent are set to what was found.
    Recounted,
    /// The inode has no name and waits to be freed.
    Freed,
    /// The root directory is made anew.
    RootMade,
}

impl Mending {
    /// Whether it says that something of a file, a directory or a name is gone.
    pub fn is_loss(&self) -> bool {
        use Mending as M;
        !matches!(self, M::Recounted | M::Freed | M::KeysDropped { .. } | M::NameMoved { .. })
    }
}

impl fmt::Display for Mending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Mending as M;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        match self {
            M::RowDropped(error) => write!(f, "a row is left out: {error}"),
            M::AttributesLost { kind, size } => {
                let name = kind_name(*kind);
                write!(f, "owner, permissions and times of the {name} are lost; root owns it now")?;
                match kind {
                    FileType::Regular => {
                        write!(f, "; its size is set to {size} bytes, which may be wrong")
                    }
                    _ => Ok(()),
                }
            }
            M::AttributesOlder { kind, mode, uid, gid, size: [older, size] } => {
                let regular = *kind == FileType::Regular;
                let kind = kind_name(*kind);
                write!(
                    f,
                    "times of the {kind} may be older than they were; owner and permissions are \
                     lost, an older state had {uid}:{gid} and {mode:04o}; root owns it now"
                )?;
                match regular && size != older {
                    true => write!(
                        f,
                        "; its size is set to {size} bytes, which may be wrong: it was {older} then"
                    ),
                    false => Ok(()),
                }
            }
            M::PropertyOlder => write!(f, "a property of the store is as it was in an older state"),
            M::NameOlder => write!(f, "its name is the one that it had in an older state"),
            M::NameDropped { name, .. } => {
                write!(f, "'{}' in it is lost: nothing else is left of it", text(name))
            }
            M::NameMoved { name, .. } => {
                write!(f, "its name '{}' stood twice, or where it is not found", text(name))
            }
            M::NamesLost { count: 1 } => write!(f, "1 name in it is lost"),
            M::NamesLost { count } => write!(f, "{count} names in it are lost"),
            M::NameLost { .. } => write!(f, "its name is lost, and this is a new one"),
            M::XattrsLost { count: 1 } => write!(f, "1 extended attribute is lost"),
            M::XattrsLost { count } => write!(f, "{count} extended attributes are lost"),
            M::XattrDropped => write!(f, "a piece of an extended attribute is left out"),
            M::AclLost => {
                write!(
                    f,
                    "its access control list is lost: all rights but the owner's are taken away"
                )
            }
            M::ContentsLost { from, to } => write!(f, "contents are lost: bytes {from} to {to}"),
            M::ContentsDamaged { from, to } => {
                write!(f, "contents are damaged: bytes {from} to {to}")
            }
            M::ContentsDropped { units } => {
                write!(f, "{units} units of contents belonged to nothing that is left")
            }
            M::ContentsTwice { from, to } => {
                write!(f, "of two states of bytes {from} to {to} the newer one is kept")
            }
            M::SizeRaised { from, to } => {
                write!(f, "the size was {from} and is {to}, where its contents end")
            }
            M::KeysDropped { count } => write!(f, "{count} data keys that nothing uses"),
            M::Recounted => write!(f, "counts are set to what there is"),
            M::Freed => write!(f, "it was removed, and is freed with the next use of the store"),
            M::RootMade => write!(f, "the root directory is made anew"),
        }
    }
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        _ => "file",
    }
}
