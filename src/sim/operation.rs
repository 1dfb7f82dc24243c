//! Operations: one change of a file system each, as data.

use std::fmt;

use super::lists::List;
use crate::device::sim::Rng;
use crate::fs::{AclKind, Beyond, CreateMode, FileType, RenameMode, SetAttr, XattrMode};

/// How many inodes a caller of the kit can hold open at once.
pub const SLOTS: usize = 4;

/// One operation of a caller. It names what it works on by paths, or by what a slot holds open, so
/// it means something whatever happened before: where there is nothing it fails, as the model says
/// that it does. Its `Debug` form is the expression that makes it, for tests.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operation of the file system that has its name")]
pub enum Operation {
    Create {
        path: String,
        mode: u32,
        how: CreateMode,
        contents: Fill,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Symlink {
        path: String,
        target: Fill,
    },
    Mknod {
        path: String,
        kind: FileType,
        rdev: u64,
    },
    Link {
        of: On,
        path: String,
    },
    Unlink {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        mode: RenameMode,
    },
    /// A rename that leaves a whiteout at the old name.
    Whiteout {
        from: String,
        to: String,
        mode: RenameMode,
    },
    Write {
        file: On,
        at: u64,
        bytes: Fill,
    },
    /// A write of a caller that keeps set-ID bits.
    PrivilegedWrite {
        file: On,
        at: u64,
        bytes: Fill,
    },
    Append {
        file: On,
        bytes: Fill,
    },
    Truncate {
        file: On,
        size: u64,
    },
    PunchHole {
        file: On,
        at: u64,
        len: u64,
    },
    ZeroRange {
        file: On,
        at: u64,
        len: u64,
        beyond: Beyond,
    },
    Allocate {
        file: On,
        at: u64,
        len: u64,
        beyond: Beyond,
    },
    SetAttr {
        of: On,
        set: SetAttr,
    },
    SetXattr {
        of: On,
        name: String,
        value: Fill,
        mode: XattrMode,
    },
    RemoveXattr {
        of: On,
        name: String,
    },
    /// Sets or removes an access control list.
    SetAcl {
        of: On,
        kind: AclKind,
        list: Option<List>,
    },
    /// Opens into a slot; what the slot held is closed.
    Open {
        path: String,
        slot: usize,
    },
    Close {
        slot: usize,
    },
    /// A change that is durable when it returns.
    Durably(Box<Operation>),
    Commit {
        file: On,
    },
    Fsync {
        of: On,
    },
    Sync,
    Maintain,
    Checkpoint,
    Trim,
    DropCaches,
    /// Closes the store with everything durable, and opens it again.
    Reopen,
}

/// What an operation works on.
#[derive(Clone, PartialEq, Eq)]
pub enum On {
    /// What a path leads to.
    Path(String),
    /// What a slot holds open; nothing happens where it is empty.
    Slot(usize),
}

/// Bytes that follow from a seed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Which bytes.
    pub seed: u64,
    /// How many.
    pub len: usize,
}

/// What a path leads to.
pub fn at(path: &str) -> On {
    On::Path(path.to_owned())
}

/// What a slot holds open.
pub fn slot(slot: usize) -> On {
    On::Slot(slot)
}

/// Bytes that follow from a seed.
pub fn fill(seed: u64, len: usize) -> Fill {
    Fill { seed, len }
}

impl Fill {
    /// The bytes.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        Rng::of(self.seed, 0xf111).fill(&mut bytes);
        bytes
    }

    /// The bytes as letters: for link targets.
    pub fn letters(self) -> Vec<u8> {
        self.bytes().into_iter().map(|byte| b'a' + byte % 26).collect()
    }

    fn simpler(self) -> Vec<Fill> {
        let lens = [1, self.len / 4, self.len / 2, self.len.saturating_sub(4096)];
        let lens = lens.into_iter().filter(|len| (1..self.len).contains(len));
        lens.map(|len| Fill { len, ..self }).collect()
    }
}

impl Operation {
    /// Whether everything before it, and it, is durable once it returned.
    pub fn acknowledges(&self) -> bool {
        use Operation as O;
        matches!(
            self,
            O::Durably(_)
                | O::Commit { .. }
                | O::Fsync { .. }
                | O::Sync
                | O::Maintain
                | O::Checkpoint
                | O::Trim
                | O::Reopen
        )
    }

    /// The change that it makes, whether durably or not.
    pub(super) fn change(&self) -> &Operation {
        match self {
            Operation::Durably(change) => change.change(),
            other => other,
        }
    }

