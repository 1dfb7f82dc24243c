//! What a key service knows of the logs of its use: so a log that was removed, cut or exchanged is
//! told, and a new one is begun only by who opens the service.
//!
//! Each audited change notes how far its log was there for good, before the change's own record. A
//! log is known by its name, seen from the key service file: both can be moved together.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;

use super::LocalKms;
use super::bytes::Hex;
use super::document::{Body, Unverified};
use super::file;
use super::service::Draft;
use crate::keys::audit::Owner;
use crate::keys::{AuditAnchor, AuditDurability, AuditLog, BegunLog};

/// Most logs that are known. One that has the place of the log by default is always kept.
const MAX_LOGS: usize = 16;
/// The name of the log that has the key service file's name and this at its end.
const DEFAULT: &str = ".audit";

/// A log that the service knows.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogRecord {
    log: String,
    records: u64,
    bytes: u64,
    head: Hex<32>,
}

/// Which of two places in a log counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// The later: another process may know more of the log already.
    Newer,
    /// The one that is given: the log was begun anew.
    Anew,
}

impl LocalKms {
    /// Opens the log of this service's use at `log`. One that is not there is made, if the service
    /// never had one of that name. It gets the owner of the key service file where it has the place
    /// by default, that file's name with `.audit` at its end; elsewhere it stays whoever makes it
    /// where he may not give it away: who only reads that file can have a log of his own.
    ///
    /// # Errors
    /// [`Error::AuditLogMismatch`](crate::Error::AuditLogMismatch) where the log is not the one
    /// that the service knows: see [`LocalKms::begin_log`]. Those of [`AuditLog::open`].
    pub fn open_log(&self, log: &Path, durability: AuditDurability) -> Result<AuditLog> {
        let (name, body) = (name(self.path(), log), self.current()?);
        let like = self.path().metadata().map_err(|e| file::io_error("stat", e, self.path()))?;
        let owner = Owner { like: &like, required: name == DEFAULT };
        AuditLog::open_known(log, durability, owner, body.known_log(&name).as_ref())
    }

    /// Remembers how far a log is there for good, as every audited change does.
    ///
    /// # Errors
    /// Those of a change, and of reading the log.
    pub fn note_log(&self, log: &AuditLog) -> Result<()> {
        let (anchor, name) = (log.durable_end()?, name(self.path(), log.path()));
        self.change(|Draft { body, .. }| {
            body.note_log(&name, anchor, Note::Newer);
            Ok(())
        })
    }

    /// Begins a new log at `log`, in the place of one that is damaged, gone, not the one that the
    /// service knows, or long enough. What is there is kept beside it. The new log's first record
    /// tells for whom, in the embedder's words, and why it was begun, and what it continues.
    /// Programs that have the old one open fail to record, and have to open it again.
    ///
    /// # Errors
    /// Those of a change; `Io`, where the old log is still in its place.
    pub fn begin_log(&self, log: &Path, principal: Option<&str>, why: &str) -> Result<BegunLog> {
        let (name, body) = (name(self.path(), log), self.current()?);
        let like = self.path().metadata().map_err(|e| file::io_error("stat", e, self.path()))?;
        let known = body.known_log(&name);
        let begun = AuditLog::begin(log, &like, known.as_ref(), (principal, why))?;
        let anchor = begun.log.durable_end()?;
        self.change(|Draft { body, .. }| {
            body.note_log(&name, anchor, Note::Anew);
            Ok(())
        })?;
        Ok(begun)
    }

    /// What the key service file at `kms` claims to know of the log at `log`. Nothing proves it:
    /// that takes opening the service.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn claimed_log(kms: &Path, log: &Path) -> Result<Option<AuditAnchor>> {
        let kms = kms.canonicalize().map_err(|e| file::io_error("open", e, kms))?;
        let (_, bytes) = file::read(&kms)?;
        Ok(find(Unverified::parse(&bytes)?.logs(), &name(&kms, log)))
    }
}

