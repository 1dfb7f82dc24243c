//! A sink that keeps records in memory: for tests, and for embedders that ship them elsewhere.

use parking_lot::Mutex;

use crate::error::{Error, Result};

use super::record::Head;
use super::{AuditEvent, AuditRecord, AuditSink};
use crate::keys::{Clock, SystemClock};

/// Records in memory, chained as in a log. Grows without bound; [`MemoryAudit::take`] empties it.
pub struct MemoryAudit {
    chain: Mutex<(Head, Vec<AuditRecord>)>,
}

impl MemoryAudit {
    /// An empty sink.
    pub fn new() -> Self {
        MemoryAudit { chain: Mutex::new((Head::START, Vec::new())) }
    }

    /// The records so far, which leave the sink; the chain goes on.
    pub fn take(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut self.chain.lock().1)
    }
}

impl Default for MemoryAudit {
    fn default() -> Self {
        MemoryAudit::new()
    }
}

impl AuditSink for MemoryAudit {
    fn record(&self, event: &AuditEvent<'_>) -> Result<()> {
        let mut chain = self.chain.lock();
        let mut record = AuditRecord::new(event, chain.0, SystemClock.now());
        let (_, head) =
            record.seal().map_err(|_| Error::Internal("an audit record has no JSON form"))?;
        chain.0 = head;
        chain.1.push(record);
        Ok(())
    }
}
