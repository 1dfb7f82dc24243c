//! Repair: every block of a store damaged in turn, stores that do not open, and repairs that are
//! interrupted.
//!
//! `EFSCRYPT_DAMAGE=all` damages every block; else those of metadata and a sample of the others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;
mod blocks;
mod crashes;
mod cut;
#[path = "../kit/cut.rs"]
mod cut_device;
#[path = "../kit/flawed.rs"]
mod flawed;
mod gaps;
mod holes;
mod kills;
mod leaves;
mod lists;
mod log;
mod moved;
mod overlaps;
mod picture;
mod states;
mod unread;
mod wrecks;
