//! What a key service remembers of its log: one that is gone, cut or exchanged is noticed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Object, Result};
use crate::limits::MAX_KEY_ID_LEN;

use super::record::{AuditRecord, MAX_LINE};

/// A place in a log: the records up to it are there for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditAnchor {
    /// Records up to here.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Hash of the last of them.
    pub head: [u8; 32],
}

impl AuditAnchor {
    /// Whether a log holds this place.
    ///
    /// # Errors
    /// `AuditLogMismatch` where it does not; `Io`.
    pub(super) fn check(&self, log: &mut File) -> Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let cut = Error::AuditLogMismatch("records at its end are gone");
        let other = Error::AuditLogMismatch("other records stand in the place of those");
        let io_error = |e| Error::io("read", Object::AuditLog, e);
        if log.metadata().map_err(io_error)?.len() < self.bytes {
            return Err(cut);
        }
        let start = self.bytes.saturating_sub(MAX_LINE as u64 + 1);
        log.seek(SeekFrom::Start(start)).map_err(io_error)?;
        let mut text = vec![0; (self.bytes - start) as usize];
        match log.read_exact(&mut text) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(cut),
            read => read.map_err(io_error)?,
        }
        let line = text.strip_suffix(b"\n").and_then(|text| text.rsplit(|b| *b == b'\n').next());
        match line.map(AuditRecord::parse) {
            Some(Ok((_, head))) if (head.next_seq, head.hash) == (self.records, self.head) => {
                Ok(())
            }
            _ => Err(other),
        }
    }
}

/// What the first record of a log says about the log that it continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContinuedLog {
    /// Where the file was put: its name in the same directory. Absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `whole`, `damaged`, `missing`, or `other`: not the one that the key service knew.
    pub state: String,
    /// Records that it had: of a whole log its own, else those that the key service knew.
    pub records: u64,
    /// Hash of the last of them, 64 hexadecimal digits.
    pub head: String,
    /// Why a new log was begun, in words of whoever did it.
    pub reason: String,
}

impl ContinuedLog {
    /// With the words cut to what a record has room for.
    pub(super) fn bounded(mut self) -> Self {
        for text in self.file.iter_mut().chain([&mut self.reason]) {
            text.truncate(text.floor_char_boundary(MAX_KEY_ID_LEN));
        }
        self
    }
}
