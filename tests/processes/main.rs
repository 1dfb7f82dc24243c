//! Real processes on real files: killed at any moment, and on file systems that run full.
//!
//! What a process was told to be durable must be there when it is killed; nothing may be there that
//! it never did. `EFSCRYPT_KILLS` sets how often each is killed (few by default), `EFSCRYPT_SEED`
//! what it does and when. Power cuts are what the simulated device is for: here the system lives
//! on, and what was written stays.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod create;
mod full;
mod import;
mod mount;
mod plan;
mod twice;
mod writer;
