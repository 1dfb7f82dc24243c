//! Key providers for C: the local key service, and services of the caller's by callbacks.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::boundary::{give, guard, out, sized, take};
use super::bytes::text;
#[cfg(feature = "local-kms")]
use super::bytes::{bytes, path};
use super::error::{efscrypt_error, efscrypt_status};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use crate::secret::Secret;

/// Most bytes of a wrapped key's blob.
pub const EFSCRYPT_BLOB_LEN: usize = 1024;

/// A key provider. Free it once all stores opened with it are closed, or before: they keep what
/// they need.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_provider(pub(super) Arc<dyn KeyProvider>);

/// A key service of the caller's. Each callback may be called from any thread, several at once,
/// and may block; it must not call the store. It answers 0, or the status of what went wrong:
/// `EFSCRYPT_STATUS_KEY_NOT_FOUND`, `EFSCRYPT_STATUS_KEY_DISABLED`, `EFSCRYPT_STATUS_KEY_DENIED`,
/// `EFSCRYPT_STATUS_KEY_UNREACHABLE`, `EFSCRYPT_STATUS_WRONG_KEY`; any other counts as
/// `EFSCRYPT_STATUS_KEY_DENIED`.
///
/// `key` names the provider key. `context` holds `context_len` bytes that must be bound to the
/// wrapped key: unwrap with another context must fail.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_provider_ops {
    /// `sizeof(efscrypt_provider_ops)`: later versions only add at the end.
    pub size: usize,
    /// Wraps a key of 32 bytes into `blob`, which has room for 1,024 bytes, and sets `*blob_len`.
    pub wrap: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            key: *const c_char,
            context: *const u8,
            context_len: usize,
            secret: *const u8,
            blob: *mut u8,
            blob_len: *mut usize,
        ) -> u32,
    >,
    /// Unwraps a blob into 32 bytes at `secret`.
    pub unwrap: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            key: *const c_char,
            context: *const u8,
            context_len: usize,
            blob: *const u8,
            blob_len: usize,
            secret: *mut u8,
        ) -> u32,
    >,
    /// Called once when the provider is no longer needed, by whoever needed it last; may be NULL.
    pub free: Option<unsafe extern "C" fn(userdata: *mut c_void)>,
}

/// Makes a local key service in a new file at `file`, opened by a passphrase, with one key of the
/// alias `alias`. Refuses to overwrite a file.
///
/// # Safety
/// `file` and `alias` are NUL-terminated strings; `passphrase` has `passphrase_len` bytes.
#[cfg(feature = "local-kms")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_local_kms_create(
    file: *const c_char,
    passphrase: *const u8,
    passphrase_len: usize,
    alias: *const c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let alias = unsafe { text(alias)? };
        // SAFETY: as the caller promises.
        let unlock = unlock(unsafe { bytes(passphrase, passphrase_len)? })?;
        let kms = crate::keys::LocalKms::init(file, &unlock)?;
        kms.create_key(Some(alias)).map(drop)
    })
}

/// Opens the local key service in a file as a provider. Its keys are named by id or `alias/NAME`.
///
/// # Safety
/// `file` is a NUL-terminated string; `passphrase` has `passphrase_len` bytes; `provider` is
/// valid for a write.
#[cfg(feature = "local-kms")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_open_local(
    file: *const c_char,
    passphrase: *const u8,
    passphrase_len: usize,
    provider: *mut *mut efscrypt_provider,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let provider = out(provider)?;
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let unlock = unlock(unsafe { bytes(passphrase, passphrase_len)? })?;
        let kms = crate::keys::LocalKms::open(file, &unlock)?;
        // SAFETY: `provider` is valid for a write.
        unsafe { give(provider, efscrypt_provider(Arc::new(kms))) };
        Ok(())
    })
}

#[cfg(feature = "local-kms")]
fn unlock(passphrase: &[u8]) -> Result<crate::keys::Unlock> {
    let passphrase = crate::keys::Passphrase::new(passphrase.to_vec())?;
    Ok(crate::keys::Unlock::Passphrase(passphrase))
}

/// Makes a provider of the caller's callbacks. `name` is kept in the store beside each wrapped
/// key: 1 to 64 of a-z, 0-9 and '-'.
///
/// # Safety
/// `name` is a NUL-terminated string; `ops` points to `ops->size` bytes; the callbacks and
/// `userdata` may be used from any thread until `free` was called; `provider` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_create(
    name: *const c_char,
    ops: *const efscrypt_provider_ops,
    userdata: *mut c_void,
    provider: *mut *mut efscrypt_provider,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let provider = out(provider)?;
        // SAFETY: as the caller promises.
        let name = unsafe { text(name)? }.to_owned();
        // SAFETY: as the caller promises.
        let ops = unsafe { sized(ops, "ops has not the size of this version")? };
        let ops = ops.ok_or(Error::InvalidArgument("ops is NULL"))?;
        if ops.wrap.is_none() || ops.unwrap.is_none() {
            return Err(Error::InvalidArgument("a provider needs wrap and unwrap"));
        }
        let callbacks = Callbacks { name, ops: *ops, userdata };
        // SAFETY: `provider` is valid for a write.
        unsafe { give(provider, efscrypt_provider(Arc::new(callbacks))) };
        Ok(())
    })
}

