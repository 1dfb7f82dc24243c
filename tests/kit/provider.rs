//! A key provider for tests: provider keys are named by text and made from their names, wraps are
//! AES-256-GCM-SIV with the encryption context as associated data. It holds nothing secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use efscrypt::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use efscrypt::secret::Secret;
use efscrypt::{Error, Object, Result};
use sha2::{Digest, Sha256};

/// A provider with some keys.
pub struct Toy {
    keys: Vec<String>,
    /// Counts what must not repeat: new keys and nonces.
    made: AtomicU64,
}

/// The bytes of a provider key.
pub fn material(key: &str) -> [u8; 32] {
    Sha256::digest([b"provider key ", key.as_bytes()].concat()).into()
}

impl Toy {
    pub fn with(keys: &[&str]) -> Arc<Toy> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Arc::new(Toy { keys, made: AtomicU64::new(0) })
    }

    /// Bytes that this process never saw before.
    fn fresh(&self) -> [u8; 32] {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let seen = SEEN.fetch_add(1, Ordering::Relaxed);
        Sha256::digest([&bytes[..], &count.to_le_bytes(), &seen.to_le_bytes()].concat()).into()
    }

    fn cipher(&self, key: &str) -> Result<Aes256GcmSiv> {
        match self.keys.iter().any(|known| known == key) {
            true => Ok(Aes256GcmSiv::new(&material(key).into())),
            false => Err(Error::KeyNotFound(key.to_owned())),
        }
    }
}

fn damaged(why: &'static str) -> Error {
    Error::Corrupt { object: Object::WrappedKey, why }
}

impl KeyProvider for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let secret = Secret::take(&mut self.fresh());
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        let mut blob = [0; 60];
        blob[..12].copy_from_slice(&self.fresh()[..12]);
        blob[12..44].copy_from_slice(secret.expose());
        let (nonce, rest) = blob.split_at_mut(12);
        let nonce = (&*nonce).try_into().expect("12 bytes");
        let (text, tag) = rest.split_at_mut(32);
        let sealed =
            self.cipher(key)?.encrypt_inout_detached(nonce, &context.canonical(), text.into());
        tag.copy_from_slice(&sealed.map_err(|_| Error::Internal("sealing failed"))?);
        WrappedKey::new("toy", key, &blob)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        if wrapped.provider() != "toy" {
            return Err(Error::WrongKey(Object::WrappedKey));
        }
        let cipher = self.cipher(wrapped.key_id())?;
        let blob: [u8; 60] = wrapped.blob().try_into().map_err(|_| damaged("length"))?;
        let mut secret = Secret::from_slice(&blob[12..44]).ok_or(damaged("length"))?;
        let nonce = (&blob[..12]).try_into().map_err(|_| damaged("nonce"))?;
        let tag = (&blob[44..]).try_into().map_err(|_| damaged("tag"))?;
        let text = secret.expose_mut().as_mut_slice().into();
        let opened = cipher.decrypt_inout_detached(nonce, &context.canonical(), text, tag);
        opened.map_err(|_| damaged("it does not authenticate"))?;
        Ok(secret)
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        self.cipher(key)?;
        Ok(KeyDescription::new("toy", key, KeyState::Enabled))
    }
}
