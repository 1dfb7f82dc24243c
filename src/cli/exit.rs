//! How a program of this project fails: what it says, and the exit code.
//!
//! An exit code is the number of the library's [`ErrorKind`], which is stable and never reused.
//! Numbers below 20 are shifted by 10, because shells and argument parsers give 1 and 2 meanings
//! of their own. `docs/command.md` has the table of [`CODES`], and a test keeps it so.

use std::io;
use std::process::ExitCode;

use serde::Serialize;

use super::say;
use crate::error::{Error, ErrorKind, Object};

/// Wrong arguments.
const USAGE: u8 = 2;
/// A name that something else has.
pub const NAME_TAKEN: u8 = 12;
/// Something that is no directory, where one is needed.
pub const NOT_DIRECTORY: u8 = 13;
/// A directory that is not empty.
pub const NOT_EMPTY: u8 = 15;
/// No space.
pub const NO_SPACE: u8 = 30;
/// A store, or the destination of an export, that somebody else uses.
pub const IN_USE: u8 = 50;
/// A copy that is not the same as its source.
pub const DIFFERS: u8 = 90;
/// A copy that is whole but for what the file system there cannot hold.
pub const UNHELD: u8 = 97;
/// Names, attributes or structure that do not authenticate or make no sense.
pub const METADATA_DAMAGED: u8 = 91;
/// Contents that do not authenticate.
pub const CONTENTS_DAMAGED: u8 = 92;
/// Space that is in use by nothing.
pub const SPACE_LOST: u8 = 93;
/// Something that could not be read, so that nobody knows whether it is damaged.
pub const UNREAD: u8 = 94;
/// Blocks whose checksum does not fit, of which only a check with the keys can say whether they
/// are in use.
pub const SUSPECT: u8 = 95;
/// Something that was done, and could not be told.
const UNTOLD: u8 = 96;
/// A broken promise of the program's own.
pub const BUG: u8 = 99;

/// Every code beside 0, and what it means.
pub const CODES: &[(u8, &str)] = &[
    (2, "wrong arguments: nothing was done"),
    (11, "the file or directory is not there"),
    (12, "the name is taken already"),
    (13, "not a directory"),
    (14, "is a directory"),
    (15, "the directory is not empty"),
    (16, "the name is too long"),
    (17, "a store does not take what it was given"),
    (18, "too many hard links"),
    (19, "the file is too large"),
    (20, "no such extended attribute"),
    (21, "a value is larger than the room for it"),
    (22, "the file is gone"),
    (23, "not a handle of this store"),
    (24, "not for this type of file"),
    (25, "a directory cannot stand below itself"),
    (26, "opened read-only"),
    (27, "the file changed meanwhile"),
    (28, "the value of an extended attribute is too large"),
    (30, "no space left"),
    (31, "input or output failed"),
    (32, "the store refuses changes since an earlier failure"),
    (33, "out of memory"),
    (50, "the store, or the destination of an export, is in use"),
    (51, "not a store"),
    (52, "made by a newer version"),
    (53, "truncated"),
    (54, "damaged or tampered with"),
    (55, "another opening took the store over"),
    (70, "wrong key"),
    (71, "wrong passphrase"),
    (72, "the key service has no such key"),
    (73, "the key is disabled or pending deletion"),
    (74, "the key may not be used"),
    (75, "the key service cannot be reached"),
    (76, "the contents key is locked"),
    (77, "opened before the process forked"),
    (78, "the audit log is not the one that the key service knows"),
    (79, "another encryption context than at the creation"),
    (90, "a copy is not the same as its source"),
    (91, "the check found damaged names, attributes or structure"),
    (92, "the check found damaged contents, and nothing else"),
    (93, "the check found lost space, and no damage"),
    (94, "the check could not read everything, and found no damage"),
    (95, "the check without keys found blocks that only a check with them can judge"),
    (96, "all was done, but the output could not be written"),
    (97, "the destination of an export cannot hold everything as the store has it"),
    (99, "a bug in efscrypt"),
];

/// A failed subcommand.
pub struct Failure {
    /// What was tried, with the object's name: `cannot open key service file x`.
    doing: String,
    why: String,
    hint: Option<&'static str>,
    code: u8,
    /// Whether it ends work on many things, whatever its code.
    ends: bool,
}

impl Failure {
    /// Of what was tried, in the form `cannot open FILE`, and why it failed. What the library
    /// takes for an invalid argument is one of the command's own: nothing was done.
    pub fn new(doing: impl Into<String>, error: Error) -> Self {
        let code = match error.unnamed() {
            Error::InvalidArgument(_) => USAGE,
            error => code(error),
        };
        Failure { code, ..Failure::of_part(doing, error) }
    }

