//! Transfer: trees that are copied between the machine and a store, or gone through.
//!
//! A walk goes through the source with several threads and a bounded amount of memory; what is
//! done on the way is up to what is walked: an importer, an exporter, a verifier, a reader.

mod contents;
mod except;
mod exporter;
mod files_cache;
mod gate;
mod holds;
mod host;
mod host_kind;
mod importer;
mod links;
mod lists;
mod making;
mod meta;
mod monitor;
mod names;
mod reader;
mod rights;
mod staging;
mod trail;
mod trouble;
mod verify;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub use except::Except;
pub use exporter::{Exporter, list};
pub use files_cache::FilesCache;
pub use holds::Destination;
pub use host::{HostDir, check_descriptor_paths, raise_open_files};
pub use importer::Importer;
pub use monitor::{Monitor, Summary};
pub use reader::Reader;
pub use rights::Rights;
pub use staging::{NAME as STAGING, holds as is_in_staging};
pub use trail::Trail;
pub use trouble::Trouble;
pub use verify::{Source, Verifier};
pub use walk::{Entry, default_workers, walk};

/// How a tree is copied.
#[derive(Clone, Copy)]
pub struct How {
    pub rights: Rights,
    /// Whether contents of one size are compared, whatever their times.
    pub checksum: bool,
    /// Whether what is in the destination of an export may be replaced.
    pub overwrite: bool,
    /// Whether a damaged file is copied with zeros for what cannot be read.
    pub keep_damaged: bool,
}
