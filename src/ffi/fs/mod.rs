//! The file system for C, with the nouns and verbs of the Rust interface: by inode number, names as
//! bytes with a length. One file per noun.

mod acl;
mod acting;
mod allocate;
mod attr;
mod defrag;
mod dir;
mod durable;
mod file;
mod handle;
mod names;
mod set_attr;
mod whole;
mod xattr;

pub use acl::*;
pub use acting::*;
pub use allocate::*;
pub use attr::*;
pub use defrag::*;
pub use dir::*;
pub use durable::*;
pub use file::*;
pub use handle::*;
pub use names::*;
pub use set_attr::*;
pub use whole::*;
pub use xattr::*;
