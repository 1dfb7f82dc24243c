//! What to do about failures to use a store.

use std::io;

use crate::error::{Error, ErrorKind, Object};

/// What to do about a failure to use a store, where that differs from what the same failure of a
/// key service file asks for.
pub fn for_store(error: &Error) -> Option<&'static str> {
    let error = error.unnamed();
    Some(match error.kind() {
        ErrorKind::NotFound => "`efscrypt create` makes a store",
        ErrorKind::Exists => "name a file that is not there, or an empty one",
        ErrorKind::IsDirectory => "name the store's file, not the directory it is in",
        ErrorKind::NoSpace => "make room where the store is, or give it a larger device",
        ErrorKind::Io => io_hint(error)?,
        ErrorKind::NotAStore => "name a file that `efscrypt create` made",
        ErrorKind::Unsupported => "use a newer efscrypt",
        ErrorKind::Truncated => {
            "its end is missing: copy it again from where it is whole, or lengthen a device that \
             was made shorter; what is left can be read (`efscrypt export`), and `efscrypt check \
             --repair --give-up-unreadable` makes a store of it"
        }
        ErrorKind::Corrupt => corrupt_hint(error)?,
        ErrorKind::WrongKey => "name the key service file of this store with --kms",
        ErrorKind::KeyNotFound => {
            "name the key service file that has the key with --kms; \
             `efscrypt key list` shows the keys of one"
        }
        ErrorKind::KeyDisabled => {
            "`efscrypt key enable KEY` allows its use, \
             after `efscrypt key cancel-deletion KEY` where it was to be deleted"
        }
        ErrorKind::ReadOnly => {
            "it is on a read-only medium: mount it with --read-only, or copy it elsewhere"
        }
        ErrorKind::TakenOver => "close it there, then run the command again",
        ErrorKind::Poisoned => "run the command again: it opens the store anew",
        _ => return None,
    })
}

fn io_hint(error: &Error) -> Option<&'static str> {
    let Error::Io { source, object, .. } = error else { return None };
    if !is_of_store(object) {
        return None;
    }
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room where the store is")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("it is on a read-only medium: mount it with --read-only, or copy it elsewhere")
        }
        io::ErrorKind::PermissionDenied => Some("run it as the user that owns the file"),
        io::ErrorKind::NotADirectory => Some("name the store's file"),
        _ => Some("look into the system's log for failures of the disk"),
    }
}

fn corrupt_hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Corrupt { object, .. } if !is_of_store(object) => return None,
        // Of a service that does not tell one from the other.
        Error::Corrupt { object: Object::WrappedKey, .. } => {
            "give the same --context pairs as at its creation; with the right ones, the store's \
             key slots are damaged: put back a backup"
        }
        _ => {
            "`efscrypt check` shows all that is damaged, and with --repair does what can be done; \
             put the rest back from a backup"
        }
    })
}

/// Whether something is not of the key service, whose failures have hints of their own.
fn is_of_store(object: &Object) -> bool {
    use Object as O;
    !matches!(object, O::KeyService | O::KeyFile | O::AuditLog | O::AuditRecord { .. })
}
