//! L9: the test kit: random operations, a model of what they must do, and crashes at every step.
//!
//! It tests the engine over the [simulated device](crate::device::sim), and serves embedders who
//! put something of their own below a store or above it:
//!
//! - A [`Campaign`] makes stores, runs random operations on them, cuts the power at every write
//!   and flush of their creation, work, checkpoints, recovery and closing, and opens what is left.
//!   It must be whole, and exactly as some operation left it, at or after the last
//!   acknowledgement. With [`Campaign::layer`] the device between the store and the simulated one
//!   is the embedder's.
//! - [`Operation`], [`Caller`], [`Workload`] and [`Model`] do the same step by step, over any
//!   [`FileSystem`](crate::fs::FileSystem).
//!
//! # What a campaign accepts
//!
//! After a crash at step n a store that was made opens; its [`check`](crate::check::check) finds
//! nothing, so no unit is lost or owned twice; and all that can be read of it, names, attributes,
//! times, contents, is a state of the model: one that no operation is part of which had not begun
//! at step n, and that all operations are part of which had returned when the last sync began that
//! had returned by step n. What the file system documents as several transactions may be there in
//! part: a write up to the end of a unit, a hole likewise, a large new file likewise. With several
//! callers the states of all of them together must be a prefix of what happened. By turns, a state
//! also has its recovery cut short, which must find the same again; is opened read-only; or is
//! worked with and opened once more.
//!
//! With [`Campaign::faults`] runs are repeated with one operation of the device going wrong. An
//! operation that fails then changed nothing, or ended between two of its transactions; what was
//! acknowledged stays; only a device that lies (a write that is lost or goes elsewhere, lasting
//! rot) may cost anything, and then by [`Error::Corrupt`](crate::Error::Corrupt), or by
//! [`Error::TakenOver`](crate::Error::TakenOver) where the owner unit is what was lost, never by
//! other contents.
//!
//! # A device of one's own
//!
//! ```
//! use std::sync::Arc;
//! use efscrypt::device::Device;
//! use efscrypt::sim::Campaign;
//!
//! /// What is to be tested would stand here: a cache, a mirror, a remote device.
//! fn mine(below: Arc<dyn Device>) -> Arc<dyn Device> {
//!     below
//! }
//!
//! let report = Campaign::new().seeds(1, 2).states(100).layer(mine).run(&|_| ())?;
//! if let Some(failure) = report.failure {
//!     panic!("{failure}");
//! }
//! assert!(report.states > 80);
//! # Ok::<(), efscrypt::Error>(())
//! ```
//!
//! # A failure
//!
//! prints the arguments that replay it, what is wrong, and the operations that lead to it, as few
//! and as small as shrinking makes them, as code for [`Campaign::check`]:
//!
//! ```
//! use efscrypt::fs::CreateMode;
//! use efscrypt::sim::{Campaign, Operation, at, fill};
//!
//! let operations = vec![
//!     Operation::Create {
//!         path: "/f0".into(),
//!         mode: 0o644,
//!         how: CreateMode::Guarded,
//!         contents: fill(7, 100),
//!     },
//!     Operation::Write { file: at("/f0"), at: 4_000, bytes: fill(8, 200) },
//!     Operation::Sync,
//! ];
//! assert!(Campaign::new().check(operations, 2)?.is_none());
//! # Ok::<(), efscrypt::Error>(())
//! ```
//!
//! # Invariants
//!
//! 1. A run of one caller follows from its seed alone: keys, nonces and times do too. So a failure
//!    replays.
//! 2. The model learns nothing from the file system but the numbers of new inodes, and after a
//!    failure, which of the states that are allowed it left.

mod caller;
mod campaign;
mod clock;
mod digest;
mod failure;
mod faults;
mod judge;
mod lists;
mod model;
mod operation;
mod plan;
mod rig;
mod run;
mod shrink;
mod story;
mod survey;
mod workload;

pub use caller::{Caller, Done};
pub use campaign::{Campaign, Report};
pub use failure::Failure;
pub use judge::Crash;
pub use lists::List;
pub use model::Model;
pub use operation::{Fill, On, Operation, SLOTS, at, fill, slot};
pub use rig::Layer;
pub use workload::Workload;
