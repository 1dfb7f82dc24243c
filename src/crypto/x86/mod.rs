//! What the x86-64 kernels share: AES-256 round keys, and 512-bit loads, stores and rounds.

mod schedule;
mod zmm;

pub(super) use schedule::{DecryptKeys, EncryptKeys};
pub(super) use zmm::{Zmm8, broadcast, encrypt_lanes, load, store};
