//! What happened to a key, as it is handed to a sink.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};

use super::AuditAnchor;
use crate::keys::EncryptionContext;

/// What was asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the method of the same name; as_str documents the words")]
pub enum AuditOp {
    Generate,
    Wrap,
    Unwrap,
    Rewrap,
    Describe,
    CreateKey,
    SetAlias,
    /// Also of a key that lost an alias because another key got it.
    DeleteAlias,
    Enable,
    Disable,
    ScheduleDeletion,
    CancelDeletion,
    Rotate,
    DestroyExpired,
    /// A key whose date of deletion had come was destroyed, by whatever change came first.
    DestroyKey,
    ChangeUnlock,
    /// A key service was made.
    Init,
    /// A key service was opened. Recorded where that failed.
    Open,
    /// A log was opened whose last record a crash had cut, and the cut bytes were removed.
    RecoverTail,
    /// Wrapped keys of a store were put back from a backup of its header, against its refusal:
    /// those that are there may be newer.
    RestoreHeader,
    /// A log was begun in the place of another one, or of one that is gone.
    BeginLog,
}

impl AuditOp {
    /// The word in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditOp::Generate => "generate",
            AuditOp::Wrap => "wrap",
            AuditOp::Unwrap => "unwrap",
            AuditOp::Rewrap => "rewrap",
            AuditOp::Describe => "describe",
            AuditOp::CreateKey => "create-key",
            AuditOp::SetAlias => "set-alias",
            AuditOp::DeleteAlias => "delete-alias",
            AuditOp::Enable => "enable",
            AuditOp::Disable => "disable",
            AuditOp::ScheduleDeletion => "schedule-deletion",
            AuditOp::CancelDeletion => "cancel-deletion",
            AuditOp::Rotate => "rotate",
            AuditOp::DestroyExpired => "destroy-expired",
            AuditOp::DestroyKey => "destroy-key",
            AuditOp::Init => "init",
            AuditOp::Open => "open",
            AuditOp::ChangeUnlock => "change-unlock",
            AuditOp::RecoverTail => "recover-tail",
            AuditOp::RestoreHeader => "restore-header",
            AuditOp::BeginLog => "begin-log",
        }
    }
}

/// One use of a key. The sink adds the time, the number and the chain.
#[derive(Debug, Clone, Copy)]
pub struct AuditEvent<'a> {
    /// What was asked.
    pub op: AuditOp,
    /// The provider's name.
    pub provider: &'a str,
    /// Id of the provider key where the call made it known, else the name that was asked for.
    pub key: &'a str,
    /// The context of the call, where it had one.
    pub context: Option<&'a EncryptionContext>,
    /// The alias that the call gave or took, where it did.
    pub alias: Option<&'a str>,
    /// For whom the call was made, in the embedder's words, e.g. `uid 1000`.
    pub principal: Option<&'a str>,
    /// How it ended.
    pub result: std::result::Result<(), ErrorKind>,
}

impl<'a> AuditEvent<'a> {
    /// A success without a context, an alias or a principal.
    pub fn new(op: AuditOp, provider: &'a str, key: &'a str) -> Self {
        AuditEvent {
            op,
            provider,
            key,
            context: None,
            alias: None,
            principal: None,
            result: Ok(()),
        }
    }
}

/// Where events go.
///
/// Called from many threads at once, on the thread of the call it records, before that call
/// returns. An error means that the event is not recorded for certain; whether the call then
/// fails is the [`AuditPolicy`](super::AuditPolicy) of the [`Audited`](super::Audited).
pub trait AuditSink: Send + Sync {
    /// Records one event.
    fn record(&self, event: &AuditEvent<'_>) -> Result<()>;

    /// Where the records are kept, and up to which one they are there for good, for a key service
    /// that remembers it to notice a log that is gone. `None` for a sink without such a place.
    fn anchor(&self) -> Result<Option<(PathBuf, AuditAnchor)>> {
        Ok(None)
    }
}

/// A shared sink is a sink.
impl<S: AuditSink + ?Sized> AuditSink for Arc<S> {
    fn record(&self, event: &AuditEvent<'_>) -> Result<()> {
        (**self).record(event)
    }

    fn anchor(&self) -> Result<Option<(PathBuf, AuditAnchor)>> {
        (**self).anchor()
    }
}
