//! Tests of file contents on the engine: against byte vectors, through restarts, crashes, damage
//! and lack of space.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;
mod bytes;
mod keys;
mod model;
mod tamper;
