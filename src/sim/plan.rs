//! What an operation must answer, and which states it must go through.

use std::ops::Range;

use super::lists::List;
use super::model::{Model, Node};
use super::operation::{Fill, On, Operation, SLOTS};
use crate::error::ErrorKind as Kind;
use crate::fs::{AclKind, Beyond, CreateMode, FileType, RenameMode, SetAttr, XattrMode};
use crate::limits::{MAX_INLINE_LEN, UNIT};

/// What an operation does: one change, and then pieces of contents, each of which may be the last
/// that a crash leaves.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub edit: Option<Edit>,
    /// The file that the pieces are of, where the change makes none.
    pub file: Option<u64>,
    /// Where `bytes` belong; zeros are written where there are none.
    pub start: u64,
    pub bytes: Option<Vec<u8>>,
    pub pieces: Vec<Range<u64>>,
    pub privileged: bool,
    /// The size that the file gets in the end, as a state of its own.
    pub size: Option<u64>,
}

/// One change, all of it at once.
#[derive(Debug)]
pub(super) enum Edit {
    Make {
        dir: u64,
        name: String,
        kind: FileType,
        mode: u32,
        rdev: u64,
        verifier: Option<[u8; 8]>,
        bytes: Vec<u8>,
    },
    /// A creation that finds a file.
    Find(u64),
    Link {
        ino: u64,
        dir: u64,
        name: String,
    },
    Remove {
        dir: u64,
        name: String,
    },
    Rename {
        from: (u64, String),
        to: (u64, String),
        mode: RenameMode,
        /// Whether something is left at the old name.
        whiteout: bool,
    },
    /// A change of contents that moves the times alone.
    Touch {
        ino: u64,
        privileged: bool,
    },
    Set {
        ino: u64,
        set: SetAttr,
    },
    SetValue {
        ino: u64,
        name: String,
        value: Fill,
    },
    DropValue {
        ino: u64,
        name: String,
    },
    SetList {
        ino: u64,
        kind: AclKind,
        list: Option<List>,
    },
    Open {
        ino: u64,
        slot: usize,
    },
    Close(usize),
    CloseAll,
}

type Answer = Result<Plan, Kind>;

impl Plan {
    /// Whether it may take several transactions.
    pub fn has_parts(&self) -> bool {
        !self.pieces.is_empty() || self.size.is_some()
    }
}

impl From<Edit> for Plan {
    fn from(edit: Edit) -> Plan {
        Plan { edit: Some(edit), ..Plan::default() }
    }
}

impl Model {
    /// What an operation does, or how it fails.
    pub(super) fn expect(&self, operation: &Operation) -> Answer {
        use Operation as O;
        match operation {
            O::Create { path, mode, how, contents } => self.create(path, *mode, *how, *contents),
            O::Mkdir { path, mode } => self.make_node(path, FileType::Directory, *mode, 0, vec![]),
            O::Symlink { path, target } => {
                self.make_node(path, FileType::Symlink, 0o777, 0, target.letters())
            }
            O::Mknod { path, kind, rdev } => {
                let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
                self.make_node(path, *kind, 0o600, if device { *rdev } else { 0 }, vec![])
            }
            O::Link { of, path } => self.link(of, path),
            O::Unlink { path } => self.unlink(path, false),
            O::Rmdir { path } => self.unlink(path, true),
            O::Rename { from, to, mode } => self.expect_rename(from, to, *mode, false),
            O::Whiteout { from, to, mode } => self.expect_rename(from, to, *mode, true),
            O::Write { file, at, bytes } => self.write(file, Some(*at), *bytes, false),
            O::PrivilegedWrite { file, at, bytes } => self.write(file, Some(*at), *bytes, true),
            O::Append { file, bytes } => self.write(file, None, *bytes, false),
            O::Truncate { file, size } => {
                self.set(file, SetAttr { size: Some(*size), ..SetAttr::default() })
            }
            O::PunchHole { file, at, len } => self.punch(file, *at, *len),
            O::ZeroRange { file, at, len, beyond } => self.zero(file, *at, *len, *beyond),
            O::Allocate { file, at, len, beyond } => self.allocate(file, *at, *len, *beyond),
            O::Durably(change) => self.expect(change),
            O::Commit { file } => self.file(file).map(|_| Plan::default()),
            O::SetAttr { of, set } => self.set(of, *set),
            O::SetXattr { of, name, value, mode } => self.set_xattr(of, name, *value, *mode),
            O::RemoveXattr { of, name } => {
                let Some(ino) = self.on(of)? else { return Ok(Plan::default()) };
                match self.nodes[&ino].xattrs.contains_key(name) {
                    true => Ok(Edit::DropValue { ino, name: name.clone() }.into()),
                    false => Err(Kind::NoAttribute),
                }
            }
            O::SetAcl { of, kind, list } => self.set_list(of, *kind, *list),
            O::Open { path, slot } => {
                Ok(Edit::Open { ino: self.find(path)?, slot: slot % SLOTS }.into())
            }
            O::Close { slot } => Ok(Edit::Close(slot % SLOTS).into()),
            O::Reopen => Ok(Edit::CloseAll.into()),
            O::Fsync { of } => self.on(of).map(|_| Plan::default()),
            O::Sync | O::Maintain | O::Checkpoint | O::Trim | O::DropCaches => Ok(Plan::default()),
        }
    }

