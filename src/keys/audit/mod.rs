//! The log of key uses: one record for each call to a provider, chained by hashes.
//!
//! [`Audited`] wraps a provider and hands an [`AuditEvent`] for every call, failed ones included,
//! to an [`AuditSink`]: [`AuditLog`] appends [`AuditRecord`]s to a file, [`MemoryAudit`] keeps
//! them for tests, and an embedder may bring its own. No record holds key bytes.

mod anchor;
mod audited;
mod begin;
mod event;
mod log;
mod memory;
mod record;
mod reserve;
#[cfg(test)]
mod tests;

pub use anchor::{AuditAnchor, ContinuedLog};
pub use audited::{AuditPolicy, Audited};
pub use begin::BegunLog;
pub use event::{AuditEvent, AuditOp, AuditSink};
#[cfg(feature = "local-kms")]
pub(super) use log::Owner;
pub use log::{AuditDurability, AuditLog, AuditSummary};
pub use memory::MemoryAudit;
pub use record::AuditRecord;
