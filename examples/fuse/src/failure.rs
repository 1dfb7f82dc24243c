//! Failures of the program, and what it says: as the command `efscrypt` does.

use std::io;

pub use efscrypt::cli::exit::Failure;
pub use efscrypt::cli::say::say;

/// A result whose error becomes a [`Failure`].
pub trait Try<T> {
    /// Says what was tried, in the form `cannot open FILE`.
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Try<T> for efscrypt::Result<T> {
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(doing(), error))
    }
}

impl<T> Try<T> for io::Result<T> {
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::file(doing(), &error))
    }
}
