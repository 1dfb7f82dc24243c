//! L3: keys for people: the providers that hold the top keys, and the log of their use.
//!
//! A store asks a [`KeyProvider`] to wrap and unwrap the keys of its two domains, always under an
//! [`EncryptionContext`], and keeps only [`WrappedKey`]s. [`LocalKms`] is a provider in one file,
//! for those who have no key service; [`Audited`] records what any provider is asked.

#[cfg_attr(
    not(feature = "local-kms"),
    expect(dead_code, reason = "the key service in a file begins logs and keeps rights")
)]
mod audit;
mod clock;
mod context;
mod description;
#[cfg_attr(
    not(feature = "local-kms"),
    expect(dead_code, reason = "the key service in a file keeps rights")
)]
mod disk;
mod domain;
mod hex;
#[cfg(feature = "local-kms")]
mod local;
mod provider;
mod wrapped;

pub use crate::crypto::Domain;
pub use audit::{
    AuditAnchor, AuditDurability, AuditEvent, AuditLog, AuditOp, AuditPolicy, AuditRecord,
    AuditSink, AuditSummary, Audited, BegunLog, ContinuedLog, MemoryAudit,
};
pub use clock::{Clock, SystemClock};
pub use context::{CONTEXT_DOMAIN, CONTEXT_FILESYSTEM_ID, EncryptionContext, RESERVED_PREFIX};
pub use description::{KeyDescription, KeyState};
pub(crate) use domain::{Kek, newest};
#[cfg(feature = "local-kms")]
pub(crate) use local::rename_spare;
#[cfg(feature = "local-kms")]
pub use local::{Argon2Cost, LocalKms, LocalOptions, Passphrase, Unlock};
pub use provider::KeyProvider;
pub use wrapped::WrappedKey;
