//! Facts: what was found, for programs.

use super::finding::Finding;
use crate::error::{Error, Object};

/// A finding in a word and numbers. Words and names of numbers never change their meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What is wrong, as `entry-to-nothing`; of something that does not verify, what it is, as
    /// `node`.
    pub kind: &'static str,
    /// Which ones, by name: `ino`, `dir`, `cookie`, `unit`, `stored`, `found` and others.
    pub numbers: Vec<(&'static str, u64)>,
}

impl Fact {
    fn new<const N: usize>(kind: &'static str, numbers: [(&'static str, u64); N]) -> Fact {
        Fact { kind, numbers: numbers.to_vec() }
    }

    fn counts(kind: &'static str, of: (&'static str, u64), stored: u64, found: u64) -> Fact {
        Fact::new(kind, [of, ("stored", stored), ("found", found)])
    }
}

impl From<&Finding> for Fact {
    fn from(finding: &Finding) -> Fact {
        use Finding as F;
        let entry = |kind, dir, cookie| Fact::new(kind, [("dir", dir), ("cookie", cookie)]);
        let leads = |kind, dir, cookie, ino| {
            Fact::new(kind, [("dir", dir), ("cookie", cookie), ("ino", ino)])
        };
        let contents = |kind, ino, unit| Fact::new(kind, [("ino", ino), ("unit", unit)]);
        match *finding {
            F::Row(ref error) => Fact { kind: "row", ..Fact::from(error) },
            F::Truncated { have, need } => {
                Fact::new("truncated", [("found", have), ("stored", need)])
            }
            F::NoRoot => Fact::new("no-root", []),
            F::EntryToNothing { dir, cookie, ino } => leads("entry-to-nothing", dir, cookie, ino),
            F::EntryInNothing { dir, cookie } => entry("entry-in-nothing", dir, cookie),
            F::EntryType { dir, cookie, ino } => leads("entry-type", dir, cookie, ino),
            F::EntryMisplaced { dir, cookie } => entry("entry-misplaced", dir, cookie),
            F::EntryTwice { dir, cookie } => entry("entry-twice", dir, cookie),
            F::DirectoryTwice { dir, cookie, ino } => leads("directory-twice", dir, cookie, ino),
            F::Links { ino, stored, found } => {
                Fact::counts("links", ("ino", ino), stored.into(), found.into())
            }
            F::Entries { dir, stored, found } => {
                Fact::counts("entries", ("dir", dir), stored, found)
            }
            F::NameBytes { dir, stored, found } => {
                Fact::counts("name-bytes", ("dir", dir), stored, found)
            }
            F::Parent { dir, stored, found } => Fact::counts("parent", ("dir", dir), stored, found),
            F::Unreachable { ino } => Fact::new("unreachable", [("ino", ino)]),
            F::Orphan { ino } => Fact::new("orphan", [("ino", ino)]),
            F::Xattrs { ino, stored, found } => {
                Fact::counts("xattrs", ("ino", ino), stored.into(), found.into())
            }
            F::XattrPiece { ino, cookie } => {
                Fact::new("xattr-piece", [("ino", ino), ("cookie", cookie)])
            }
            F::AclBroken { ino, cookie } => {
                Fact::new("acl-broken", [("ino", ino), ("cookie", cookie)])
            }
            F::Acls { ino, stored, found } => {
                Fact::counts("acls", ("ino", ino), stored.into(), found.into())
            }
            F::ContentsOfNothing { ino, unit } => contents("contents-of-nothing", ino, unit),
            F::ContentsBeyondEnd { ino, unit } => contents("contents-beyond-end", ino, unit),
            F::ContentsTwice { ino, unit } => contents("contents-twice", ino, unit),
            F::Units { ino, stored, found } => Fact::counts("units", ("ino", ino), stored, found),
            F::KeyMissing { ino, key } => Fact::new("key-missing", [("ino", ino), ("key", key)]),
            F::KeyOfNothing { key, ino } => {
                Fact::new("key-of-nothing", [("key", key), ("ino", ino)])
            }
            F::ContentsLost { ino, unit, units } => {
                Fact::new("contents-lost", [("ino", ino), ("unit", unit), ("units", units)])
            }
        }
    }
}

/// Of something that does not verify, or cannot be read.
impl From<&Error> for Fact {
    fn from(error: &Error) -> Fact {
        let object = match error {
            Error::Corrupt { object, .. } | Error::Io { object, .. } => *object,
            _ => Object::Store,
        };
        match object {
            Object::Superblock { place, slot } => {
                Fact::new("superblock", [("place", place.into()), ("slot", slot.into())])
            }
            Object::Node { unit } => Fact::new("node", [("unit", unit)]),
            Object::SpacePage { unit } => Fact::new("space-page", [("unit", unit)]),
            Object::Log { offset } => Fact::new("log", [("offset", offset)]),
            Object::Row { class } => Fact::new("row", [("class", class.into())]),
            Object::Key { id } => Fact::new("key", [("key", id)]),
            Object::Inode { ino } => Fact::new("inode", [("ino", ino)]),
            Object::File { ino, offset } => Fact::new("file", [("ino", ino), ("offset", offset)]),
            Object::Contents { unit } => Fact::new("contents", [("unit", unit)]),
            _ => Fact::new("store", []),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_name_what_they_count() {
        let fact = Fact::from(&Finding::Links { ino: 7, stored: 2, found: 1 });
        let numbers = vec![("ino", 7), ("stored", 2), ("found", 1)];
        assert_eq!(fact, Fact { kind: "links", numbers });
        let node = Error::corrupt(Object::Node { unit: 9 }, "x");
        assert_eq!(Fact::from(&node), Fact { kind: "node", numbers: vec![("unit", 9)] });
        let row = Finding::Row(Error::corrupt(Object::Inode { ino: 3 }, "x"));
        assert_eq!(Fact::from(&row), Fact { kind: "row", numbers: vec![("ino", 3)] });
    }
}
