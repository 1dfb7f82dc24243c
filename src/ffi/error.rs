//! Status numbers and error details.

use std::ffi::c_char;

use crate::error::{Error, ErrorKind};

/// Bytes of a message with its final NUL.
pub const EFSCRYPT_MESSAGE_LEN: usize = 256;

/// What a function answers. The numbers are stable and never reused.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub enum efscrypt_status {
    /// Success.
    Ok = 0,
    /// No such file or directory.
    NotFound = 1,
    /// The name exists already.
    Exists = 2,
    /// Not a directory.
    NotDirectory = 3,
    /// Is a directory.
    IsDirectory = 4,
    /// The directory is not empty.
    NotEmpty = 5,
    /// The name is too long.
    NameTooLong = 6,
    /// No state of the store could accept an argument.
    InvalidArgument = 7,
    /// Too many hard links.
    TooManyLinks = 8,
    /// The file would be too large.
    FileTooLarge = 9,
    /// No such extended attribute.
    NoAttribute = 10,
    /// The value is larger than the buffer.
    BufferTooSmall = 11,
    /// The file that the handle or number named is gone.
    Stale = 12,
    /// Not a handle of this file system.
    BadHandle = 13,
    /// Not supported on this type of file.
    NotSupported = 14,
    /// A directory cannot be moved below itself.
    Loop = 15,
    /// Opened read-only.
    ReadOnly = 16,
    /// The attributes changed since the caller read them.
    NotSync = 17,
    /// The value of an extended attribute is longer than 64 KiB.
    ValueTooLarge = 18,
    /// No space left; deleting still works.
    NoSpace = 30,
    /// The device failed.
    Io = 31,
    /// Changes are refused since an earlier failure: close and open again.
    Poisoned = 32,
    /// No memory for what an argument or a file asks for.
    NoMemory = 33,
    /// The store is open elsewhere.
    InUse = 50,
    /// Not a store.
    NotAStore = 51,
    /// The store needs a newer version.
    Unsupported = 52,
    /// The store is truncated.
    Truncated = 53,
    /// Bytes do not authenticate, or make no sense.
    Corrupt = 54,
    /// Another opening took the store over: this one changes nothing any more. Close it.
    TakenOver = 55,
    /// The key does not open the store.
    WrongKey = 70,
    /// Wrong passphrase.
    WrongPassphrase = 71,
    /// The key service has no such key.
    KeyNotFound = 72,
    /// The key is disabled or pending deletion.
    KeyDisabled = 73,
    /// The key service refused.
    KeyDenied = 74,
    /// The key service cannot be reached.
    KeyUnreachable = 75,
    /// The contents key is locked.
    KeyUnavailable = 76,
    /// The store was opened before a fork.
    Forked = 77,
    /// The log of key uses is not the one that the key service continues.
    AuditLogMismatch = 78,
    /// The key was wrapped under another encryption context.
    WrongContext = 79,
    /// A bug in the engine. Where it was a panic in a function on a store, all others on that store
    /// but the one that closes it answer `EFSCRYPT_STATUS_POISONED` from then on.
    Internal = 99,
}

/// Details of a failure. The caller owns it; a function that fails fills it in, and one that
/// succeeds leaves it alone. It never grows.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_error {
    /// The status that the function returned.
    pub status: u32,
    /// The errno value that a POSIX server would answer.
    pub os_error: i32,
    /// What was wrong, with which object, and what to do: UTF-8 with a final NUL, cut short where
    /// it is too long. It holds no key, name or content of the store.
    pub message: [c_char; EFSCRYPT_MESSAGE_LEN],
    /// Bytes that a write or an append had written before it failed; else 0. They are part of the
    /// file, as after a write of so many.
    pub done: u64,
    /// Zero; for later versions.
    pub reserved: [u64; 3],
}

