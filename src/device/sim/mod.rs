//! A simulated device: it loses power, lies and fails on demand, by seeds that replay.
//!
//! The kit has three parts, for this crate's tests and for those of embedders:
//!
//! - [`SimDevice`]: a [`Device`](super::Device) over a durable image and a list of unsynced
//!   writes. Reads see every write at once; a flush makes them durable.
//! - [`FaultPlan`]: which operations fail, and how.
//! - [`Recording`]: everything that a workload did to a device, from which the state after a
//!   crash at any step is rebuilt without running the workload again.
//!
//! # The crash model
//!
//! A *step* is one write, flush, allocation or discard, as which the end of the device cut off
//! counts; steps are numbered from 0 in the order
//! in which the device saw them. A crash *at* step n finds the steps before n returned, and step
//! n in flight. All that the last honest flush before n covered is on the medium. Of every later
//! step, up to and with n, the seed decides:
//!
//! | fate | a write | an allocation | a discard |
//! |---|---|---|---|
//! | kept | all its bytes | the new length | done |
//! | dropped | none | none | not done |
//! | torn | any subset of its 512-byte sectors | dropped | its first part |
//! | garbled | torn, and some sectors are random bytes | dropped | its first part |
//!
//! and in which order they reach the medium. The same step and seed give the same image.
//!
//! # Every crash of a workload
//!
//! ```
//! use efscrypt::device::sim::{FaultPlan, SimDevice};
//! use efscrypt::device::{Device, MemoryDevice};
//!
//! let device = SimDevice::recording(MemoryDevice::fixed(8192), FaultPlan::new(1));
//! device.write_at(0, &[1; 4096])?;
//! device.flush()?;
//! let durable_at = device.steps();
//! device.write_at(4096, &[2; 4096])?;
//!
//! let recording = device.take_recording();
//! for step in 0..=recording.steps() {
//!     for seed in 0..10 {
//!         let after = recording.crash_image(step, seed);
//!         let kept = after.to_vec()[..4096] == [1; 4096];
//!         assert!(kept || step < durable_at, "{}", recording.describe(step, seed));
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod crash;
mod device;
mod journal;
mod plan;
mod rng;
#[cfg(test)]
mod tests;

pub use device::{Counters, OpRecord, SimDevice};
pub use journal::Recording;
pub use plan::{Failure, FaultPlan, Op, Repeat, Rot};
pub use rng::Rng;
