//! The administration of a key service, recorded: each call of [`LocalKms`] that changes it, with
//! one record, whether it succeeds or fails. Before that record stand one for each key that the
//! change destroyed because its date had come, and one for the key that lost an alias.
//!
//! A record tells what was done after it was done: with [`AuditPolicy::FailClosed`] a change that
//! could not be recorded is reported as failed, but stands. Of a change that a process made when
//! it was killed there may be no record.
//!
//! Where the new file took the name of the old one and was then not flushed, the change is in
//! effect, and a power cut may undo it. All its records have that failure for their result: a
//! `destroy-key` record with a failure says that the key is gone, perhaps not for good.
//!
//! [`AuditPolicy::FailClosed`]: crate::keys::AuditPolicy::FailClosed

use crate::error::Result;

use super::effect::{Listening, SideEffect};
use super::{LocalKms, PROVIDER, Unlock};
use crate::keys::{AuditEvent, AuditOp, Audited, KeyDescription};

impl Audited<LocalKms> {
    /// [`LocalKms::create_key`], recorded.
    pub fn create_key(&self, alias: Option<&str>) -> Result<KeyDescription> {
        let asked = alias.unwrap_or_default();
        self.change(AuditOp::CreateKey, asked, alias, |kms| kms.create_key(alias))
    }

    /// [`LocalKms::set_alias`], recorded.
    pub fn set_alias(&self, alias: &str, key: &str) -> Result<KeyDescription> {
        self.change(AuditOp::SetAlias, key, Some(alias), |kms| kms.set_alias(alias, key))
    }

    /// [`LocalKms::delete_alias`], recorded.
    pub fn delete_alias(&self, alias: &str) -> Result<KeyDescription> {
        self.change(AuditOp::DeleteAlias, alias, Some(alias), |kms| kms.delete_alias(alias))
    }

    /// [`LocalKms::enable`], recorded.
    pub fn enable(&self, key: &str) -> Result<KeyDescription> {
        self.change(AuditOp::Enable, key, None, |kms| kms.enable(key))
    }

    /// [`LocalKms::disable`], recorded.
    pub fn disable(&self, key: &str) -> Result<KeyDescription> {
        self.change(AuditOp::Disable, key, None, |kms| kms.disable(key))
    }

    /// [`LocalKms::schedule_deletion`], recorded.
    pub fn schedule_deletion(&self, key: &str, days: u32) -> Result<KeyDescription> {
        self.change(AuditOp::ScheduleDeletion, key, None, |kms| kms.schedule_deletion(key, days))
    }

    /// [`LocalKms::cancel_deletion`], recorded.
    pub fn cancel_deletion(&self, key: &str) -> Result<KeyDescription> {
        self.change(AuditOp::CancelDeletion, key, None, |kms| kms.cancel_deletion(key))
    }

    /// [`LocalKms::rotate`], recorded.
    pub fn rotate(&self, key: &str) -> Result<KeyDescription> {
        self.change(AuditOp::Rotate, key, None, |kms| kms.rotate(key))
    }

    /// [`LocalKms::destroy_expired`], recorded.
    pub fn destroy_expired(&self) -> Result<usize> {
        let (listening, ready) = self.listen();
        let result = ready.and_then(|()| self.unaudited().destroy_expired());
        let event = AuditEvent::new(AuditOp::DestroyExpired, PROVIDER, "");
        self.settle_change(&listening, event, result)
    }

    /// [`LocalKms::change_unlock`], recorded.
    pub fn change_unlock(&self, current: &Unlock, new: &Unlock) -> Result<()> {
        let (listening, ready) = self.listen();
        let result = ready.and_then(|()| self.unaudited().change_unlock(current, new));
        let event = AuditEvent::new(AuditOp::ChangeUnlock, PROVIDER, "");
        self.settle_change(&listening, event, result)
    }

    /// Begins a change: what it does beside what is asked is noted, and the key service remembers
    /// how far its log is there for good. Fails where the log cannot be read.
    fn listen(&self) -> (Listening<'_>, Result<()>) {
        let (log, ready) = match self.anchor() {
            Ok(log) => (log, Ok(())),
            Err(error) => (None, Err(error)),
        };
        (self.unaudited().effects.listen(log), ready)
    }