impl From<&Error> for efscrypt_status {
    fn from(error: &Error) -> efscrypt_status {
        use efscrypt_status as S;
        match error.kind() {
            ErrorKind::NotFound => S::NotFound,
            ErrorKind::Exists => S::Exists,
            ErrorKind::NotDirectory => S::NotDirectory,
            ErrorKind::IsDirectory => S::IsDirectory,
            ErrorKind::NotEmpty => S::NotEmpty,
            ErrorKind::NameTooLong => S::NameTooLong,
            ErrorKind::InvalidArgument => S::InvalidArgument,
            ErrorKind::TooManyLinks => S::TooManyLinks,
            ErrorKind::FileTooLarge => S::FileTooLarge,
            ErrorKind::NoAttribute => S::NoAttribute,
            ErrorKind::BufferTooSmall => S::BufferTooSmall,
            ErrorKind::Stale => S::Stale,
            ErrorKind::BadHandle => S::BadHandle,
            ErrorKind::NotSupported => S::NotSupported,
            ErrorKind::Loop => S::Loop,
            ErrorKind::ReadOnly => S::ReadOnly,
            ErrorKind::NotSync => S::NotSync,
            ErrorKind::ValueTooLarge => S::ValueTooLarge,
            ErrorKind::NoSpace => S::NoSpace,
            ErrorKind::Io => S::Io,
            ErrorKind::Poisoned => S::Poisoned,
            ErrorKind::NoMemory => S::NoMemory,
            ErrorKind::TakenOver => S::TakenOver,
            ErrorKind::InUse => S::InUse,
            ErrorKind::NotAStore => S::NotAStore,
            ErrorKind::Unsupported => S::Unsupported,
            ErrorKind::Truncated => S::Truncated,
            ErrorKind::Corrupt => S::Corrupt,
            ErrorKind::WrongKey => S::WrongKey,
            ErrorKind::WrongPassphrase => S::WrongPassphrase,
            ErrorKind::KeyNotFound => S::KeyNotFound,
            ErrorKind::KeyDisabled => S::KeyDisabled,
            ErrorKind::KeyDenied => S::KeyDenied,
            ErrorKind::KeyUnreachable => S::KeyUnreachable,
            ErrorKind::KeyUnavailable => S::KeyUnavailable,
            ErrorKind::Forked => S::Forked,
            ErrorKind::AuditLogMismatch => S::AuditLogMismatch,
            ErrorKind::WrongContext => S::WrongContext,
            ErrorKind::Internal => S::Internal,
        }
    }
}

impl efscrypt_error {
    pub(super) fn of(error: &Error) -> efscrypt_error {
        let text = error.to_string();
        let mut len = text.len().min(EFSCRYPT_MESSAGE_LEN - 1);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut message = [0; EFSCRYPT_MESSAGE_LEN];
        for (to, from) in message.iter_mut().zip(&text.as_bytes()[..len]) {
            *to = *from as c_char;
        }
        let (status, os_error) = (error.kind() as u32, error.errno());
        efscrypt_error { status, os_error, message, done: 0, reserved: [0; 3] }
    }
}

/// The errno value of a status; 0 for success, EIO for a number that does not exist.
#[unsafe(no_mangle)]
pub extern "C" fn efscrypt_status_errno(status: u32) -> i32 {
    const EIO: i32 = 5;
    match status {
        0 => 0,
        number => ErrorKind::ALL
            .iter()
            .find(|kind| **kind as u32 == number)
            .map_or(EIO, |kind| kind.errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_numbers_of_the_kinds() {
        let errors = [Error::NotFound, Error::NoSpace, Error::WrongPassphrase, Error::Forked];
        for error in errors {
            assert_eq!(efscrypt_status::from(&error) as u32, error.kind() as u32);
        }
    }

    #[test]
    fn messages_are_cut_at_characters_and_terminated() {
        let out = efscrypt_error::of(&Error::KeyNotFound("\u{e9}".repeat(300)));
        let text: Vec<u8> = out.message.iter().map(|byte| *byte as u8).collect();
        let end = text.iter().position(|byte| *byte == 0).unwrap();
        assert!(std::str::from_utf8(&text[..end]).is_ok());
        assert_eq!((out.status, out.os_error), (72, 13));
    }
}
