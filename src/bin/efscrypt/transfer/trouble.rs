//! Trouble: why one thing of a tree was not copied, before it is known where it is.

use std::io;
use std::ops::Range;

use efscrypt::Error;
use rustix::io::Errno;

use super::xattrs::Refused;
use crate::exit::{self, Failure};
use crate::output;

/// The result of work on one thing.
pub type Result<T> = std::result::Result<T, Trouble>;

/// What [`Trouble::Differs`] names where contents differ.
pub const CONTENTS: &str = "contents";

/// Most ranges that a message names: no file fills the screen for ever.
const MOST_RANGES: usize = 1000;

/// Why something failed.
pub enum Trouble {
    /// On the machine's side.
    Host(io::Error),
    /// On the store's side.
    Store(Error),
    /// Somebody changed it in the middle.
    Changed,
    /// A directory that is not empty, where something else has to be.
    InTheWay,
    /// A copy that differs from what it was made from, in this.
    Differs(&'static str),
    /// Something that is in the source and not in the copy.
    Missing,
    /// Something that has the name under which an import makes what is not whole yet.
    Reserved,
    /// Something that was not there before has the name.
    Taken,
    /// A name that the destination takes for another one of the store, perhaps this.
    Folded(Option<Vec<u8>>),
    /// Something that the destination cannot hold at all, and what it says.
    Unheld(&'static str, io::Error),
    /// What the destination does not keep; all else is copied.
    Lacks(Vec<&'static str>),
    /// Attributes that the machine did not take; all else is copied.
    Refused(Refused),
    /// Contents that could not be read; zeros stand for them in the copy.
    Zeros(Error, Vec<Range<u64>>),
    /// Other work came to its end, and this with it.
    Stopped,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Host(error)
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Trouble {
        Trouble::Host(error.into())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Store(error)
    }
}

impl Trouble {
    /// As a failure of what was tried, in the form `cannot import FILE`.
    pub fn at(self, doing: &str) -> Failure {
        let failure = |why: &str, code, hint| Failure::of_code(doing, why, code).with_hint(hint);
        match self {
            Trouble::Host(error) => host_failure(doing, &error),
            Trouble::Store(error) => store_failure(doing, error),
            Trouble::Changed => failure(
                "it changed while it was copied",
                exit::DIFFERS,
                "run the command again when nobody writes to it",
            ),
            Trouble::InTheWay => failure(
                "a directory that is not empty is in its place",
                exit::NOT_EMPTY,
                "move or remove that directory, then run the command again",
            ),
            Trouble::Differs(what) => {
                failure(&format!("the copy has other {what}"), exit::DIFFERS, differs_hint(what))
            }
            Trouble::Missing => failure(
                "it is missing in the copy",
                exit::DIFFERS,
                "run the command again, which copies what is missing",
            ),
            Trouble::Reserved => failure(
                "the name is reserved for what an import has not finished",
                exit::NAME_TAKEN,
                "give it another name",
            ),
            Trouble::Refused(refused) => failure(
                &refused_why(&refused),
                exit::UNHELD,
                "all else is copied; --no-xattrs leaves all of them out",
            ),
            Trouble::Taken => failure(
                "something of this name was made there meanwhile",
                exit::NAME_TAKEN,
                "move it away, or give --overwrite",
            ),
            Trouble::Folded(other) => failure(
                &folded_why(other),
                exit::UNHELD,
                "give one of them another name, or export to a file system that tells them apart",
            ),
            Trouble::Unheld(what, error) => failure(
                &format!("the file system there does not take {what}: {error}"),
                exit::UNHELD,
                "export it to another file system, or keep it in an archive there",
            ),
            Trouble::Lacks(what) => {
                let why = format!("the file system there does not keep its {}", what.join(", "));
                Failure::of_code(doing, &why, exit::UNHELD)
            }
            Trouble::Zeros(error, ranges) => {
                let kept = format!("{doing}; {}", zeros(&ranges));
                Failure::of_part(kept, error).with_hint("put it back from a backup")
            }
            Trouble::Stopped => failure(
                "stopped, because of an earlier failure",
                exit::DIFFERS,
                "run the command again when that is mended",
            ),
        }
    }
}

fn host_failure(doing: &str, error: &io::Error) -> Failure {
    let failure = Failure::file(doing, error);
    let failure = match host_hint(error) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    };
    // Without descriptors everything else would fail in the same way.
    if is_out_of_files(error) { failure.ending() } else { failure }
}

fn store_failure(doing: &str, error: Error) -> Failure {
    let hint = store_hint(&error);
    let failure = Failure::of_part(doing, error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// `zeros stand for bytes 0-4095, 8192-12287`.
fn zeros(ranges: &[Range<u64>]) -> String {
    let shown = ranges.iter().take(MOST_RANGES);
    let shown: Vec<_> = shown.map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    let more = match ranges.len().saturating_sub(MOST_RANGES) {
        0 => String::new(),
        n => format!(" and {}", output::count(n as u64, "more range")),
    };
    format!("zeros stand for bytes {}{more}", shown.join(", "))
}

fn folded_why(other: Option<Vec<u8>>) -> String {
    let same = "the file system there takes its name for that of";
    match other {
        Some(other) => format!("{same} {}", String::from_utf8_lossy(&other)),
        None => format!("{same} something else"),
    }
}

fn refused_why(refused: &Refused) -> String {
    let (name, why) = (String::from_utf8_lossy(&refused.name), &refused.why);
    let others = match refused.count {
        1 => String::new(),
        n => format!(", nor {}", output::count(n - 1, "other")),
    };
    let less =
        if refused.list { "; without its access list it gets fewer permissions" } else { "" };
    format!("its extended attribute {name} cannot be set{others}: {why}{less}")
}

/// Contents of equal size and times are copied again only where they are compared.
fn differs_hint(what: &str) -> &'static str {
    match what {
        CONTENTS => "run the command again with --checksum, which compares all contents",
        _ => "run the command again, which mends this",
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

fn host_hint(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error().map(Errno::from_raw_os_error)? {
        Errno::ACCESS => Some("run it as a user who may do so"),
        Errno::PERM => Some("only root may do this"),
        Errno::NOSPC | Errno::DQUOT => Some("make room there, then run the command again"),
        Errno::ROFS => Some("choose a place that can be written"),
        Errno::MFILE | Errno::NFILE => Some("raise the limit of open files: ulimit -n"),
        Errno::IO => Some("look into the system's log for failures of the disk"),
        Errno::NOENT => Some("it was removed meanwhile: run the command again"),
        Errno::OPNOTSUPP => Some("the file system there does not have what it needs"),
        Errno::FBIG => Some("the file system there does not take files of this size"),
        _ => None,
    }
}

fn store_hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::NoSpace => "everything so far is kept: make room, then run the command again",
        Error::Corrupt { .. } => "put it back from a backup; `efscrypt check` shows all damage",
        Error::Poisoned(_) => "what was durable is kept: mend the device, run the command again",
        Error::KeyUnavailable => "let the data key be used again, then run the command again",
        Error::Stale | Error::NotFound => "it was removed meanwhile: run the command again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_for_which_there_is_no_room_ends_nothing() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::OPNOTSUPP] {
            let why = errno.into();
            let refused = Refused { name: b"user.k".to_vec(), why, count: 3, list: false };
            let failure = Trouble::Refused(refused).at("cannot export f");
            assert!(!failure.is_final());
            assert_eq!(failure.code(), exit::UNHELD);
            let room = matches!(errno, Errno::NOSPC | Errno::DQUOT);
            assert_eq!(Trouble::Host(errno.into()).at("x").is_final(), room);
        }
    }
}