    /// The path of what it makes.
    pub(super) fn makes(&self) -> Option<&str> {
        use Operation as O;
        match self {
            O::Create { path, .. }
            | O::Mkdir { path, .. }
            | O::Symlink { path, .. }
            | O::Mknod { path, .. } => Some(path),
            O::Whiteout { from, .. } => Some(from),
            _ => None,
        }
    }

    /// Operations that are like it and smaller: for a list that is to be shrunk.
    pub fn simpler(&self) -> Vec<Operation> {
        use Operation as O;
        let mut found = Vec::new();
        match self {
            O::Create { path, mode, how, contents } => {
                let plain = (0o644, CreateMode::Guarded);
                let (path, fill) = (path.clone(), *contents);
                if (*mode, *how) != plain {
                    let (path, (mode, how)) = (path.clone(), plain);
                    found.push(O::Create { path, mode, how, contents: fill });
                }
                let fills = fill
                    .simpler()
                    .into_iter()
                    .chain((fill.len > 0).then_some(Fill { len: 0, ..fill }));
                found.extend(fills.map(|contents| O::Create {
                    path: path.clone(),
                    mode: *mode,
                    how: *how,
                    contents,
                }));
            }
            O::Symlink { path, target } => {
                let fills = target.simpler().into_iter();
                found.extend(fills.map(|target| O::Symlink { path: path.clone(), target }));
            }
            O::Write { file, at, bytes } => {
                let write = |at, bytes| O::Write { file: file.clone(), at, bytes };
                found.extend(bytes.simpler().into_iter().map(|bytes| write(*at, bytes)));
                found.extend(less(*at).map(|at| write(at, *bytes)));
            }
            O::Append { file, bytes } => {
                let fills = bytes.simpler().into_iter();
                found.extend(fills.map(|bytes| O::Append { file: file.clone(), bytes }));
            }
            O::Truncate { file, size } => {
                found.extend(less(*size).map(|size| O::Truncate { file: file.clone(), size }));
            }
            O::PunchHole { file, at, len } => {
                let punch = |at, len| O::PunchHole { file: file.clone(), at, len };
                found.extend(less(*len).map(|len| punch(*at, len)));
                found.extend(less(*at).map(|at| punch(at, *len)));
            }
            O::SetXattr { of, name, value, mode } => {
                found.extend(value.simpler().into_iter().map(|value| O::SetXattr {
                    of: of.clone(),
                    name: name.clone(),
                    value,
                    mode: *mode,
                }));
            }
            O::Durably(change) => {
                found.push((**change).clone());
                let simpler = change.simpler().into_iter();
                found.extend(simpler.map(|change| O::Durably(Box::new(change))));
            }
            _ => found.extend(self.plainer()),
        }
        found
    }

    /// The one operation that is like it and smaller.
    fn plainer(&self) -> Option<Operation> {
        use Operation as O;
        Some(match self {
            O::PrivilegedWrite { file, at, bytes } => {
                O::Write { file: file.clone(), at: *at, bytes: *bytes }
            }
            O::ZeroRange { file, at, len, .. } => {
                O::PunchHole { file: file.clone(), at: *at, len: *len }
            }
            O::SetAcl { of, kind, list: Some(list) } => {
                let smaller = list.named.map(|_| List { named: None, ..*list });
                O::SetAcl { of: of.clone(), kind: *kind, list: smaller }
            }
            O::Maintain | O::Checkpoint | O::Fsync { .. } | O::Commit { .. } => O::Sync,
            O::Reopen | O::Trim => O::Checkpoint,
            _ => return None,
        })
    }
}

/// Smaller numbers: zero, whole units, half.
fn less(number: u64) -> impl Iterator<Item = u64> {
    let smaller = [0, 4096, number / 2, number / 4096 * 4096];
    smaller.into_iter().filter(move |smaller| *smaller < number)
}

