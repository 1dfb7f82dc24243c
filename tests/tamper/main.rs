//! Tampering with whole stores: bytes flipped, blocks and writes put back as they were, swapped,
//! or taken from another store. Whatever is done, opening and reading gives a typed error or the
//! true content, and nothing else: no other content, no panic, no hang.
//!
//! The default run samples by seed; `EFSCRYPT_TAMPER=all` tries everything, which takes long, and
//! `EFSCRYPT_TAMPER=<seed>` takes another sample.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod blocks;
mod flips;
mod log;
#[path = "../kit/provider.rs"]
mod provider;
mod questions;
mod sample;
mod scene;
#[path = "../kit/tap.rs"]
mod tap;
