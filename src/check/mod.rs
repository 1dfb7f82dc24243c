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
mod repair;

pub use fact::Fact;
pub use finding::{CheckReport, Finding};
pub use keyless::{KeylessFinding, KeylessKey, KeylessReport, check_keyless};

pub use note::{Mending, Note};
pub use repair::{Damage, Repair, RepairOptions, RepairReport};

use crate::error::Result;
use crate::fs::FileSystem;
use census::Census;

/// Checks a mounted file system. Expects that nobody changes anything meanwhile; changes nothing
/// itself in a store that was opened read-only, and writes a checkpoint first in another. Takes
/// about 300 bytes of memory for each inode.
///
/// # Errors
/// Those that keep the check from going on. What it finds wrong is no error but a finding.
pub fn check(fs: &FileSystem) -> Result<CheckReport> {
    let mut census = Census::new(fs.buckets()?);
    let structure = fs.engine().check_structure(|tree, key, value, own| {
        census.row(tree, key, value, own);
    })?;
    let mut report = census.report(structure);
    if let Some((have, need)) = fs.engine().cut()? {
        report.findings.insert(0, Finding::Truncated { have, need });
    }
    Ok(report)
}
