//! An embeddable encrypted storage engine: a complete, authenticated, crash-safe file tree in
//! one store.
//!
//! Modules stand in layer order; a module imports only from those above it.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod error;
pub mod limits;
pub mod secret;

mod cpu;
pub mod host;

#[doc(hidden)]
pub mod crypto;
pub use crypto::xts;

mod format;

pub mod device;
pub mod keys;

mod block;

mod tree;

#[doc(hidden)]
pub mod txn;

pub mod fs;

mod store;

pub mod check;

#[doc(hidden)]
#[cfg(feature = "cli")]
pub mod cli;
pub mod ffi;

#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use error::{Error, ErrorKind, Object, Result};
pub use store::{
    DataAccess, DomainDescription, HeaderBackup, HeaderDescription, HeaderKey, Providers, Restored,
    Rewrap, Store, StoreDescription, StoreOptions,
};
pub use txn::Takeover;
