//! L0: the one error type of the crate, its kinds, and their numbers.
//!
//! Every failure is an [`Error`]; each has an [`ErrorKind`], whose number is also the C status
//! and is never reused, and an `errno` for servers that speak POSIX. Errors name objects by
//! number (unit, inode, region), never by name, key or content: those are secrets of the store.
//! What is outside of it, files of the machine and keys of a service, is named.
//! Cryptographic failures carry no detail about what differed.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a failure is about, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Object {
    /// The store as a whole.
    Store,
    /// The unit that says who has the store open.
    Owner,
    /// A slot of the superblock ring: place 0 or 1, slot 0 to 7.
    Superblock {
        /// Which of the two places.
        place: u8,
        /// Slot in the ring.
        slot: u8,
    },
    /// A tree node, by its first unit.
    Node {
        /// First unit on the device.
        unit: u64,
    },
    /// A page of the space map, by its unit.
    SpacePage {
        /// Unit on the device.
        unit: u64,
    },
    /// A record of the intent log, by its byte offset in the ring.
    Log {
        /// Byte offset inside the log ring.
        offset: u64,
    },
    /// A row of a tree that does not parse, by the row's class.
    Row {
        /// First byte of the row's key.
        class: u8,
    },
    /// A wrapped data key.
    Key {
        /// Key id.
        id: u64,
    },
    /// An inode.
    Inode {
        /// Inode number.
        ino: u64,
    },
    /// Contents of a file.
    File {
        /// Inode number.
        ino: u64,
        /// Byte offset in the file.
        offset: u64,
    },
    /// Contents of some file, by their first unit.
    Contents {
        /// First unit on the device.
        unit: u64,
    },
    /// A key service file or another file that is not the store.
    KeyService,
    /// The key file that opens a key service file.
    KeyFile,
    /// A key as a provider wrapped it.
    WrappedKey,
    /// The file of the log of key uses.
    AuditLog,
    /// A record of the log of key uses, by its sequence number.
    AuditRecord {
        /// Sequence number, from 0.
        seq: u64,
    },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Store => write!(f, "the store"),
            Object::Owner => write!(f, "the owner unit"),
            Object::Superblock { place, slot } => {
                write!(f, "superblock slot {slot} of place {place}")
            }
            Object::Node { unit } => write!(f, "tree node at unit {unit}"),
            Object::SpacePage { unit } => write!(f, "space page at unit {unit}"),
            Object::Log { offset } => write!(f, "log record at offset {offset}"),
            Object::Row { class } => write!(f, "row of class {class}"),
            Object::Key { id } => write!(f, "data key {id}"),
            Object::Inode { ino } => write!(f, "inode {ino}"),
            Object::File { ino, offset } => write!(f, "inode {ino} at byte {offset}"),
            Object::Contents { unit } => write!(f, "contents at unit {unit}"),
            Object::KeyService => write!(f, "the key service file"),
            Object::KeyFile => write!(f, "the key file"),
            Object::WrappedKey => write!(f, "a wrapped key"),
            Object::AuditLog => write!(f, "the audit log"),
            Object::AuditRecord { seq } => {
                write!(f, "audit record {seq} (line {} of the audit log)", seq.saturating_add(1))
            }
        }
    }
}

