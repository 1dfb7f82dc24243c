//! A provider whose every call is recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::secret::Secret;

use super::{AuditAnchor, AuditEvent, AuditOp, AuditSink};
use crate::keys::{EncryptionContext, KeyDescription, KeyProvider, WrappedKey};

/// What happens to a call that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditPolicy {
    /// It fails with the sink's error and its result is destroyed: no use without a record.
    #[default]
    FailClosed,
    /// It succeeds and is counted in [`Audited::lost`]: availability before evidence.
    FailOpen,
}

/// A provider whose every call leaves exactly one record, whether it succeeds or fails.
///
/// Clones share the sink and the count of lost records; they differ in what
/// [`Audited::with_principal`] puts into the records.
pub struct Audited<P> {
    inner: P,
    sink: Arc<dyn AuditSink>,
    policy: AuditPolicy,
    principal: Option<Arc<str>>,
    lost: Arc<AtomicU64>,
}

impl<P> Audited<P> {
    /// Records the calls to `inner` in `sink`.
    pub fn new(inner: P, sink: Arc<dyn AuditSink>, policy: AuditPolicy) -> Self {
        let lost = Arc::new(AtomicU64::new(0));
        Audited { inner, sink, policy, principal: None, lost }
    }

    /// Names, in the embedder's words, for whom calls through this value are made.
    pub fn with_principal(self, principal: &str) -> Self {
        Audited { principal: Some(principal.into()), ..self }
    }

    /// The provider itself. Calls made on it directly leave no record.
    pub fn unaudited(&self) -> &P {
        &self.inner
    }

    /// Events that the sink did not take, since this provider was wrapped.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Where the sink keeps its records; `None` where it does not say, or fails to and need not.
    pub(crate) fn anchor(&self) -> Result<Option<(PathBuf, AuditAnchor)>> {
        match (self.sink.anchor(), self.policy) {
            (Err(_), AuditPolicy::FailOpen) => Ok(None),
            (anchor, _) => anchor,
        }
    }

    /// Records how a call ended, then lets its result out, or not, as the policy says.
    pub(crate) fn settle<R>(
        &self,
        op: AuditOp,
        provider: &str,
        key: &str,
        context: Option<&EncryptionContext>,
        result: Result<R>,
    ) -> Result<R> {
        self.settle_event(AuditEvent { context, ..AuditEvent::new(op, provider, key) }, result)
    }

    /// As [`Audited::settle`], of an event whose principal and result are filled in here.
    pub(crate) fn settle_event<R>(&self, event: AuditEvent<'_>, result: Result<R>) -> Result<R> {
        let outcome = result.as_ref().map(|_| ()).map_err(|e| e.kind());
        let recorded = self.record(AuditEvent { result: outcome, ..event });
        // Where the call failed as well, its own reason is the one to act upon.
        result.and_then(|done| recorded.map(|()| done))
    }

    /// Records an event whose principal is filled in here. That it was not recorded is counted,
    /// and an error where the policy says so.
    pub(crate) fn record(&self, event: AuditEvent<'_>) -> Result<()> {
        let principal = self.principal.as_deref();
        let Err(unrecorded) = self.sink.record(&AuditEvent { principal, ..event }) else {
            return Ok(());
        };
        self.lost.fetch_add(1, Ordering::Relaxed);
        match self.policy {
            AuditPolicy::FailClosed => Err(unrecorded),
            AuditPolicy::FailOpen => Ok(()),
        }
    }
}

impl<P: Clone> Clone for Audited<P> {
    fn clone(&self) -> Self {
        Audited {
            inner: self.inner.clone(),
            sink: Arc::clone(&self.sink),
            policy: self.policy,
            principal: self.principal.clone(),
            lost: Arc::clone(&self.lost),
        }
    }
}

impl<P: KeyProvider> KeyProvider for Audited<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let result = self.inner.generate(key, context);
        let id = result.as_ref().map_or(key, |(_, wrapped)| wrapped.key_id()).to_owned();
        self.settle(AuditOp::Generate, self.name(), &id, Some(context), result)
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        let result = self.inner.wrap(key, context, secret);
        let id = result.as_ref().map_or(key, WrappedKey::key_id).to_owned();
        self.settle(AuditOp::Wrap, self.name(), &id, Some(context), result)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        let result = self.inner.unwrap(wrapped, context);
        self.settle(AuditOp::Unwrap, self.name(), wrapped.key_id(), Some(context), result)
    }

    /// One record, under the new key's id where it succeeds, else under the name asked for.
    fn rewrap(
        &self,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
        new_key: &str,
    ) -> Result<WrappedKey> {
        let result = self.inner.rewrap(wrapped, context, new_key);
        let id = result.as_ref().map_or(new_key, WrappedKey::key_id).to_owned();
        self.settle(AuditOp::Rewrap, self.name(), &id, Some(context), result)
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        let result = self.inner.describe(key);
        let id = result.as_ref().map_or(key, |d| &d.id).to_owned();
        self.settle(AuditOp::Describe, self.name(), &id, None, result)
    }
}
