//! Failures of the program, and what it says.

use std::fmt::Display;
use std::io::{self, Write};

/// What was tried, and why it failed.
pub struct Failure(String);

impl Failure {
    /// Of what was tried, in the form `cannot open FILE`.
    pub fn new(doing: impl Display, why: impl Display) -> Failure {
        Failure(format!("{doing}: {why}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A result whose error becomes a [`Failure`].
pub trait Try<T> {
    /// Says what was tried.
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> Try<T> for Result<T, E> {
    fn or_fail(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(doing(), error))
    }
}

/// Says a line to who started the program, if somebody listens.
pub fn say(line: &str) {
    let _nobody = writeln!(io::stderr().lock(), "efscrypt-fuse: {line}");
}
