//! The local key service, for C.

use std::ffi::c_char;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::boundary::{give, guard, out};
use super::bytes::{bytes, path, text};
use super::callbacks::c_id;
use super::error::{efscrypt_error, efscrypt_status};
use super::provider::efscrypt_provider;
use crate::crypto::{KeyArena, Rng};
use crate::error::{Error, ErrorKind, Object, Result};
use crate::keys::{LocalKms, Passphrase, Unlock, rename_spare};

/// Makes a local key service in a new file, opened by a passphrase, with one key of the alias
/// `alias`, such as "alias/customer". Refuses to overwrite a file. All or nothing: after a failure
/// there is no file, and a crash leaves at most one beside it whose name ends in ".new".
///
/// # Safety
/// `file` and `alias` are NUL-terminated strings; `passphrase` has `passphrase_len` bytes.
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
        create(file, &unlock, alias)
    })
}

/// As `efscrypt_local_kms_create`, opened by a key file, a secret of 32 bytes that only its owner
/// may read (mode 0600). It is made where it is not there, and goes again after a failure: keep a
/// copy of it where it is safe.
///
/// # Safety
/// The arguments are NUL-terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_local_kms_create_with_key_file(
    file: *const c_char,
    key_file: *const c_char,
    alias: *const c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let key_file = unsafe { path(key_file)? };
        // SAFETY: as the caller promises.
        let alias = unsafe { text(alias)? };
        if fs::symlink_metadata(file).is_ok() {
            return Err(exists(file));
        }
        let made = match Unlock::create_key_file(key_file) {
            Err(error) if error.kind() == ErrorKind::Exists => false,
            made => made.map(|()| true)?,
        };
        create(file, &Unlock::KeyFile(key_file.to_owned()), alias).inspect_err(|_| {
            if made {
                let _ = fs::remove_file(key_file);
            }
        })
    })
}

/// Creates one more key in the local key service in a file, enabled, with the alias `alias`, or
/// without one where that is NULL. Writes its id, with a final NUL, to `id`, which is NULL or has
/// room for `EFSCRYPT_KEY_ID_LEN` bytes. Durable. Providers that have the file open see the key.
/// `EFSCRYPT_STATUS_EXISTS` where another key has the alias.
///
/// # Safety
/// `file` is a NUL-terminated string, and so is `alias` unless it is NULL; `passphrase` has
/// `passphrase_len` bytes; `id` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_local_kms_create_key(
    file: *const c_char,
    passphrase: *const u8,
    passphrase_len: usize,
    alias: *const c_char,
    id: *mut c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let unlock = unlock(unsafe { bytes(passphrase, passphrase_len)? })?;
        // SAFETY: as the caller promises.
        unsafe { create_key(file, &unlock, alias, id) }
    })
}

/// As `efscrypt_local_kms_create_key`, opened by a key file.
///
/// # Safety
/// As there; `key_file` is a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_local_kms_create_key_with_key_file(
    file: *const c_char,
    key_file: *const c_char,
    alias: *const c_char,
    id: *mut c_char,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        // SAFETY: as the caller promises.
        let unlock = Unlock::KeyFile(unsafe { path(key_file)? }.to_owned());
        // SAFETY: as the caller promises.
        unsafe { create_key(file, &unlock, alias, id) }
    })
}

/// Opens the local key service in a file as a provider. Its keys are named by id or `alias/NAME`.
///
/// # Safety
/// `file` is a NUL-terminated string; `passphrase` has `passphrase_len` bytes; `provider` is
/// valid for a write.
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
        let kms = efscrypt_provider::new(Arc::new(LocalKms::open(file, &unlock)?))?;
        // SAFETY: `provider` is valid for a write.
        unsafe { give(provider, kms) };
        Ok(())
    })
}

/// As `efscrypt_provider_open_local`, opened by a key file.
///
/// # Safety
/// `file` and `key_file` are NUL-terminated strings; `provider` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_provider_open_local_with_key_file(
    file: *const c_char,
    key_file: *const c_char,
    provider: *mut *mut efscrypt_provider,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    guard(error, || {
        let provider = out(provider)?;
        // SAFETY: as the caller promises.
        let file = unsafe { path(file)? };
        // SAFETY: as the caller promises.
        let unlock = Unlock::KeyFile(unsafe { path(key_file)? }.to_owned());
        let kms = efscrypt_provider::new(Arc::new(LocalKms::open(file, &unlock)?))?;
        // SAFETY: `provider` is valid for a write.
        unsafe { give(provider, kms) };
        Ok(())
    })
}

/// Creates a key in a service that is there.
///
/// # Safety
/// As for `efscrypt_local_kms_create_key`.
unsafe fn create_key(
    file: *const c_char,
    unlock: &Unlock,
    alias: *const c_char,
    id: *mut c_char,
) -> Result<()> {
    // SAFETY: as the caller promises.
    let file = unsafe { path(file)? };
    let alias = match alias.is_null() {
        true => None,
        // SAFETY: as the caller promises.
        false => Some(unsafe { text(alias)? }),
    };
    let made = LocalKms::open(file, unlock)?.create_key(alias)?;
    if !id.is_null() {
        let made = c_id(&made.id)?;
        // SAFETY: as the caller promises; what the library made does not overlap it.
        unsafe { id.copy_from_nonoverlapping(made.as_ptr(), made.len()) };
    }
    Ok(())
}

fn unlock(passphrase: &[u8]) -> Result<Unlock> {
    Ok(Unlock::Passphrase(Passphrase::new(passphrase.to_vec())?))
}

/// Makes the service under a name of its own, and gives it the wanted name once it has its key.
fn create(file: &Path, unlock: &Unlock, alias: &str) -> Result<()> {
    // Before a passphrase is worked on for a second; the link below is what decides.
    if fs::symlink_metadata(file).is_ok() {
        return Err(exists(file));
    }
    let unique = Rng::new(&KeyArena::new()?)?.u64()?;
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{unique:016x}.new"));
    let fresh = Path::new(&fresh);
    let kms = LocalKms::init(fresh, unlock)?;
    let named = kms.create_key(Some(alias)).and_then(|_| {
        link(fresh, file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(file),
            _ => Error::io("create", Object::KeyService, error),
        })
    });
    match named {
        Ok(()) => rename_spare(fresh, file),
        Err(_) => rename_spare(fresh, fresh),
    }
    // A name more than is needed does no harm, should it not go away.
    let _ = fs::remove_file(fresh);
    named
}

fn exists(file: &Path) -> Error {
    Error::Exists.named(format_args!("key service file {}", file.display()))
}

/// Gives a file one more name, durably: a link, because a rename would replace what somebody else
/// made meanwhile.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    sync_parent(to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

fn sync_parent(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