    /// Changes the key that was asked for.
    fn change(
        &self,
        op: AuditOp,
        asked: &str,
        alias: Option<&str>,
        change: impl FnOnce(&LocalKms) -> Result<KeyDescription>,
    ) -> Result<KeyDescription> {
        let (listening, ready) = self.listen();
        let result = ready.and_then(|()| change(self.unaudited()));
        let id = result.as_ref().map_or(asked, |d| &d.id).to_owned();
        let event = AuditEvent { alias, ..AuditEvent::new(op, PROVIDER, &id) };
        self.settle_change(&listening, event, result)
    }

    /// Records what a change did beside what was asked, then how it ended.
    fn settle_change<R>(
        &self,
        listening: &Listening<'_>,
        event: AuditEvent<'_>,
        result: Result<R>,
    ) -> Result<R> {
        let mut recorded = Ok(());
        for effect in listening.take() {
            let (op, alias) = match &effect {
                SideEffect::Destroyed { .. } => (AuditOp::DestroyKey, None),
                SideEffect::LostAlias { alias, .. } => (AuditOp::DeleteAlias, Some(&**alias)),
            };
            let id = effect.key_id();
            let outcome = result.as_ref().map(|_| ()).map_err(|e| e.kind());
            let event = AuditEvent { alias, result: outcome, ..AuditEvent::new(op, PROVIDER, &id) };
            recorded = recorded.and(self.record(event));
        }
        let result = self.settle_event(event, result);
        result.and_then(|done| recorded.map(|()| done))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::error::ErrorKind;
    use crate::keys::disk::FLUSHES_FAIL;
    use crate::keys::{
        Argon2Cost, AuditPolicy, Audited, Clock, LocalKms, LocalOptions, MemoryAudit, Passphrase,
        Unlock,
    };

    struct ManualClock(AtomicU64);

    impl Clock for ManualClock {
        fn now(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_a_failed_flush_leaves_in_effect_is_recorded_as_failed() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock(1000.into())));
        let (path, sink) = (dir.path().join("kms"), Arc::new(MemoryAudit::new()));
        let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse".to_vec()).unwrap());
        let cost = Argon2Cost::new(8, 1, 1).unwrap();
        let options = LocalOptions { cost, clock: clock.clone() };
        let kms = LocalKms::init_with(&path, &unlock, options).unwrap();
        let kms = Audited::new(kms, sink.clone(), AuditPolicy::FailClosed);
        let gone = kms.create_key(None).unwrap().id;
        let loser = kms.create_key(Some("alias/a")).unwrap().id;
        let winner = kms.create_key(None).unwrap().id;
        kms.schedule_deletion(&gone, 7).unwrap();
        clock.0.fetch_add(7 * 86_400, Ordering::Relaxed);
        sink.take();

        FLUSHES_FAIL.set(true);
        assert_eq!(kms.set_alias("alias/a", &winner).unwrap_err().kind(), ErrorKind::Io);
        FLUSHES_FAIL.set(false);
        let told = sink.take();
        let told: Vec<_> = told.iter().map(|r| (&*r.op, &*r.key, &*r.result)).collect();
        assert_eq!(
            told,
            [
                ("destroy-key", &*gone, "Io"),
                ("delete-alias", &*loser, "Io"),
                ("set-alias", &*winner, "Io"),
            ]
        );
        let names = |id: &str| {
            let keys = kms.unaudited().list().unwrap();
            keys.into_iter().find(|key| key.id == id).map(|key| key.aliases)
        };
        assert_eq!(names(&winner).unwrap(), ["alias/a"], "it is in effect all the same");
        assert_eq!(names(&gone), None);
        // What was recorded is not recorded again.
        assert_eq!(kms.destroy_expired().unwrap(), 0);
        assert_eq!(sink.take().len(), 1);
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_records() {
        let dir = tempfile::tempdir().unwrap();
        let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse".to_vec()).unwrap());
        let cost = Argon2Cost::new(8, 1, 1).unwrap();
        let options = LocalOptions { cost, ..LocalOptions::default() };
        let kms = LocalKms::init_with(&dir.path().join("kms"), &unlock, options).unwrap();
        kms.create_key(Some("alias/a")).unwrap();
        let other = kms.create_key(None).unwrap().id;
        kms.set_alias("alias/a", &other).unwrap();
        let sink = Arc::new(MemoryAudit::new());
        let kms = Audited::new(kms, sink.clone(), AuditPolicy::FailClosed);
        kms.disable(&other).unwrap();
        assert_eq!(sink.take().len(), 1, "of another change");
    }
}
