//! Key services of the caller's, by callbacks.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use super::boundary::{give, guard, out};
use super::bytes::text;
use super::error::{efscrypt_error, efscrypt_status};
use super::provider::efscrypt_provider;
use super::sized::{Sized, sized};
use crate::crypto::{KeyArena, Rng};
use crate::error::{Error, ErrorKind, Object, Result};
use crate::keys::{EncryptionContext, KeyDescription, KeyProvider, KeyState, WrappedKey};
use crate::limits::{MAX_KEY_ID_LEN, MAX_WRAPPED_BLOB_LEN};
use crate::secret::Secret;

/// Most bytes of a wrapped key's blob.
pub const EFSCRYPT_BLOB_LEN: usize = 1024;
/// Bytes of a key's id with its final NUL, at most.
pub const EFSCRYPT_KEY_ID_LEN: usize = 513;

const _: () = assert!(EFSCRYPT_BLOB_LEN == MAX_WRAPPED_BLOB_LEN);
const _: () = assert!(EFSCRYPT_KEY_ID_LEN == MAX_KEY_ID_LEN + 1);

/// A key service of the caller's. Each callback may be called from any thread, several at once, and
/// may block; it must not call the store, and must not throw, unwind or jump out. It answers 0, or
/// the status of what went wrong: `EFSCRYPT_STATUS_KEY_NOT_FOUND`, `EFSCRYPT_STATUS_KEY_DISABLED`,
/// `EFSCRYPT_STATUS_KEY_DENIED`, `EFSCRYPT_STATUS_KEY_UNREACHABLE`, `EFSCRYPT_STATUS_WRONG_KEY` for
/// what another service or key wrapped, `EFSCRYPT_STATUS_CORRUPT` for what does not authenticate:
/// damaged, or of another context. Any other counts as `EFSCRYPT_STATUS_KEY_DENIED`, with its
/// number in the message.
///
/// `context` holds `context_len` bytes that must be bound to the wrapped key: unwrap with another
/// context must fail.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_provider_ops {
    /// `sizeof(efscrypt_provider_ops)`: later versions only add at the end.
    pub size: usize,
    /// Wraps a key of 32 bytes under the provider key that is called `key`, an id or another name
    /// of it. Writes the wrapped key to `blob`, which has room for `EFSCRYPT_BLOB_LEN` bytes, and
    /// its length to `*blob_len`, which is 0 before.
    ///
    /// `id` has room for `EFSCRYPT_KEY_ID_LEN` bytes and holds `key`, with a final NUL. The store
    /// keeps what it holds afterwards, and gives that to unwrap: a service whose keys have aliases
    /// writes the key's id there, or the store is lost when the alias moves.
    pub wrap: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            key: *const c_char,
            context: *const u8,
            context_len: usize,
            secret: *const u8,
            blob: *mut u8,
            blob_len: *mut usize,
            id: *mut c_char,
        ) -> u32,
    >,
    /// Unwraps a blob, which the provider key of that id wrapped, into 32 bytes at `secret`. All
    /// inputs may be hostile.
    pub unwrap: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            id: *const c_char,
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

// SAFETY: `repr(C)`, begins with its size, and holds pointers.
unsafe impl Sized for efscrypt_provider_ops {
    const LEAST: usize = offset_of!(efscrypt_provider_ops, free) + size_of::<usize>();
}

/// Makes a provider of the caller's callbacks. `name` is kept in the store beside each wrapped key:
/// 1 to 64 of a-z, 0-9 and '-'. `ops` is copied. On success `userdata` is the provider's until it
/// calls `free`; on a failure it stays the caller's, and `free` is not called.
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
        let name = unsafe { text(name)? };
        // Refuses what no wrapped key could carry.
        WrappedKey::new(name, "id", &[0])?;
        // SAFETY: as the caller promises.
        let ops = unsafe { sized(ops)? }.ok_or(Error::InvalidArgument("ops is NULL"))?;
        if ops.wrap.is_none() || ops.unwrap.is_none() {
            return Err(Error::InvalidArgument("a provider needs wrap and unwrap"));
        }
        let owner = KeyArena::new()?;
        let rng = Rng::new(&owner)?;
        // Nothing fails from here on: userdata changes hands.
        let callbacks = Callbacks { name: name.to_owned(), ops, userdata, rng };
        let made = efscrypt_provider::owned(Arc::new(callbacks), owner);
        // SAFETY: `provider` is valid for a write.
        unsafe { give(provider, made) };
        Ok(())
    })
}