/// Frees a provider; NULL is fine.
///
/// # Safety
/// `provider` came from this library and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_free(provider: *mut efscrypt_provider) {
    // SAFETY: as the caller promises.
    let provider = unsafe { take(provider) };
    guard(std::ptr::null_mut(), || {
        drop(provider);
        Ok(())
    });
}

/// A provider by callbacks.
struct Callbacks {
    name: String,
    ops: efscrypt_provider_ops,
    userdata: *mut c_void,
}

// SAFETY: the caller of `efscrypt_provider_create` promises that callbacks and userdata may be
// used from any thread.
unsafe impl Send for Callbacks {}
// SAFETY: as above, several at once.
unsafe impl Sync for Callbacks {}

impl Drop for Callbacks {
    fn drop(&mut self) {
        if let Some(free) = self.ops.free {
            // SAFETY: the provider is gone, so this is the one call.
            unsafe { free(self.userdata) };
        }
    }
}

impl Callbacks {
    fn answer(&self, status: u32, key: &str) -> Result<()> {
        const NOT_FOUND: u32 = ErrorKind::KeyNotFound as u32;
        const DISABLED: u32 = ErrorKind::KeyDisabled as u32;
        const UNREACHABLE: u32 = ErrorKind::KeyUnreachable as u32;
        const WRONG: u32 = ErrorKind::WrongKey as u32;
        match status {
            0 => Ok(()),
            NOT_FOUND => Err(Error::KeyNotFound(key.to_owned())),
            DISABLED => Err(Error::KeyDisabled { id: key.to_owned(), state: "disabled" }),
            UNREACHABLE => Err(Error::KeyUnreachable(self.name.clone())),
            WRONG => Err(Error::WrongKey(crate::error::Object::Store)),
            _ => Err(Error::KeyDenied(self.name.clone())),
        }
    }
}

fn c_text(text: &str) -> Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| Error::InvalidArgument("a key name holds a NUL"))
}

impl KeyProvider for Callbacks {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let mut secret = Secret::zeroed();
        let arena = crate::crypto::KeyArena::new()?;
        crate::crypto::Rng::new(&arena)?.fill(secret.expose_mut())?;
        let wrapped = self.wrap(key, context, &secret)?;
        Ok((secret, wrapped))
    }

    fn wrap(
        &self,
        key: &str,
        context: &EncryptionContext,
        secret: &Secret<32>,
    ) -> Result<WrappedKey> {
        let call = self.ops.wrap.ok_or(Error::Internal("wrap was checked"))?;
        let (name, context) = (c_text(key)?, context.canonical());
        let mut blob = [0u8; EFSCRYPT_BLOB_LEN];
        let mut len = blob.len();
        // SAFETY: all pointers are valid for their lengths during the call.
        let status = unsafe {
            call(
                self.userdata,
                name.as_ptr(),
                context.as_ptr(),
                context.len(),
                secret.expose().as_ptr(),
                blob.as_mut_ptr(),
                &raw mut len,
            )
        };
        self.answer(status, key)?;
        let blob = blob.get(..len).ok_or(Error::KeyDenied(self.name.clone()))?;
        WrappedKey::new(&self.name, key, blob)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        let call = self.ops.unwrap.ok_or(Error::Internal("unwrap was checked"))?;
        if wrapped.provider() != self.name {
            return Err(Error::WrongKey(crate::error::Object::Store));
        }
        let (name, context) = (c_text(wrapped.key_id())?, context.canonical());
        let mut secret = Secret::<32>::zeroed();
        // SAFETY: all pointers are valid for their lengths during the call.
        let status = unsafe {
            call(
                self.userdata,
                name.as_ptr(),
                context.as_ptr(),
                context.len(),
                wrapped.blob().as_ptr(),
                wrapped.blob().len(),
                secret.expose_mut().as_mut_ptr(),
            )
        };
        self.answer(status, wrapped.key_id())?;
        Ok(secret)
    }

    fn describe(&self, key: &str) -> Result<KeyDescription> {
        Ok(KeyDescription::new(&self.name, key, KeyState::Enabled))
    }
}
