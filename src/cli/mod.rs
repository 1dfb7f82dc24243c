//! L10: what the programs of this project share: how they ask for what opens a key service, what
//! they say, and their exit codes. With the feature `cli`; not an interface for embedders, and free
//! to change in any version.

pub mod exit;
pub mod hint;
mod prompt;
pub mod say;
pub mod unlock;
