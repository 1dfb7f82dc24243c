//! L9: check: a walk over everything that a store holds, which reports what does not fit together.
//!
//! The structure is the engine's: every copy of every node verifies, and every unit in use has
//! exactly one owner. The meaning is checked here: names lead to inodes, link counts are right,
//! every inode is reached from the root directory, contents lie within their file and have keys.
//! No contents are decrypted: a check needs no DATA key.
//!
//! [`check`] looks at a mounted file system and changes nothing; [`check_keyless`] at a device,
//! without any key; [`Repair`] works out what can be made of a damaged store, which need not open,
//! and writes it in one commit.

mod census;
mod fact;
mod finding;
mod keyless;
mod mend;
mod note;
mod parts;
mod repair;

pub use fact::Fact;
pub use finding::{CheckReport, Finding};
pub use keyless::{KeylessFinding, KeylessKey, KeylessReport, check_keyless};

pub use note::{Mending, Note};
pub use repair::{Damage, Repair, RepairOptions, RepairReport};

use crate::error::Result;
use crate::fs::FileSystem;

/// How a check goes about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckOptions {
    /// About how many bytes of memory the check takes beside the cache of the store, 1 MiB at
    /// least; `None` takes what it needs. What does not fit is checked in parts, each of which
    /// reads all metadata again; then 16 bytes for each directory come on top.
    pub memory: Option<usize>,
}

impl CheckOptions {
    /// The default with a bound for memory, bytes.
    pub fn within(memory: usize) -> CheckOptions {
        CheckOptions { memory: Some(memory) }
    }
}

/// Checks a mounted file system. Expects that nobody changes anything meanwhile; changes nothing
/// itself in a store that was opened read-only, and writes a checkpoint first in another. Takes
/// about 250 bytes of memory for each inode; [`check_with`] can do with less.
///
/// # Errors
/// Those that keep the check from going on. What it finds wrong is no error but a finding.
pub fn check(fs: &FileSystem) -> Result<CheckReport> {
    check_with(fs, CheckOptions::default())
}

/// As [`check`], in as much memory as `options` say.
///
/// # Errors
/// Those of [`check`].
pub fn check_with(fs: &FileSystem, options: CheckOptions) -> Result<CheckReport> {
    let memory = options.memory.map_or(usize::MAX, |bytes| bytes.max(1 << 20));
    let mut report = parts::check(fs, memory)?;
    if let Some((have, need)) = fs.engine().cut()? {
        report.findings.insert(0, Finding::Truncated { have, need });
    }
    Ok(report)
}
