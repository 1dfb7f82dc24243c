//! A provider that is watched: it counts calls, remembers what it gave out, and can refuse.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use efscrypt::keys::{EncryptionContext, KeyDescription, KeyProvider, WrappedKey};
use efscrypt::secret::Secret;
use efscrypt::{Error, Result};

use crate::provider::Toy;
use crate::secrets::Secrets;

/// What keeps remembered keys from standing in memory as they are.
const MASK: u8 = 0xa7;

/// What a provider says instead of doing its work.
pub type Refusal = fn() -> Error;

pub struct Watch {
    inner: Arc<Toy>,
    calls: AtomicU64,
    /// KEKs, masked, and what finds them.
    keks: Mutex<(Vec<[u8; 32]>, Secrets)>,
    blobs: Mutex<Vec<Vec<u8>>>,
    refusal: Mutex<Option<Refusal>>,
    /// Whether it leaves the context out, as a service would that has none.
    careless: bool,
}

impl Watch {
    pub fn with(keys: &[&str]) -> Arc<Watch> {
        Arc::new(Watch::build(keys, false))
    }

    pub fn careless(keys: &[&str]) -> Arc<Watch> {
        Arc::new(Watch::build(keys, true))
    }

    fn build(keys: &[&str], careless: bool) -> Watch {
        Watch {
            inner: Toy::with(keys),
            calls: AtomicU64::new(0),
            keks: Mutex::default(),
            blobs: Mutex::default(),
            refusal: Mutex::new(None),
            careless,
        }
    }

    /// Calls that need a key, since the last time.
    pub fn take_calls(&self) -> u64 {
        self.calls.swap(0, Ordering::Relaxed)
    }

    /// Whether the bytes hold a part of some KEK that was given out.
    pub fn knows(&self, bytes: &[u8]) -> bool {
        self.keks.lock().unwrap().1.find(bytes).next().is_some()
    }

    /// Shows the KEKs that were given out.
    pub fn unmask(&self, mut show: impl FnMut(&[u8; 32])) {
        for kek in &self.keks.lock().unwrap().0 {
            show(&kek.map(|byte| byte ^ MASK));
        }
    }

    /// Number of KEKs that were given out.
    pub fn keks(&self) -> usize {
        self.keks.lock().unwrap().0.len()
    }

    /// Wrapped keys that were given out, as they are stored.
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        self.blobs.lock().unwrap().clone()
    }

    pub fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    fn admit(&self, context: &EncryptionContext) -> Result<EncryptionContext> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match *self.refusal.lock().unwrap() {
            Some(refusal) => Err(refusal()),
            None if self.careless => Ok(EncryptionContext::new()),
            None => Ok(context.clone()),
        }
    }

    fn remember(&self, secret: &Secret<32>) {
        let mut masked = [0; 32];
        masked.iter_mut().zip(secret.expose()).for_each(|(to, byte)| *to = byte ^ MASK);
        let mut keks = self.keks.lock().unwrap();
        let number = keks.0.len();
        keks.1.add(number, secret.expose());
        keks.0.push(masked);
    }
}

impl KeyProvider for Watch {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let (secret, wrapped) = self.inner.generate(key, &self.admit(context)?)?;
        self.remember(&secret);
        self.blobs.lock().unwrap().push(wrapped.blob().to_vec());
        Ok((secret, wrapped))
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        let wrapped = self.inner.wrap(key, &self.admit(context)?, secret)?;
        self.blobs.lock().unwrap().push(wrapped.blob().to_vec());
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        let secret = self.inner.unwrap(wrapped, &self.admit(context)?)?;
        self.remember(&secret);
        Ok(secret)
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        self.inner.describe(key)
    }
}