    fn create(&self, path: &str, mode: u32, how: CreateMode, contents: Fill) -> Answer {
        let (dir, name) = self.parent(path)?;
        if let Some(ino) = self.entry(dir, &name)? {
            let node = &self.nodes[&ino];
            let taken = match how {
                CreateMode::Unchecked => node.seen.kind == FileType::Regular,
                CreateMode::Guarded => false,
                CreateMode::Exclusive(verifier) => node.verifier == Some(verifier),
            };
            return if taken { Ok(Edit::Find(ino).into()) } else { Err(Kind::Exists) };
        }
        let verifier = match how {
            CreateMode::Exclusive(verifier) => Some(verifier),
            _ => None,
        };
        let (bytes, kind) = (contents.bytes(), FileType::Regular);
        let small = bytes.len() <= MAX_INLINE_LEN;
        let (first, rest) = if small { (bytes, None) } else { (vec![], Some(bytes)) };
        let edit = Edit::Make { dir, name, kind, mode, rdev: 0, verifier, bytes: first };
        let pieces = rest.iter().flat_map(|rest| units(0..rest.len() as u64)).collect();
        Ok(Plan { edit: Some(edit), bytes: rest, pieces, ..Plan::default() })
    }

    fn make_node(
        &self,
        path: &str,
        kind: FileType,
        mode: u32,
        rdev: u64,
        bytes: Vec<u8>,
    ) -> Answer {
        let (dir, name) = self.parent(path)?;
        match self.entry(dir, &name)? {
            Some(_) => Err(Kind::Exists),
            None => Ok(Edit::Make { dir, name, kind, mode, rdev, verifier: None, bytes }.into()),
        }
    }

    fn link(&self, of: &On, path: &str) -> Answer {
        let Some(ino) = self.on(of)? else { return Ok(Plan::default()) };
        let (dir, name) = self.parent(path)?;
        let taken = self.entry(dir, &name)?.is_some();
        let node = &self.nodes[&ino];
        match (node.is_dir(), node.seen.nlink, taken) {
            (true, ..) => Err(Kind::IsDirectory),
            (_, 0, _) => Err(Kind::NotFound),
            (_, _, true) => Err(Kind::Exists),
            _ => Ok(Edit::Link { ino, dir, name }.into()),
        }
    }

    fn unlink(&self, path: &str, directory: bool) -> Answer {
        let (dir, name) = self.parent(path)?;
        let ino = self.entry(dir, &name)?.ok_or(Kind::NotFound)?;
        let node = &self.nodes[&ino];
        match (node.is_dir(), directory) {
            (true, false) => Err(Kind::IsDirectory),
            (false, true) => Err(Kind::NotDirectory),
            (true, true) if !node.entries.is_empty() => Err(Kind::NotEmpty),
            _ => Ok(Edit::Remove { dir, name }.into()),
        }
    }

