//! The local key service, for C.

use std::ffi::c_char;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::boundary::{give, guard, out};
use super::bytes::{bytes, path, text};
use super::error::{efscrypt_error, efscrypt_status};
use super::provider::efscrypt_provider;
use crate::crypto::{KeyArena, Rng};
use crate::error::{Error, Object, Result};
use crate::keys::{LocalKms, Passphrase, Unlock};

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

fn unlock(passphrase: &[u8]) -> Result<Unlock> {
    Ok(Unlock::Passphrase(Passphrase::new(passphrase.to_vec())?))
}

/// Makes the service under a name of its own, and gives it the wanted name once it has its key.
fn create(file: &Path, unlock: &Unlock, alias: &str) -> Result<()> {
    // Before a passphrase is worked on for a second; the link below is what decides.
    if fs::symlink_metadata(file).is_ok() {
        return Err(Error::Exists);
    }
    let unique = Rng::new(&KeyArena::new()?)?.u64()?;
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{unique:016x}.new"));
    let fresh = Path::new(&fresh);
    let kms = LocalKms::init(fresh, unlock)?;
    let named = kms.create_key(Some(alias)).and_then(|_| {
        link(fresh, file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists,
            _ => Error::io("create", Object::KeyService, error),
        })
    });
    // A name more than is needed does no harm, should it not go away.
    let _ = fs::remove_file(fresh);
    named
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
