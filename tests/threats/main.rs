//! The promises of `docs/threat-model.md` that are about a store as a whole: what its bytes, its
//! memory and its texts show, and what each key opens.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;
mod domains;
mod keys;
mod leaks;
mod memory;
#[path = "../kit/provider.rs"]
mod provider;
mod repeats;
mod ring;
#[path = "../../examples/support/secrets.rs"]
mod secrets;
#[path = "../kit/tap.rs"]
mod tap;
mod text;
mod watch;