impl fmt::Debug for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            On::Path(path) => write!(f, "at({path:?})"),
            On::Slot(number) => write!(f, "slot({number})"),
        }
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fill({}, {})", self.seed, self.len)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Operation as O;
        write!(f, "Operation::")?;
        match self {
            O::Create { path, mode, how, contents } => {
                write!(f, "Create {{ path: {path:?}.into(), mode: {mode:#o}, ")?;
                write!(f, "how: CreateMode::{how:?}, contents: {contents:?} }}")
            }
            O::Mkdir { path, mode } => {
                write!(f, "Mkdir {{ path: {path:?}.into(), mode: {mode:#o} }}")
            }
            O::Symlink { path, target } => {
                write!(f, "Symlink {{ path: {path:?}.into(), target: {target:?} }}")
            }
            O::Mknod { path, kind, rdev } => {
                let path = format_args!("path: {path:?}.into()");
                write!(f, "Mknod {{ {path}, kind: FileType::{kind:?}, rdev: {rdev} }}")
            }
            O::Link { of, path } => write!(f, "Link {{ of: {of:?}, path: {path:?}.into() }}"),
            O::Unlink { path } => write!(f, "Unlink {{ path: {path:?}.into() }}"),
            O::Rmdir { path } => write!(f, "Rmdir {{ path: {path:?}.into() }}"),
            O::Rename { from, to, mode } | O::Whiteout { from, to, mode } => {
                let verb = if matches!(self, O::Rename { .. }) { "Rename" } else { "Whiteout" };
                write!(f, "{verb} {{ from: {from:?}.into(), to: {to:?}.into(), ")?;
                write!(f, "mode: RenameMode::{mode:?} }}")
            }
            O::SetXattr { of, name, value, mode } => {
                write!(f, "SetXattr {{ of: {of:?}, name: {name:?}.into(), ")?;
                write!(f, "value: {value:?}, mode: XattrMode::{mode:?} }}")
            }
            O::SetAttr { of, set } => {
                write!(f, "SetAttr {{ of: {of:?}, set: ")?;
                write_set(f, set)?;
                write!(f, " }}")
            }
            _ => self.write_rest(f),
        }
    }
}

impl Operation {
    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Operation as O;
        match self {
            O::Write { file, at, bytes } => {
                write!(f, "Write {{ file: {file:?}, at: {at}, bytes: {bytes:?} }}")
            }
            O::PrivilegedWrite { file, at, bytes } => {
                write!(f, "PrivilegedWrite {{ file: {file:?}, at: {at}, bytes: {bytes:?} }}")
            }
            O::Append { file, bytes } => {
                write!(f, "Append {{ file: {file:?}, bytes: {bytes:?} }}")
            }
            O::Truncate { file, size } => {
                write!(f, "Truncate {{ file: {file:?}, size: {size} }}")
            }
            O::PunchHole { file, at, len } => {
                write!(f, "PunchHole {{ file: {file:?}, at: {at}, len: {len} }}")
            }
            O::ZeroRange { file, at, len, beyond } => {
                write!(f, "ZeroRange {{ file: {file:?}, at: {at}, len: {len}, ")?;
                write!(f, "beyond: Beyond::{beyond:?} }}")
            }
            O::Allocate { file, at, len, beyond } => {
                write!(f, "Allocate {{ file: {file:?}, at: {at}, len: {len}, ")?;
                write!(f, "beyond: Beyond::{beyond:?} }}")
            }
            O::Durably(change) => write!(f, "Durably({change:?}.into())"),
            O::SetAcl { of, kind, list } => {
                write!(f, "SetAcl {{ of: {of:?}, kind: AclKind::{kind:?}, list: {list:?} }}")
            }
            O::RemoveXattr { of, name } => {
                write!(f, "RemoveXattr {{ of: {of:?}, name: {name:?}.into() }}")
            }
            O::Commit { file } => write!(f, "Commit {{ file: {file:?} }}"),
            O::Open { path, slot } => {
                write!(f, "Open {{ path: {path:?}.into(), slot: {slot} }}")
            }
            O::Close { slot } => write!(f, "Close {{ slot: {slot} }}"),
            O::Fsync { of } => write!(f, "Fsync {{ of: {of:?} }}"),
            O::Maintain => write!(f, "Maintain"),
            O::Checkpoint => write!(f, "Checkpoint"),
            O::Trim => write!(f, "Trim"),
            O::DropCaches => write!(f, "DropCaches"),
            O::Reopen => write!(f, "Reopen"),
            _ => write!(f, "Sync"),
        }
    }
}

/// Writes what of it is set.
fn write_set(f: &mut fmt::Formatter<'_>, set: &SetAttr) -> fmt::Result {
    write!(f, "SetAttr {{ ")?;
    if let Some(mode) = set.mode {
        write!(f, "mode: Some({mode:#o}), ")?;
    }
    for (name, value) in [("uid", set.uid), ("gid", set.gid)] {
        if let Some(value) = value {
            write!(f, "{name}: Some({value}), ")?;
        }
    }
    if let Some(size) = set.size {
        write!(f, "size: Some({size}), ")?;
    }
    for (name, time) in [("atime", set.atime), ("mtime", set.mtime)] {
        match time {
            None => {}
            Some(crate::fs::SetTime::Now) => write!(f, "{name}: Some(SetTime::Now), ")?,
            Some(crate::fs::SetTime::At(time)) => {
                write!(f, "{name}: Some(SetTime::At({time:?})), ")?
            }
        }
    }
    write!(f, "..SetAttr::default() }}")
}
