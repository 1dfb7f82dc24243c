//! L6: transactions: the engine that turns lists of edits into durable state.
//!
//! An [`Engine`] holds rows in trees and units of space, and changes them by transactions. Its
//! promise: **durable means that the prefix of transactions up to mine is durable; recovery yields
//! exactly a prefix, at or after the last acknowledgement.**
//!
//! A transaction passes three steps. *Prepare* reads nodes and reserves places, and may fail;
//! *apply* changes the trees and the space map, and cannot fail; *append* puts the same edits into
//! the queue for the log. Apply and append happen under the writer lock, so log order is the order
//! of operations. Durability comes by a log record ([`Engine::sync`]) or by a checkpoint.
//!
//! Invariants:
//!
//! 1. Locks are taken in this order: checkpoint, writer, trees, space, queue. The lock of the
//!    trees is never held across I/O, so a reader never waits for a writer's or a checkpoint's.
//! 2. A failed write of log, node, bitmap or superblock, or any failed flush, poisons the engine:
//!    changes are refused with the first cause until the store is opened again. Reads go on. So
//!    does a panic in a commit, a checkpoint or a leader's turn, and nobody waits for it.
//! 3. The epoch rises at each open for writing, by a superblock that is durable before any
//!    transaction; what derives from it ([`Engine::number`]) is never issued twice.

mod check;
mod checkpoint;
mod commit;
mod engine;
#[cfg(any(test, feature = "sim"))]
mod fixed;
#[cfg(any(test, feature = "sim"))]
mod forge;
mod inode_numbers;
mod newest;
mod numbers;
mod owning;
mod queue;
mod recovery;
mod run;
mod salvage;
mod trim;
mod usage;
mod watch;

pub(crate) use check::Owners;
pub use check::{MAX_DAMAGED, StructureReport};
pub use commit::Class;
pub use engine::{Engine, EngineOptions, Keys, Opener, Usage};
#[cfg(any(test, feature = "sim"))]
pub use fixed::{fixed_keys, fixed_keys_in, fixed_unlock, fixed_unlock_in};
#[cfg(any(test, feature = "sim"))]
pub use forge::{Forge, ForgedRow, logged};
pub use queue::Lsn;
pub use recovery::Recovery;
pub use run::Run;
pub use salvage::{Evidence, LogLoss, Salvage, Wreck};
pub use trim::Trimmed;

pub use crate::block::{Identity, Recount, Takeover};
pub use crate::format::{Edits, FIRST_FS_TREE, STORE_TREE, StoreKey, TreeId, units_check};
pub use crate::tree::KeyRange;
