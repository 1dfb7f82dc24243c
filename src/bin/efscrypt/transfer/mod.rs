//! Transfer: trees that are copied between the machine and a store, or gone through.
//!
//! A walk goes through the source with several threads and a bounded amount of memory; what is
//! done on the way is up to what is walked: an importer, an exporter, a verifier, a reader.

mod contents;
mod exporter;
mod host;
mod importer;
mod links;
mod meta;
mod monitor;
mod reader;
mod trouble;
mod verify;
mod walk;
mod xattrs;

pub use exporter::Exporter;
pub use host::{HostDir, raise_open_files};
pub use importer::Importer;
pub use monitor::{Monitor, Summary};
pub use reader::Reader;
pub use trouble::Trouble;
pub use verify::{Source, Verifier};
pub use walk::{default_workers, walk};
