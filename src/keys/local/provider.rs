//! The key service as a key provider.

use crate::error::{Error, Object, Result};
use crate::secret::Secret;

use super::blob::Blob;
use super::{LocalKms, PROVIDER};
use crate::keys::{EncryptionContext, KeyDescription, KeyProvider, WrappedKey, hex};

impl KeyProvider for LocalKms {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let secret = self.with_sealer(|_, rng| rng.secret())?;
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        let body = self.current()?;
        let key = self.key(&body, key)?;
        key.check_enabled()?;
        self.with_sealer(|sealer, rng| {
            let (version, material) = key.newest(sealer)?;
            let under = (&key.id.0, version, &material);
            let blob = Blob::seal(sealer.service, under, context, secret, rng)?;
            WrappedKey::new(PROVIDER, &hex::encode(&key.id.0), &blob.to_bytes())
        })
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        if wrapped.provider() != PROVIDER {
            return Err(Error::WrongKey(Object::WrappedKey));
        }
        let blob = Blob::from_bytes(wrapped.blob())?;
        let id = hex::encode(&blob.key);
        if wrapped.key_id() != id {
            return Err(Error::corrupt(Object::WrappedKey, "it names two different keys"));
        }
        let body = self.current()?;
        let key = self.key(&body, &id)?;
        key.check_enabled()?;
        self.with_sealer(|sealer, _| {
            let material = key.version(sealer, blob.version)?;
            blob.open(sealer.service, &material, context)
        })
    }

    /// In whatever state the key is, until the date of its deletion.
    fn describe(&self, key: &str) -> Result<KeyDescription> {
        let body = self.current()?;
        Ok(self.key(&body, key)?.describe())
    }
}
