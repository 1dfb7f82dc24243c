//! The clock of the kit: it shows what a thread says, so that times follow from the seed.

use std::cell::Cell;
use std::sync::Arc;

use crate::fs::{Clock, Time};

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Sets this thread's clock.
pub(super) fn set(tick: u64) {
    NOW.set(tick);
}

/// The moment of a tick.
pub(super) fn time(tick: u64) -> Time {
    Time { seconds: 1_000_000_000 + tick as i64, nanoseconds: 5 }
}

/// The clock of the thread that looks.
pub(super) fn clock() -> Clock {
    Arc::new(|| time(NOW.get()))
}
