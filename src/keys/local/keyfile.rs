//! A key file: 256 random bits in a file of its own, in place of a passphrase.
//!
//! The file is 64 lower-case hexadecimal digits and a newline, so that it survives editors,
//! terminals and paper.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::crypto::Rng;
use crate::error::{Error, Object, Result};
use crate::secret::Secret;

use crate::keys::{disk, hex};

/// Characters of a key, without the newline.
const DIGITS: usize = 64;

/// Reads a key file.
///
/// # Errors
/// `KeyDenied` for a file that its group or others may access; `InvalidArgument` for one that
/// does not hold a key, and for what is no regular file: nobody waits for a pipe; `Io`.
pub(super) fn read(path: &Path) -> Result<Secret<32>> {
    let file = disk::open_regular(OpenOptions::new().read(true), path);
    let mut file = file.map_err(|e| io_error("open", e, path))?;
    let about = file.metadata().map_err(|e| io_error("stat", e, path))?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Error::KeyDenied(format!(
            "key file {} is open to other users: chmod 600 it",
            path.display()
        )));
    }
    // One byte more than a key and its newline, to see that nothing follows.
    let mut text = Zeroizing::new([0; DIGITS + 2]);
    let mut len = 0;
    while len < text.len() {
        match file.read(&mut text[len..]).map_err(|e| io_error("read", e, path))? {
            0 => break,
            n => len += n,
        }
    }
    let line = text[..len].strip_suffix(b"\n").unwrap_or(&text[..len]);
    let mut key = Secret::zeroed();
    if !hex::decode_into(line, key.expose_mut()) {
        return Err(Error::InvalidArgument("a key file holds 64 lower-case hexadecimal digits"));
    }
    if key.is_zero() {
        return Err(Error::InvalidArgument("the key file holds zeros in place of a key"));
    }
    Ok(key)
}

/// Writes a new random key to a new file of mode 0600, durably.
///
/// # Errors
/// `Exists` where the name is taken: a key is never overwritten. `Io`.
pub(super) fn create(path: &Path, rng: &Rng) -> Result<()> {
    let key = rng.secret::<32>()?;
    let mut text = Zeroizing::new([b'\n'; DIGITS + 1]);
    for (pair, &byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(key.expose()) {
        *pair = hex::digits(byte);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| io_error("create", e, path))?;
    let written = file
        .write_all(&*text)
        .and_then(|()| file.sync_all())
        .and_then(|()| disk::sync_parent(path));
    written.map_err(|e| {
        // Half a key is of no use to anyone, and nothing depends on it yet.
        let _ = fs::remove_file(path);
        io_error("write", e, path)
    })
}

fn io_error(op: &'static str, source: io::Error, path: &Path) -> Error {
    let error = match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists,
        io::ErrorKind::IsADirectory => Error::IsDirectory,
        io::ErrorKind::InvalidInput => Error::InvalidArgument("a key file is a regular file"),
        _ => Error::io(op, Object::KeyFile, source),
    };
    error.named(format_args!("key file {}", path.display()))
}