/// Any failure of the crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- answers of the file system -----------------------------------------------------------
    /// No entry of that name, or no such attribute target.
    #[error("no such file or directory")]
    NotFound,
    /// An entry of that name exists.
    #[error("the name exists already")]
    Exists,
    /// A directory was needed.
    #[error("not a directory")]
    NotDirectory,
    /// A directory was given where another type was needed.
    #[error("is a directory")]
    IsDirectory,
    /// The directory still has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A name longer than 255 bytes or a target longer than 4,095.
    #[error("the name is too long")]
    NameTooLong,
    /// An argument that no state of the store could accept; the text says which.
    #[error("invalid argument: {0}")]
    InvalidArgument(&'static str),
    /// The inode has the most hard links that the format allows.
    #[error("too many links")]
    TooManyLinks,
    /// The offset or size is beyond the largest file.
    #[error("the file would be too large")]
    FileTooLarge,
    /// The value of an extended attribute is longer than 64 KiB.
    #[error("the value of an extended attribute has at most 64 KiB")]
    ValueTooLarge,
    /// No extended attribute of that name.
    #[error("no such extended attribute")]
    NoAttribute,
    /// The caller's buffer is too small for the value.
    #[error("the value is larger than the buffer")]
    BufferTooSmall,
    /// A handle whose inode is gone.
    #[error("stale handle: the file it named is gone")]
    Stale,
    /// A handle that this store never gave out.
    #[error("not a handle of this file system")]
    BadHandle,
    /// The operation does not apply to this type of file.
    #[error("operation not supported on this type of file")]
    NotSupported,
    /// A rename that would put a directory below itself.
    #[error("a directory cannot be moved below itself")]
    Loop,
    /// The attributes are not those that the caller knows: its guard does not hold.
    #[error("the file changed since its attributes were read")]
    NotSync,
    /// The store or this handle was opened for reading.
    #[error("opened read-only")]
    ReadOnly,

    // --- space and device ---------------------------------------------------------------------
    /// No space for the operation; deleting still works.
    #[error("no space left in the store: delete files or enlarge the store")]
    NoSpace,
    /// The device failed.
    #[error("{op} failed on {object}: {source}")]
    Io {
        /// What was tried, e.g. "read".
        op: &'static str,
        /// On what.
        object: Object,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is no memory for what an argument or a file asks for.
    #[error("out of memory: {0}")]
    NoMemory(&'static str),
    /// An earlier write or flush failed, so nothing may change until the store is reopened.
    #[error("the store refuses changes since an earlier failure ({0}): close it and open it again")]
    Poisoned(Arc<str>),

    // --- the store itself ---------------------------------------------------------------------
    /// Another process, or another handle of this one, has the store open.
    #[error("the store is in use: close the program that has it open")]
    InUse,
    /// Who has the store open, as far as that can be told; of the kind [`ErrorKind::InUse`].
    #[error("the store is in use: {0}")]
    InUseBy(Arc<str>),
    /// Another opening for writing took the store over while this one had it open, so this one
    /// changes nothing any more; the text says whose it is.
    #[error("the store was taken over by {0}, and takes no more changes here")]
    TakenOver(Arc<str>),
    /// The file is not a store.
    #[error("not an efscrypt store")]
    NotAStore,
    /// The store's format is newer than this build.
    #[error("the store needs a newer version: {0}")]
    Unsupported(&'static str),
    /// The store is shorter than its superblock says.
    #[error("the store is truncated: it has {have} bytes and needs {need}")]
    Truncated {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        need: u64,
    },
    /// Bytes that do not authenticate, or authenticate and make no sense.
    #[error("{object} is damaged: {why}")]
    Corrupt {
        /// What is damaged.
        object: Object,
        /// Which check failed.
        why: &'static str,
    },

    // --- keys ---------------------------------------------------------------------------------
    /// The key does not open this store.
    #[error("wrong key: it does not open {0}")]
    WrongKey(Object),
    /// The passphrase does not open the key service file.
    #[error("wrong passphrase for the key service file")]
    WrongPassphrase,
    /// The provider has no such key.
    #[error("the key service has no key {0:?}")]
    KeyNotFound(String),
    /// The provider has the key but it is disabled or pending deletion.
    #[error("key {id} is {state}: enable it in the key service")]
    KeyDisabled {
        /// The provider's id of the key.
        id: String,
        /// Its state, in words.
        state: &'static str,
    },
    /// The provider refused.
    #[error("the key service refused: {0}")]
    KeyDenied(String),
    /// The provider could not be asked.
    #[error("the key service cannot be reached: {0}")]
    KeyUnreachable(String),
    /// The domain's keys are locked or were never unlocked.
    #[error("the contents key is not available: it was locked, or not unlocked at opening")]
    KeyUnavailable,
    /// The process forked after the store was opened; a child cannot use its keys.
    #[error("the store was opened before a fork: open it again in this process")]
    Forked,
    /// The log of key uses is not the one that the key service continues: it was removed, cut,
    /// exchanged or rewritten.
    #[error("the audit log is not the one that the key service knows: {0}")]
    AuditLogMismatch(&'static str),
    /// A key was wrapped under another encryption context than the one that was given.
    #[error("the encryption context is not the one that the key was wrapped with")]
    WrongContext,
    /// Another error, of something that has a name outside of the store, such as a file of the
    /// machine; it has the kind of that error.
    #[error("{name}: {error}")]
    Named {
        /// What it is, e.g. `store /srv/photos`.
        name: String,
        /// What happened to it.
        error: Box<Error>,
    },
    /// An invariant of the engine does not hold: a bug, reported instead of a panic.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

/// The kind of an [`Error`]: stable numbers, shared with the C ABI, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
#[allow(missing_docs, reason = "each is documented at the variant of Error it stands for")]
pub enum ErrorKind {
    NotFound = 1,
    Exists = 2,
    NotDirectory = 3,
    IsDirectory = 4,
    NotEmpty = 5,
    NameTooLong = 6,
    InvalidArgument = 7,
    TooManyLinks = 8,
    FileTooLarge = 9,
    NoAttribute = 10,
    BufferTooSmall = 11,
    Stale = 12,
    BadHandle = 13,
    NotSupported = 14,
    Loop = 15,
    ReadOnly = 16,
    NotSync = 17,
    ValueTooLarge = 18,
    NoSpace = 30,
    Io = 31,
    Poisoned = 32,
    NoMemory = 33,
    InUse = 50,
    NotAStore = 51,
    Unsupported = 52,
    Truncated = 53,
    Corrupt = 54,
    TakenOver = 55,
    WrongKey = 70,
    WrongPassphrase = 71,
    KeyNotFound = 72,
    KeyDisabled = 73,
    KeyDenied = 74,
    KeyUnreachable = 75,
    KeyUnavailable = 76,
    Forked = 77,
    AuditLogMismatch = 78,
    WrongContext = 79,
    Internal = 99,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: &[ErrorKind] = &[
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::NotDirectory,
        ErrorKind::IsDirectory,
        ErrorKind::NotEmpty,
        ErrorKind::NameTooLong,
        ErrorKind::InvalidArgument,
        ErrorKind::TooManyLinks,
        ErrorKind::FileTooLarge,
        ErrorKind::NoAttribute,
        ErrorKind::BufferTooSmall,
        ErrorKind::Stale,
        ErrorKind::BadHandle,
        ErrorKind::NotSupported,
        ErrorKind::Loop,
        ErrorKind::ReadOnly,
        ErrorKind::NotSync,
        ErrorKind::ValueTooLarge,
        ErrorKind::NoSpace,
        ErrorKind::Io,
        ErrorKind::Poisoned,
        ErrorKind::NoMemory,
        ErrorKind::InUse,
        ErrorKind::NotAStore,
        ErrorKind::Unsupported,
        ErrorKind::Truncated,
        ErrorKind::Corrupt,
        ErrorKind::TakenOver,
        ErrorKind::WrongKey,
        ErrorKind::WrongPassphrase,
        ErrorKind::KeyNotFound,
        ErrorKind::KeyDisabled,
        ErrorKind::KeyDenied,
        ErrorKind::KeyUnreachable,
        ErrorKind::KeyUnavailable,
        ErrorKind::Forked,
        ErrorKind::AuditLogMismatch,
        ErrorKind::WrongContext,
        ErrorKind::Internal,
    ];

    /// The `errno` value (Linux) that a POSIX server answers with.
    pub fn errno(self) -> i32 {
        use ErrorKind as K;
        let errno = match self {
            K::NotFound => Errno::NOENT,
            K::Exists => Errno::EXIST,
            K::NotDirectory => Errno::NOTDIR,
            K::IsDirectory => Errno::ISDIR,
            K::NotEmpty => Errno::NOTEMPTY,
            K::NameTooLong => Errno::NAMETOOLONG,
            K::InvalidArgument => Errno::INVAL,
            K::TooManyLinks => Errno::MLINK,
            K::FileTooLarge => Errno::FBIG,
            K::NoAttribute => Errno::NODATA,
            K::BufferTooSmall => Errno::RANGE,
            K::Stale => Errno::STALE,
            K::BadHandle => Errno::BADF,
            K::NotSupported => Errno::OPNOTSUPP,
            K::Loop => Errno::INVAL,
            K::NotSync => Errno::AGAIN,
            K::ValueTooLarge => Errno::TOOBIG,
            K::ReadOnly => Errno::ROFS,
            K::NoSpace => Errno::NOSPC,
            K::Io => Errno::IO,
            K::Poisoned => Errno::IO,
            K::NoMemory => Errno::NOMEM,
            K::InUse => Errno::BUSY,
            K::NotAStore => Errno::INVAL,
            K::Unsupported => Errno::OPNOTSUPP,
            K::Truncated => Errno::IO,
            K::Corrupt => Errno::IO,
            K::TakenOver => Errno::IO,
            K::WrongKey => Errno::ACCESS,
            K::WrongPassphrase => Errno::ACCESS,
            K::KeyNotFound => Errno::ACCESS,
            K::KeyDisabled => Errno::ACCESS,
            K::KeyDenied => Errno::ACCESS,
            K::KeyUnreachable => Errno::AGAIN,
            K::KeyUnavailable => Errno::ACCESS,
            K::Forked => Errno::IO,
            K::AuditLogMismatch => Errno::IO,
            K::WrongContext => Errno::ACCESS,
            K::Internal => Errno::IO,
        };
        errno.raw_os_error()
    }
}

impl Error {
    /// The kind, whose number is stable.
    pub fn kind(&self) -> ErrorKind {
        use ErrorKind as K;
        match self {
            Error::NotFound => K::NotFound,
            Error::Exists => K::Exists,
            Error::NotDirectory => K::NotDirectory,
            Error::IsDirectory => K::IsDirectory,
            Error::NotEmpty => K::NotEmpty,
            Error::NameTooLong => K::NameTooLong,
            Error::InvalidArgument(_) => K::InvalidArgument,
            Error::TooManyLinks => K::TooManyLinks,
            Error::FileTooLarge => K::FileTooLarge,
            Error::NoAttribute => K::NoAttribute,
            Error::BufferTooSmall => K::BufferTooSmall,
            Error::Stale => K::Stale,
            Error::BadHandle => K::BadHandle,
            Error::NotSupported => K::NotSupported,
            Error::Loop => K::Loop,
            Error::NotSync => K::NotSync,
            Error::ValueTooLarge => K::ValueTooLarge,
            Error::ReadOnly => K::ReadOnly,
            Error::NoSpace => K::NoSpace,
            Error::Io { .. } => K::Io,
            Error::Poisoned(_) => K::Poisoned,
            Error::NoMemory(_) => K::NoMemory,
            Error::InUse | Error::InUseBy(_) => K::InUse,
            Error::NotAStore => K::NotAStore,
            Error::Unsupported(_) => K::Unsupported,
            Error::Truncated { .. } => K::Truncated,
            Error::Corrupt { .. } => K::Corrupt,
            Error::TakenOver(_) => K::TakenOver,
            Error::WrongKey(_) => K::WrongKey,
            Error::WrongPassphrase => K::WrongPassphrase,
            Error::KeyNotFound(_) => K::KeyNotFound,
            Error::KeyDisabled { .. } => K::KeyDisabled,
            Error::KeyDenied(_) => K::KeyDenied,
            Error::KeyUnreachable(_) => K::KeyUnreachable,
            Error::KeyUnavailable => K::KeyUnavailable,
            Error::Forked => K::Forked,
            Error::AuditLogMismatch(_) => K::AuditLogMismatch,
            Error::WrongContext => K::WrongContext,
            Error::Named { error, .. } => error.kind(),
            Error::Internal(_) => K::Internal,
        }
    }

    /// The `errno` value (Linux) that a POSIX server answers with.
    pub fn errno(&self) -> i32 {
        self.kind().errno()
    }

    /// The error itself, without the name of what it is about.
    pub fn unnamed(&self) -> &Error {
        match self {
            Error::Named { error, .. } => error.unnamed(),
            error => error,
        }
    }

    /// As [`Error::unnamed`], by value.
    pub fn into_unnamed(self) -> Error {
        match self {
            Error::Named { error, .. } => error.into_unnamed(),
            error => error,
        }
    }

    /// The error of something that has a name outside of the store.
    pub(crate) fn named(self, name: impl fmt::Display) -> Error {
        match self {
            named @ Error::Named { .. } => named,
            error => Error::Named { name: name.to_string(), error: Box::new(error) },
        }
    }

    pub(crate) fn corrupt(object: Object, why: &'static str) -> Error {
        Error::Corrupt { object, why }
    }

    pub(crate) fn io(op: &'static str, object: Object, source: io::Error) -> Error {
        Error::Io { op, object, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_in_order() {
        let numbers: Vec<u32> = ErrorKind::ALL.iter().map(|kind| *kind as u32).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