impl Body {
    fn known_log(&self, name: &str) -> Option<AuditAnchor> {
        find(&self.logs, name)
    }

    /// Remembers a place in a log.
    pub(super) fn note_log(&mut self, name: &str, anchor: AuditAnchor, note: Note) {
        let AuditAnchor { records, bytes, head } = anchor;
        if records == 0 {
            return;
        }
        let fresh = LogRecord { log: name.to_owned(), records, bytes, head: Hex(head) };
        if let Some(known) = self.logs.iter_mut().find(|known| known.log == name) {
            if note == Note::Anew || known.records < records {
                *known = fresh;
            }
            return;
        }
        if self.logs.len() >= MAX_LOGS
            && let Some(oldest) = self.logs.iter().position(|known| known.log != DEFAULT)
        {
            self.logs.remove(oldest);
        }
        self.logs.push(fresh);
    }
}

fn find(logs: &[LogRecord], name: &str) -> Option<AuditAnchor> {
    let known = logs.iter().find(|known| known.log == name)?;
    Some(AuditAnchor { records: known.records, bytes: known.bytes, head: known.head.0 })
}

/// Whether no log is known twice, and not too many are.
pub(super) fn logs_are_well_formed(logs: &[LogRecord]) -> bool {
    let once = |at: usize| logs[at + 1..].iter().all(|other| other.log != logs[at].log);
    logs.len() <= MAX_LOGS && (0..logs.len()).all(once)
}

/// What a log is called in the key service file, whose path has no links.
pub(super) fn name(kms: &Path, log: &Path) -> String {
    let dir = log.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir: PathBuf = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let file = log.file_name().unwrap_or_default();
    if kms.parent() != Some(&*dir) {
        return dir.join(file).to_string_lossy().into_owned();
    }
    let mut default = kms.file_name().unwrap_or_default().to_owned();
    default.push(DEFAULT);
    match file == default {
        true => DEFAULT.to_owned(),
        false => format!("./{}", file.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logs_move_with_the_key_service_file() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let kms = real.join("kms");
        assert_eq!(name(&kms, &real.join("kms.audit")), ".audit");
        assert_eq!(
            name(&kms, &real.join("../").join(real.file_name().unwrap()).join("other")),
            "./other"
        );
        assert_eq!(name(&kms, Path::new("/none/kms.audit")), "/none/kms.audit");
    }

    #[test]
    fn the_log_by_default_is_never_forgotten() {
        let mut logs = Vec::new();
        let unlock: super::super::unlock::UnlockRecord =
            serde_json::from_value(serde_json::json!({
                "method": "key_file", "check": "00".repeat(32),
                "root": {
                    "nonce": "00".repeat(12), "tag": "00".repeat(16), "sealed": "00".repeat(32)
                }
            }))
            .unwrap();
        let mut body =
            Body { service: Hex([0; 16]), sequence: 1, unlock, keys: vec![], logs: vec![] };
        let anchor = |records| AuditAnchor { records, bytes: 9, head: [7; 32] };
        body.note_log(DEFAULT, anchor(5), Note::Newer);
        for n in 0..40 {
            body.note_log(&format!("/log{n}"), anchor(1), Note::Newer);
        }
        body.note_log(DEFAULT, anchor(4), Note::Newer);
        assert!(logs_are_well_formed(&body.logs) && body.logs.len() == MAX_LOGS);
        assert_eq!(body.known_log(DEFAULT), Some(anchor(5)), "an earlier place says nothing");
        body.note_log(DEFAULT, anchor(1), Note::Anew);
        assert_eq!(body.known_log(DEFAULT), Some(anchor(1)));
        logs.extend(body.logs.iter().take(1).cloned());
        logs.extend(body.logs.iter().take(1).cloned());
        assert!(!logs_are_well_formed(&logs));
    }
}