/// A provider by callbacks.
struct Callbacks {
    name: String,
    ops: efscrypt_provider_ops,
    userdata: *mut c_void,
    rng: Rng,
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
        const CORRUPT: u32 = ErrorKind::Corrupt as u32;
        const DENIED: u32 = ErrorKind::KeyDenied as u32;
        match status {
            0 => Ok(()),
            NOT_FOUND => Err(Error::KeyNotFound(key.to_owned())),
            DISABLED => Err(Error::KeyDisabled { id: key.to_owned(), state: "disabled" }),
            UNREACHABLE => Err(Error::KeyUnreachable(self.name.clone())),
            WRONG => Err(Error::WrongKey(Object::WrappedKey)),
            CORRUPT => Err(Error::corrupt(Object::WrappedKey, "it does not authenticate")),
            DENIED => Err(Error::KeyDenied(self.name.clone())),
            other => Err(Error::KeyDenied(format!("{} answered status {other}", self.name))),
        }
    }
}

/// A key's name or id for C, in the room that an id has.
pub(super) fn c_id(id: &str) -> Result<[c_char; EFSCRYPT_KEY_ID_LEN]> {
    let text = CString::new(id).map_err(|_| Error::InvalidArgument("a key's name holds a NUL"))?;
    let bytes = text.as_bytes_with_nul();
    if bytes.len() > EFSCRYPT_KEY_ID_LEN {
        return Err(Error::InvalidArgument("a key's name has at most 512 bytes"));
    }
    let mut room = [0; EFSCRYPT_KEY_ID_LEN];
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = *from as c_char;
    }
    Ok(room)
}

/// The id that a callback left in its room.
fn id_of(room: &[c_char; EFSCRYPT_KEY_ID_LEN]) -> Result<String> {
    let bytes = room.map(|byte| byte as u8);
    let text = CStr::from_bytes_until_nul(&bytes)
        .map_err(|_| Error::InvalidArgument("the provider gave a key id without a final NUL"))?;
    let text = text.to_str();
    Ok(text.map_err(|_| Error::InvalidArgument("the provider's key id is not UTF-8"))?.to_owned())
}

impl KeyProvider for Callbacks {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(&self, key: &str, context: &EncryptionContext) -> Result<(Secret<32>, WrappedKey)> {
        let secret = self.rng.secret()?;
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
        let (name, context) = (c_id(key)?, context.canonical());
        let (mut id, mut blob, mut len) = (name, [0u8; EFSCRYPT_BLOB_LEN], 0);
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
                id.as_mut_ptr(),
            )
        };
        self.answer(status, key)?;
        if len == 0 {
            return Err(Error::InvalidArgument("the provider wrapped a key and set no blob_len"));
        }
        let blob = blob.get(..len).ok_or(Error::InvalidArgument(
            "the provider set a blob_len above EFSCRYPT_BLOB_LEN: its blobs are too long",
        ))?;
        WrappedKey::new(&self.name, &id_of(&id)?, blob)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &EncryptionContext) -> Result<Secret<32>> {
        let call = self.ops.unwrap.ok_or(Error::Internal("unwrap was checked"))?;
        if wrapped.provider() != self.name {
            return Err(Error::WrongKey(Object::WrappedKey));
        }
        let (id, context) = (c_id(wrapped.key_id())?, context.canonical());
        let mut secret = Secret::<32>::zeroed();
        // SAFETY: all pointers are valid for their lengths during the call.
        let status = unsafe {
            call(
                self.userdata,
                id.as_ptr(),
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
