//! L9: the C ABI, as `include/efscrypt.h` declares it.
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
//! - A panic never crosses the boundary: it becomes `EFSCRYPT_STATUS_INTERNAL`.
//! - A NULL where an object or a buffer is needed becomes `EFSCRYPT_STATUS_INVALID_ARGUMENT`.
#![allow(unsafe_code, reason = "C passes raw pointers")]

mod boundary;
mod bytes;
mod error;
mod fs;
mod provider;
mod store;
mod version;

pub use error::{efscrypt_error, efscrypt_status};
