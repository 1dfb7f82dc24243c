//! L7: the file system: operations by inode handle, with the semantics that NFS needs.
//!
//! A [`FileSystem`] is one tree of an engine, mounted. All operations take `&self`, from any
//! thread; names are bytes, inodes are numbers. What an operation does to names and attributes is
//! one transaction: all of it happens or nothing, also through a crash. Contents may take several:
//! a large write, a hole, and a file that is made with more than 2 KiB can be left half-way by a
//! failure or a crash, and freeing what a large file held goes on after the operation that made
//! it superfluous. Each transaction leaves a consistent file system. All are durable after a later
//! [`FileSystem::sync`] or `fsync`, in their order.
//!
//! Invariants:
//!
//! 1. There is at most one `Inode` per number in memory, and a row changes only under its write
//!    lock, first in the engine and then in memory: a row in memory is never stale.
//! 2. Locks are taken in this order: who makes room, directory moves, inodes by ascending number,
//!    name cache, inode table, engine. None of those between is held while a checkpoint is written.
//!    Who says that it frees something may hold any of them: that hardly waits.
//! 3. The names of a directory, and what the name cache says of them, change only under the
//!    directory's write lock.
//! 4. An inode without names has an ORPHAN row, made by the transaction that took its last name.
//!    It is freed when nobody has it open: nothing else may bring it back.
//! 5. Change attributes and generations are numbers of the engine, `epoch << 40 | n` with `n`
//!    counting up: none is issued twice, also after a crash, because the epoch rises at each open
//!    for writing. Inode numbers are not either: what was ever given out stays below what the
//!    superblock promises.

mod acl;
mod allocate;
mod attr;
mod caller;
mod create;
#[doc(hidden)]
pub mod data;
mod defrag;
mod dir;
mod draft;
mod durable;
mod file;
mod handle;
mod inode;
mod link;
mod mount;
mod names;
mod orphan;
mod path;
mod readdir;
mod rename;
mod trim;
mod upkeep;
mod whole;
mod xattr;

pub(crate) use acl::may_have;
pub use acl::{ACL_EXECUTE, ACL_READ, ACL_WRITE, Acl, AclEntry, AclKind, AclTag, Credentials};
pub use allocate::Beyond;
pub use attr::{Attr, Before, FileType, SetAttr, SetTime, Time, Wcc};
pub use caller::{Acting, Standing};
pub use create::{CreateMode, Created, NewAttr};
pub use defrag::Defragmented;
pub use durable::{Stability, Stable};
pub use file::{Read, Write};
pub use handle::HANDLE_BYTES;
pub use link::Linked;
pub use mount::{Clock, FileSystem, MountOptions, ROOT_INO};
pub use readdir::{COOKIE_DOT, COOKIE_DOT_DOT, DirEntry};
pub use rename::{RenameMode, Renamed};
pub use trim::Trimmed;
pub use whole::StatFs;
pub use xattr::XattrMode;
