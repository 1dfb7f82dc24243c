//! The administration of a key service, recorded: each call of [`LocalKms`] that changes it, with
//! one record, whether it succeeds or fails.
//!
//! A record tells what was done after it was done: with [`AuditPolicy::FailClosed`] a change that
//! could not be recorded is reported as failed, but stands.
//!
//! [`AuditPolicy::FailClosed`]: crate::keys::AuditPolicy::FailClosed

use crate::error::Result;

use super::{LocalKms, PROVIDER, Unlock};
use crate::keys::{AuditOp, Audited, KeyDescription};

impl Audited<LocalKms> {
    /// [`LocalKms::create_key`], recorded.
    pub fn create_key(&self, alias: Option<&str>) -> Result<KeyDescription> {
        let result = self.unaudited().create_key(alias);
        self.settle_key(AuditOp::CreateKey, alias.unwrap_or_default(), result)
    }

    /// [`LocalKms::set_alias`], recorded.
    pub fn set_alias(&self, alias: &str, key: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::SetAlias, key, self.unaudited().set_alias(alias, key))
    }

    /// [`LocalKms::delete_alias`], recorded.
    pub fn delete_alias(&self, alias: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::DeleteAlias, alias, self.unaudited().delete_alias(alias))
    }

    /// [`LocalKms::enable`], recorded.
    pub fn enable(&self, key: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::Enable, key, self.unaudited().enable(key))
    }

    /// [`LocalKms::disable`], recorded.
    pub fn disable(&self, key: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::Disable, key, self.unaudited().disable(key))
    }

    /// [`LocalKms::schedule_deletion`], recorded.
    pub fn schedule_deletion(&self, key: &str, days: u32) -> Result<KeyDescription> {
        let result = self.unaudited().schedule_deletion(key, days);
        self.settle_key(AuditOp::ScheduleDeletion, key, result)
    }

    /// [`LocalKms::cancel_deletion`], recorded.
    pub fn cancel_deletion(&self, key: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::CancelDeletion, key, self.unaudited().cancel_deletion(key))
    }

    /// [`LocalKms::rotate`], recorded.
    pub fn rotate(&self, key: &str) -> Result<KeyDescription> {
        self.settle_key(AuditOp::Rotate, key, self.unaudited().rotate(key))
    }

    /// [`LocalKms::destroy_expired`], recorded.
    pub fn destroy_expired(&self) -> Result<usize> {
        let result = self.unaudited().destroy_expired();
        self.settle(AuditOp::DestroyExpired, PROVIDER, "", None, result)
    }

    /// [`LocalKms::change_unlock`], recorded.
    pub fn change_unlock(&self, current: &Unlock, new: &Unlock) -> Result<()> {
        let result = self.unaudited().change_unlock(current, new);
        self.settle(AuditOp::ChangeUnlock, PROVIDER, "", None, result)
    }

    fn settle_key(
        &self,
        op: AuditOp,
        asked: &str,
        result: Result<KeyDescription>,
    ) -> Result<KeyDescription> {
        let id = result.as_ref().map_or(asked, |d| &d.id).to_owned();
        self.settle(op, PROVIDER, &id, None, result)
    }
}
