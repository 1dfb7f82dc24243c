//! The test kit over this engine: crashes at every step of random runs, faults of the device, and
//! that both would be noticed.
//!
//! `EFSCRYPT_CRASH_STATES` sets how many crash states are tried; some thousands by default.

mod canaries;
mod crashes;
mod late;
mod shrinking;
