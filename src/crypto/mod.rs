//! L2: cryptography.
//!
//! Everything that turns keys and bytes into other bytes, and nothing that knows what they are
//! for: no I/O, no format. Hidden from the documentation except for [`xts`]: the rest is the
//! engine's own and promises no stability.

mod aead;
mod aes256;
mod arena;
mod backend;
mod kdf;
mod mac;
mod namehash;
mod polyval;
mod rng;
#[cfg(target_arch = "x86_64")]
mod siv512;
mod unit;
#[cfg(target_arch = "x86_64")]
mod unit512;
mod wrap;
#[cfg(target_arch = "x86_64")]
mod x86;

pub mod xts;

pub use aead::{AuthError, SealKey};
pub use arena::{ArenaStatus, KeyArena, Slot};
pub use backend::Backend;
pub use kdf::{Label, derive};
pub use mac::HandleMac;
pub use namehash::{NAME_HASH_BITS, NameHasher};
pub use rng::Rng;
pub use unit::{BadUnit, DataKey, UnitTag};
pub use wrap::{Domain, Purpose, WrapContext, WrapKey, WrappedKey, commitment, commits_to};