    /// Of one of many things that a command does, in the form `cannot import FILE`.
    pub fn of_part(doing: impl Into<String>, error: Error) -> Self {
        let (doing, error) = (doing.into(), error);
        let (hint, code) = (hint(error.unnamed()), code(error.unnamed()));
        // What was tried names the object already.
        let why = error.unnamed().to_string();
        Failure { doing, why, hint, code, ends: false }
    }

    /// Wrong arguments that the parser cannot see.
    pub fn usage(doing: impl Into<String>, why: &str) -> Self {
        Failure { doing: doing.into(), why: why.to_owned(), hint: None, code: USAGE, ends: false }
    }

    /// Of a file that the library does not know.
    pub fn file(doing: impl Into<String>, source: &io::Error) -> Self {
        let code = number(io_kind(source.kind()));
        Failure { doing: doing.into(), why: source.to_string(), hint: None, code, ends: false }
    }

    /// With what to do about it.
    pub fn with_hint(self, hint: &'static str) -> Self {
        Failure { hint: Some(hint), ..self }
    }

    /// Of something that the library has no error for.
    pub fn of_code(doing: impl Into<String>, why: &str, code: u8) -> Self {
        Failure { doing: doing.into(), why: why.to_owned(), hint: None, code, ends: false }
    }

    /// As one after which nothing else can succeed.
    pub fn ending(self) -> Self {
        Failure { ends: true, ..self }
    }

    /// Of telling what was done, in the form `STORE was made`: no reason to do it again.
    pub fn after(self, done: &str) -> Self {
        let doing = format!("{done}, but this program {}", self.doing);
        Failure { doing, hint: None, code: UNTOLD, ..self }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Whether nothing else that is done with the same store, or in the same place, can succeed.
    pub fn is_final(&self) -> bool {
        const FINAL: [ErrorKind; 7] = [
            ErrorKind::ReadOnly,
            ErrorKind::NoSpace,
            ErrorKind::Poisoned,
            ErrorKind::TakenOver,
            ErrorKind::KeyDisabled,
            ErrorKind::KeyUnavailable,
            ErrorKind::Forked,
        ];
        self.ends || FINAL.iter().any(|kind| number(*kind) == self.code)
    }

    /// What to do about it, for a failure that has no word on that yet.
    pub fn or_hint(self, hint: Option<&'static str>) -> Self {
        Failure { hint: self.hint.or(hint), ..self }
    }

    /// Says on standard error what failed, why, and what to do; in JSON where that was asked for.
    pub fn print(&self) {
        if say::in_json() {
            let Failure { doing, why, hint, code, .. } = self;
            let view = FailureView { code: *code, doing, why, hint: *hint };
            if let Ok(line) = serde_json::to_string(&ErrorView { error: view }) {
                return say::say_json(&line);
            }
        }
        say::say(&format!("{}: {}", self.doing, self.why));
        if let Some(hint) = self.hint {
            say::advise(hint);
        }
    }
}

/// A failure in JSON, one line.
#[derive(Serialize)]
struct ErrorView<'a> {
    error: FailureView<'a>,
}

#[derive(Serialize)]
struct FailureView<'a> {
    /// The exit code that it has.
    code: u8,
    /// What was tried.
    doing: &'a str,
    why: &'a str,
    /// What to do about it, or `null`.
    hint: Option<&'a str>,
}

/// What is said, and the exit code, where the arguments are not understood, or ask for help.
pub fn misused(error: &clap::Error) -> ExitCode {
    if say::in_json() && error.use_stderr() {
        let text = error.to_string();
        let why = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        let failure = Failure::usage("cannot understand the arguments", why);
        failure.print();
        return ExitCode::from(failure.code());
    }
    let _nobody = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// The table for `--help`.
pub fn help() -> String {
    let rows = CODES.iter().map(|(code, meaning)| format!("\n  {code:>2}  {meaning}"));
    format!("Exit codes:\n   0  success{}", rows.collect::<String>())
}

fn code(error: &Error) -> u8 {
    match error.unnamed() {
        Error::Io { source, .. } => number(io_kind(source.kind())),
        other => number(other.kind()),
    }
}

fn number(kind: ErrorKind) -> u8 {
    match kind as u32 {
        number @ ..20 => number as u8 + 10,
        number => u8::try_from(number).unwrap_or(BUG),
    }
}

fn io_kind(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::NotADirectory => ErrorKind::NotDirectory,
        io::ErrorKind::IsADirectory => ErrorKind::IsDirectory,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        io::ErrorKind::DirectoryNotEmpty => ErrorKind::NotEmpty,
        io::ErrorKind::InvalidFilename => ErrorKind::NameTooLong,
        io::ErrorKind::TooManyLinks => ErrorKind::TooManyLinks,
        io::ErrorKind::FileTooLarge => ErrorKind::FileTooLarge,
        io::ErrorKind::StaleNetworkFileHandle => ErrorKind::Stale,
        io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
        _ => ErrorKind::Io,
    }
}

