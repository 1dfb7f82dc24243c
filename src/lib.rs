//! An embeddable encrypted storage engine: a complete, authenticated, crash-safe file tree in
//! one store.
//!
//! Modules stand in layer order; a module imports only from those above it.

pub mod error;
pub mod limits;
pub mod secret;

mod cpu;

#[doc(hidden)]
pub mod crypto;
pub use crypto::xts;

pub mod device;
pub mod keys;

pub use error::{Error, ErrorKind, Object, Result};
