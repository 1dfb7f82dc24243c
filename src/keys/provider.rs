//! The key provider: what holds the top keys, and never gives them out.

use std::sync::Arc;

use crate::error::Result;
use crate::secret::Secret;

use super::{EncryptionContext, KeyDescription, WrappedKey};

/// A service that wraps and unwraps 256-bit keys under keys of its own.
///
/// # Calling
/// A store calls a provider once per key domain when it opens or when a lease of its keys ends,
/// and for rewraps and rotations: never per file. What is wrapped for a store is unwrapped again
/// at once, to see that it can be. Calls come from the thread that needs the key,
/// from many threads at once, and may block for as long as the service takes; the engine holds
/// no lock across them. An implementation must not call back into the store that called it.
///
/// # What an implementation must ensure
/// - `context` is authenticated by the wrapped key: `unwrap` under any other context fails.
///   A service without such a notion derives its wrapping key from
///   [`EncryptionContext::canonical`].
/// - What a wrapped key's blob claims is believed only once it authenticates. All of a
///   [`WrappedKey`] may be hostile.
/// - A key that is disabled, pending deletion or revoked refuses every operation from the moment
///   on at which the service answered that it is.
/// - No error text, log line or `Debug` output holds key bytes. Copies of a key outside the
///   returned [`Secret`] are wiped.
///
/// # Errors
/// The engine acts upon the kind, so it must tell the cases apart:
///
/// | kind | meaning | the engine |
/// |---|---|---|
/// | `KeyNotFound` | no such key | locks the domain |
/// | `KeyDisabled` | the key exists and may not be used | locks the domain |
/// | `KeyDenied` | the service refuses this caller | locks the domain |
/// | `KeyUnreachable` | no answer; a later call may succeed | keeps keys for a grace period |
/// | `WrongKey` | wrapped by another provider or key than this one | reports |
/// | `WrongContext` | wrapped under another context, where the service can tell | reports |
/// | `Corrupt` | does not authenticate: damaged, or another context | reports |
///
/// A provider key is named by its id or by any other name the provider gives it, such as an
/// alias; a [`WrappedKey`] carries the id.
pub trait KeyProvider: Send + Sync {
    /// The provider's name in wrapped keys and audit records: 1 to 64 of a-z, 0-9 and `-`.
    fn name(&self) -> &str;

    /// A new random key, and the same key wrapped.
    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)>;

    /// Wraps a key of the caller's.
    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey>;

    /// The key inside a wrapped key, under the context it was wrapped with.
    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>>;

    /// The same key, wrapped under another provider key or under the newest version of its own.
    /// The context stays. Needs both provider keys in a usable state.
    ///
    /// A service that can do so inside itself overrides this, so that the key stays there.
    fn rewrap(
        &self,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
        new_key: &str,
    ) -> Result<WrappedKey> {
        let secret = self.unwrap(wrapped, context)?;
        self.wrap(new_key, context, &secret)
    }

    /// What the provider knows of a key, in whatever state it is.
    fn describe(&self, key: &str) -> Result<KeyDescription>;
}

/// A shared provider is a provider.
impl<P: KeyProvider + ?Sized> KeyProvider for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        (**self).generate(key, context)
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        (**self).wrap(key, context, secret)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        (**self).unwrap(wrapped, context)
    }

    fn rewrap(
        &self,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
        new_key: &str,
    ) -> Result<WrappedKey> {
        (**self).rewrap(wrapped, context, new_key)
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        (**self).describe(key)
    }
}
