//! Contents of files.

/// Reads and writes the contents of files.
#[derive(Default)]
pub struct Contents;