    fn expect_rename(&self, from: &str, to: &str, mode: RenameMode, whiteout: bool) -> Answer {
        let (from, to) = (self.parent(from)?, self.parent(to)?);
        if whiteout && mode == RenameMode::Exchange {
            return Err(Kind::InvalidArgument);
        }
        let source = self.entry(from.0, &from.1)?.ok_or(Kind::NotFound)?;
        let target = self.entry(to.0, &to.1)?;
        let node = &self.nodes[&source];
        let other = target.map(|ino| &self.nodes[&ino]);
        let swaps = mode == RenameMode::Exchange;
        if from.0 != to.0 {
            let loops = |node: &Node, dir| node.is_dir() && self.is_below(dir, node.seen.ino);
            if loops(node, to.0) || other.is_some_and(|other| swaps && loops(other, from.0)) {
                return Err(Kind::Loop);
            }
        }
        match (other, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Kind::Exists),
            (None, RenameMode::Exchange) => return Err(Kind::NotFound),
            (Some(_), _) if target == Some(source) => return Ok(Plan::default()),
            (Some(other), RenameMode::Replace) => match (node.is_dir(), other.is_dir()) {
                (true, false) => return Err(Kind::NotDirectory),
                (false, true) => return Err(Kind::IsDirectory),
                (true, true) if !other.entries.is_empty() => return Err(Kind::NotEmpty),
                _ => {}
            },
            _ => {}
        }
        Ok(Edit::Rename { from, to, mode, whiteout }.into())
    }

    /// Whether `dir` is `ino` or below it.
    fn is_below(&self, mut dir: u64, ino: u64) -> bool {
        loop {
            match self.nodes.get(&dir) {
                _ if dir == ino => return true,
                Some(node) if node.parent != dir => dir = node.parent,
                _ => return false,
            }
        }
    }

    /// The regular file that an operation works on.
    fn file(&self, on: &On) -> Result<Option<&Node>, Kind> {
        let Some(ino) = self.on(on)? else { return Ok(None) };
        let node = &self.nodes[&ino];
        match node.seen.kind {
            FileType::Regular => Ok(Some(node)),
            FileType::Directory => Err(Kind::IsDirectory),
            _ => Err(Kind::InvalidArgument),
        }
    }

    fn write(&self, on: &On, at: Option<u64>, bytes: Fill, privileged: bool) -> Answer {
        let Some(node) = self.file(on)? else { return Ok(Plan::default()) };
        let start = at.unwrap_or(node.seen.size);
        let pieces = units(start..start + bytes.len as u64);
        let (file, bytes) = (Some(node.seen.ino), Some(bytes.bytes()));
        Ok(Plan { file, start, bytes, pieces, privileged, ..Plan::default() })
    }

    fn punch(&self, on: &On, at: u64, len: u64) -> Answer {
        let Some(node) = self.file(on)? else { return Ok(Plan::default()) };
        let end = at.saturating_add(len).min(node.seen.size);
        if at >= end {
            return Ok(Edit::Touch { ino: node.seen.ino, privileged: false }.into());
        }
        let pieces = units(at..end);
        Ok(Plan { file: Some(node.seen.ino), start: at, pieces, ..Plan::default() })
    }

    fn zero(&self, on: &On, at: u64, len: u64, beyond: Beyond) -> Answer {
        if len == 0 && self.on(on)?.is_some() {
            return Err(Kind::InvalidArgument);
        }
        let Some(node) = self.file(on)? else { return Ok(Plan::default()) };
        let grows = beyond == Beyond::Grow && at + len > node.seen.size;
        let (file, size) = (Some(node.seen.ino), grows.then_some(at + len));
        Ok(Plan { file, size, ..self.punch(on, at, len)? })
    }

    fn allocate(&self, on: &On, at: u64, len: u64, beyond: Beyond) -> Answer {
        if len == 0 && self.on(on)?.is_some() {
            return Err(Kind::InvalidArgument);
        }
        let Some(node) = self.file(on)? else { return Ok(Plan::default()) };
        let grown = if beyond == Beyond::Grow { at + len } else { 0 };
        let size = Some(grown.max(node.seen.size));
        Ok(Plan { file: Some(node.seen.ino), size, ..Plan::default() })
    }

    fn set(&self, on: &On, set: SetAttr) -> Answer {
        let Some(ino) = self.on(on)? else { return Ok(Plan::default()) };
        if set.size.is_some() {
            self.file(on)?;
        }
        let nothing = set == SetAttr::default();
        Ok(if nothing { Plan::default() } else { Edit::Set { ino, set }.into() })
    }

    fn set_list(&self, on: &On, kind: AclKind, list: Option<List>) -> Answer {
        let Some(ino) = self.on(on)? else { return Ok(Plan::default()) };
        let node = &self.nodes[&ino];
        match (kind, node.seen.kind, list) {
            (_, _, None) if node.list(kind).is_none() => Ok(Plan::default()),
            (_, _, None) => Ok(Edit::SetList { ino, kind, list }.into()),
            (AclKind::Access, FileType::Symlink, _) => Err(Kind::NotSupported),
            (AclKind::Access, ..) | (_, FileType::Directory, _) => {
                Ok(Edit::SetList { ino, kind, list }.into())
            }
            _ => Err(Kind::NotDirectory),
        }
    }

    fn set_xattr(&self, on: &On, name: &str, value: Fill, mode: XattrMode) -> Answer {
        let Some(ino) = self.on(on)? else { return Ok(Plan::default()) };
        match (self.nodes[&ino].xattrs.contains_key(name), mode) {
            (true, XattrMode::Create) => Err(Kind::Exists),
            (false, XattrMode::Replace) => Err(Kind::NoAttribute),
            _ => Ok(Edit::SetValue { ino, name: name.to_owned(), value }.into()),
        }
    }
}

/// A range of bytes, cut where units end.
fn units(range: Range<u64>) -> Vec<Range<u64>> {
    let unit = UNIT as u64;
    let (mut pieces, mut at) = (Vec::new(), range.start);
    while at < range.end {
        let end = ((at / unit + 1) * unit).min(range.end);
        pieces.push(at..end);
        at = end;
    }
    pieces
}
