//! L10: the C ABI, as `include/efscrypt.h` declares it.
//!
//! Conventions, which the header repeats for its users:
//!
//! - A function is `efscrypt_<object>_<verb>`. It answers an `efscrypt_status`: 0 for success, else
//!   the number of the Rust [`ErrorKind`](crate::ErrorKind), never reused.
//! - Objects are opaque. `_create` and `_open` give one out through the last argument but one;
//!   `_free` or `_close` ends it, and accepts NULL.
//! - The last argument is an `efscrypt_error` of the caller's that receives details, or NULL.
//! - Outputs are written on success only. Inputs are not kept, unless said so.
//! - Every function may be called from any thread, many at a time on one object, but for the one
//!   that ends it.
//! - In a forked child every function on an object of the parent answers `EFSCRYPT_STATUS_FORKED`,
//!   before it takes any lock: another thread may have held that at the fork.
//! - A panic never crosses the boundary: it becomes `EFSCRYPT_STATUS_INTERNAL`. Nobody knows then
//!   what it left half done: the store is poisoned, and from now on every function on it but the
//!   one that closes it answers `EFSCRYPT_STATUS_POISONED`.
//! - A NULL where an object or a buffer is needed becomes `EFSCRYPT_STATUS_INVALID_ARGUMENT`.
//! - A struct that C fills in begins with its own size and may grow at its end (`sized`). A
//!   struct that C receives never grows, but for one that it only sees through a pointer in a
//!   callback.
#![allow(unsafe_code, reason = "C passes raw pointers")]

mod audit;
mod boundary;
mod bytes;
mod callbacks;
mod check;
mod describe;
mod error;
mod fs;
#[cfg(feature = "local-kms")]
mod kms;
mod options;
mod provider;
mod sized;
mod store;
mod trim;
mod version;

pub use audit::*;
pub use callbacks::*;
pub use check::*;
pub use describe::*;
pub use error::*;
pub use fs::*;
#[cfg(feature = "local-kms")]
pub use kms::*;
pub use options::*;
pub use provider::*;
pub use store::*;
pub use trim::*;
pub use version::*;
