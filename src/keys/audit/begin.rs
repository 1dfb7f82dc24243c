//! A new log in the place of one that is damaged, gone or long enough: the old one is kept aside,
//! and the first record of the new one tells which it continues, and why.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::{Error, Result};

use super::log::{Owner, create_new, io_error};
use super::{AuditAnchor, AuditDurability, AuditEvent, AuditLog, AuditOp, ContinuedLog};
use crate::keys::{Clock, SystemClock, disk, hex};

/// How many names are tried for the old log.
const TRIES: u32 = 1000;

/// A log that was begun, open.
#[non_exhaustive]
pub struct BegunLog {
    /// The new log.
    pub log: AuditLog,
    /// Where the old one was put, where there was one.
    pub kept: Option<PathBuf>,
}

impl AuditLog {
    /// Begins a log at `path`: what stands there is put aside, under the same name with `.old-` and
    /// the time at its end. A failure puts it back.
    pub(in crate::keys) fn begin(
        path: &Path,
        like: &Metadata,
        known: Option<&AuditAnchor>,
        (principal, reason): (Option<&str>, &str),
    ) -> Result<BegunLog> {
        let continues = describe(path, known, reason);
        let kept = put_aside(path)?;
        let file = kept.as_deref().and_then(Path::file_name);
        let file = file.map(|name| name.to_string_lossy().into_owned());
        let begun = Self::begin_new(path, like, principal, ContinuedLog { file, ..continues });
        match begun {
            Ok(log) => Ok(BegunLog { log, kept }),
            Err(error) => {
                if let Some(kept) = kept {
                    let _ = fs::rename(kept, path);
                }
                Err(error)
            }
        }
    }

    fn begin_new(
        path: &Path,
        like: &Metadata,
        principal: Option<&str>,
        continues: ContinuedLog,
    ) -> Result<AuditLog> {
        let file = create_new(path, Some(Owner { like, required: false }))?;
        let (durability, clock) = (AuditDurability::EachRecord, Arc::new(SystemClock));
        let log = AuditLog::of_file(file, path, None, durability, clock);
        let event = AuditEvent { principal, ..AuditEvent::new(AuditOp::BeginLog, "efscrypt", "") };
        let begun = log.and_then(|log| log.begin_chain(&event, continues).map(|()| log));
        begun.inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
    }
}

/// What is known of the log that ends.
fn describe(path: &Path, known: Option<&AuditAnchor>, reason: &str) -> ContinuedLog {
    let summary = match known {
        Some(known) => AuditLog::verify_known(path, known),
        None => AuditLog::verify(path),
    };
    let state = match (&summary, path.symlink_metadata()) {
        (Ok(_), _) => "whole",
        (_, Err(_)) => "missing",
        (Err(Error::AuditLogMismatch(_)), _) => "other",
        _ => "damaged",
    };
    let (records, head) = match (summary, known) {
        (Ok(summary), _) => (summary.records, summary.head),
        (_, Some(known)) => (known.records, hex::encode(&known.head)),
        _ => (0, hex::encode(&[0; 32])),
    };
    ContinuedLog { file: None, state: state.to_owned(), records, head, reason: reason.to_owned() }
}

/// Gives what stands at `path` a name of its own beside it, durably; `None` where nothing does.
fn put_aside(path: &Path) -> Result<Option<PathBuf>> {
    let failed = |e| io_error("rename", e);
    let Ok(about) = path.symlink_metadata() else { return Ok(None) };
    if about.is_dir() {
        return Err(Error::IsDirectory);
    }
    let now = SystemClock.now();
    for n in 0..TRIES {
        let mut name: OsString = path.as_os_str().to_owned();
        name.push(if n == 0 { format!(".old-{now}") } else { format!(".old-{now}-{n}") });
        let kept = PathBuf::from(name);
        let renamed = match renameat_with(CWD, path, CWD, &kept, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => continue,
            // File systems without this kind of rename.
            Err(rustix::io::Errno::INVAL) if kept.symlink_metadata().is_err() => {
                fs::rename(path, &kept)
            }
            renamed => renamed.map_err(Into::into),
        };
        renamed.and_then(|()| disk::sync_parent(path)).map_err(failed)?;
        return Ok(Some(kept));
    }
    Err(failed(std::io::Error::other("no name is free for the old log")))
}
