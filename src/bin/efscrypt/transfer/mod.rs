//! Transfer: trees that are copied between the machine and a store, or gone through.
//!
//! A walk goes through the source with several threads and a bounded amount of memory; what is
//! done on the way is up to what is walked: an importer, an exporter, a verifier.

mod contents;
mod exporter;
mod host;
mod importer;
mod links;
mod meta;
mod monitor;
mod trouble;
mod verify;
mod walk;
mod xattrs;

pub use exporter::{Exporter, list};
pub use host::{HostDir, raise_open_files};
pub use importer::Importer;
pub use meta::Kind;
pub use monitor::{Count, Monitor, Summary};
pub use trouble::{Result, Trouble};
pub use verify::{Source, Verifier};
pub use walk::{Entry, Job, Tree, default_workers, walk};