/// What to do about a failure, where its text does not say so.
fn hint(error: &Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::WrongPassphrase => "type it again, or name the file that holds it",
        ErrorKind::WrongKey => "name the key file that was used when the file was made",
        ErrorKind::Corrupt => "put back a backup, and keep the damaged file for inspection",
        ErrorKind::KeyNotFound => "`efscrypt key list` shows the keys there are",
        ErrorKind::AuditLogMismatch => {
            "put the log back, or begin a new one: `efscrypt key audit new` keeps what is there, \
             and records what the new log continues"
        }
        ErrorKind::WrongContext => "give the same --context pairs as at the creation of the store",
        ErrorKind::Internal => "please report this with the command that caused it",
        ErrorKind::Io => return log_hint(error).or_else(|| key_hint(error)),
        _ => return None,
    })
}

/// What to do about files of a key service that cannot be read or written.
fn key_hint(error: &Error) -> Option<&'static str> {
    let Error::Io { object: Object::KeyService | Object::KeyFile, source, .. } = error else {
        return None;
    };
    Some(match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "run it as a user who may read the key service file, its key file and its passphrase \
             file, and write what is to be changed"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room where the key service file is"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "it is on a read-only medium, where keys can be used and not changed"
        }
        _ => return None,
    })
}

/// What to do about a log of key uses that cannot be read or written, at whatever moment.
pub(super) fn log_hint(error: &Error) -> Option<&'static str> {
    let Error::Io { object: Object::AuditLog, source, .. } = error.unnamed() else { return None };
    Some(match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "run it as the owner of the key service file, whose log it is, or name a log of your \
             own with --audit"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room where the log is, or name a log on another disk with --audit"
        }
        io::ErrorKind::ReadOnlyFilesystem => "name a log that can be written with --audit",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: io::ErrorKind) -> Error {
        Error::Io { op: "write", object: Object::KeyService, source: kind.into() }
    }

    #[test]
    fn codes_follow_the_kinds() {
        for (error, expected) in [
            (Error::InvalidArgument("x"), 17),
            (Error::NotFound, 11),
            (Error::Exists, 12),
            (Error::IsDirectory, 14),
            (Error::NoSpace, 30),
            (io(io::ErrorKind::StorageFull), 30),
            (io(io::ErrorKind::QuotaExceeded), 30),
            (io(io::ErrorKind::NotFound), 11),
            (io(io::ErrorKind::FileTooLarge), 19),
            (io(io::ErrorKind::UnexpectedEof), 53),
            (io(io::ErrorKind::PermissionDenied), 31),
            (Error::InUse, 50),
            (Error::NotAStore, 51),
            (Error::Truncated { have: 1, need: 2 }, 53),
            (Error::WrongKey(Object::Store), 70),
            (Error::WrongPassphrase, 71),
            (Error::KeyDisabled { id: String::new(), state: "disabled" }, 73),
            (Error::Internal("x"), 99),
        ] {
            assert_eq!(code(&error), expected, "{error}");
            assert_eq!(Failure::of_part("x", error).code(), expected);
        }
    }

    #[test]
    fn wrong_arguments_are_those_of_the_command() {
        assert_eq!(Failure::new("x", Error::InvalidArgument("y")).code(), USAGE);
        assert_eq!(Failure::usage("x", "y").code(), USAGE);
        assert_eq!(Failure::new("x", Error::NotFound).code(), 11);
        assert!(ErrorKind::ALL.iter().all(|kind| number(*kind) != USAGE));
    }

    #[test]
    fn every_kind_has_a_code_of_its_own_in_the_table() {
        let mut kinds = ErrorKind::ALL.to_vec();
        kinds.sort_by_key(|kind| number(*kind));
        kinds.dedup();
        assert!(kinds.windows(2).all(|pair| number(pair[0]) < number(pair[1])), "one code for two");
        for kind in kinds {
            assert!(CODES.iter().any(|&(code, _)| code == number(kind)), "{kind:?}");
        }
    }

    #[test]
    fn the_table_ascends_and_stands_in_the_manual() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let manual = include_str!("../../docs/command.md");
        for (code, meaning) in CODES {
            assert!(manual.contains(&format!("| {code} | {meaning} |")), "{code}");
        }
    }
}
