//! Key providers for C.

use std::sync::Arc;

use super::boundary::{guard, object, take};
use crate::crypto::KeyArena;
use crate::error::Result;
use crate::keys::KeyProvider;

/// A key provider. Free it once all stores opened with it are closed, or before: they keep what
/// they need.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_provider {
    inner: Arc<dyn KeyProvider>,
    /// Knows whether this is the process that made the provider.
    owner: Arc<KeyArena>,
}

impl efscrypt_provider {
    pub(super) fn new(inner: Arc<dyn KeyProvider>) -> Result<efscrypt_provider> {
        Ok(efscrypt_provider::owned(inner, KeyArena::new()?))
    }

    pub(super) fn owned(inner: Arc<dyn KeyProvider>, owner: Arc<KeyArena>) -> efscrypt_provider {
        efscrypt_provider { inner, owner }
    }
}

/// The provider behind a pointer; not in a forked child.
///
/// # Safety
/// The pointer is NULL or valid.
pub(super) unsafe fn provider(
    pointer: *const efscrypt_provider,
    what: &'static str,
) -> Result<Arc<dyn KeyProvider>> {
    // SAFETY: as the caller promises.
    let provider = unsafe { object(pointer, what)? };
    provider.owner.check()?;
    Ok(Arc::clone(&provider.inner))
}

/// Frees a provider; NULL is fine. In a forked child it does nothing, and calls nothing of the
/// parent's.
///
/// # Safety
/// `provider` came from this library and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_free(provider: *mut efscrypt_provider) {
    guard(std::ptr::null_mut(), || {
        // SAFETY: as the caller promises.
        let Some(provider) = (unsafe { take(provider) }) else { return Ok(()) };
        if provider.owner.check().is_err() {
            std::mem::forget(provider);
        }
        Ok(())
    });
}
