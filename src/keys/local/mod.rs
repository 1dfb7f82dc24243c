//! `LocalKms`: a small key service in one file.
//!
//! Keys have random ids, aliases, a state (enabled, disabled, pending deletion) and versions:
//! rotation adds one, and old ones are kept for unwrap. A passphrase or a key file opens the
//! file. Every process that has it open sees a change before its next call; changes are atomic,
//! durable and serial. What the file cannot prove is its age: who can put back an older copy
//! brings back the states in it, which a running process notices and a starting one cannot.

mod audited;
mod blob;
mod bytes;
mod cost;
mod document;
mod effect;
mod file;
mod key;
mod keyfile;
mod logs;
mod passphrase;
mod provider;
mod sealed;
mod service;
mod spare;
mod unlock;

pub use cost::Argon2Cost;
pub use passphrase::Passphrase;
pub use service::{LocalKms, LocalOptions};
pub(crate) use spare::rename as rename_spare;
pub use unlock::Unlock;

/// The provider's name in wrapped keys and audit records.
const PROVIDER: &str = "local";
