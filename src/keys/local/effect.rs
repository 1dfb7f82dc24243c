//! What a change did beside what was asked of it, for the log of key uses.

use std::path::PathBuf;

use parking_lot::{Mutex, MutexGuard};

use crate::keys::{AuditAnchor, hex};

/// Something that a change did to a key that it did not name.
pub(super) enum SideEffect {
    /// The date of its deletion had come, and it was destroyed.
    Destroyed {
        /// Its id.
        key: [u8; 16],
    },
    /// Another key got its alias.
    LostAlias {
        /// Its id.
        key: [u8; 16],
        alias: String,
    },
}

impl SideEffect {
    /// Id of the key, as records have it.
    pub(super) fn key_id(&self) -> String {
        let (SideEffect::Destroyed { key } | SideEffect::LostAlias { key, .. }) = self;
        hex::encode(key)
    }
}

/// Where a change leaves what it did, for the audited service that made it. Without one that
/// listens nothing is kept.
#[derive(Default)]
pub(super) struct Effects {
    /// Held by an audited change until it took what it did: each record names who did it.
    one: Mutex<()>,
    noted: Mutex<Option<Vec<SideEffect>>>,
    /// The log of whoever listens, and how far it is there for good.
    log: Mutex<Option<(PathBuf, AuditAnchor)>>,
}

impl Effects {
    /// Keeps what a change does from now on; waits for whoever listens already.
    pub(super) fn listen(&self, log: Option<(PathBuf, AuditAnchor)>) -> Listening<'_> {
        let one = self.one.lock();
        *self.log.lock() = log;
        *self.noted.lock() = Some(Vec::new());
        Listening { effects: self, _one: one }
    }

    /// What a change is to remember of the log.
    pub(super) fn anchor(&self) -> Option<(PathBuf, AuditAnchor)> {
        self.log.lock().clone()
    }

    pub(super) fn note(&self, effects: Vec<SideEffect>) {
        if let Some(noted) = &mut *self.noted.lock() {
            noted.extend(effects);
        }
    }
}

/// The only one who listens.
pub(super) struct Listening<'a> {
    effects: &'a Effects,
    _one: MutexGuard<'a, ()>,
}

impl Listening<'_> {
    /// What was done since.
    pub(super) fn take(&self) -> Vec<SideEffect> {
        self.effects.noted.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        *self.effects.noted.lock() = None;
        *self.effects.log.lock() = None;
    }
}
