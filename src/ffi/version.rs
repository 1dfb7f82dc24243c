//! Versions of the library and of its interface.

use std::ffi::c_char;

/// Version of the interface in this header: raised when a function or a field is added. Compare it
/// with `efscrypt_abi_version()` of the library that was loaded.
pub const EFSCRYPT_ABI_VERSION: u32 = 1;

/// Version of the interface that the library has.
#[unsafe(no_mangle)]
pub extern "C" fn efscrypt_abi_version() -> u32 {
    EFSCRYPT_ABI_VERSION
}

/// Version of the library, such as "0.1.0". Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn efscrypt_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
