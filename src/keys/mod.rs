//! L3: keys for people: the providers that hold the top keys, and the log of their use.
//!
//! A store asks a [`KeyProvider`] to wrap and unwrap the keys of its two domains, always under an
//! [`EncryptionContext`], and keeps only [`WrappedKey`]s. [`Audited`] records what a
//! provider is asked.

mod audit;
mod clock;
mod context;
mod description;
mod disk;
mod hex;
mod provider;
mod wrapped;

pub use crate::crypto::Domain;
pub use audit::{
    AuditDurability, AuditEvent, AuditLog, AuditOp, AuditPolicy, AuditRecord, AuditSink,
    AuditSummary, Audited, MemoryAudit,
};
pub use clock::{Clock, SystemClock};
pub use context::{CONTEXT_DOMAIN, CONTEXT_FILESYSTEM_ID, EncryptionContext, RESERVED_PREFIX};
pub use description::{KeyDescription, KeyState};
pub use provider::KeyProvider;
pub use wrapped::WrappedKey;
