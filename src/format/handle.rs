//! File handle: the bytes by which a server's clients name an inode, for ever.
//!
//! The MAC keeps clients from making handles of inodes that they were never shown.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{StoreId, TreeId};
use crate::error::{Error, Result};

/// Bytes of a handle; NFSv3 allows 64, and servers put a few of their own before it.
pub const HANDLE_LEN: usize = size_of::<HandleRow>();

/// Bytes of a handle that its MAC covers.
pub const HANDLE_BODY: usize = HANDLE_LEN - 16;

const VERSION: u8 = 1;

/// A handle, laid out.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct HandleRow {
    version: u8,
    reserved: [u8; 3],
    tree: U32,
    store: [u8; 8],
    ino: U64,
    generation: U64,
    mac: [u8; 16],
}

const _: () = assert!(HANDLE_LEN == 48);

impl HandleRow {
    /// A handle, authenticated by `mac`.
    pub fn new(
        store_id: &StoreId,
        tree: TreeId,
        ino: u64,
        generation: u64,
        mac: impl FnOnce(&[u8]) -> [u8; 16],
    ) -> HandleRow {
        let mut handle = HandleRow {
            version: VERSION,
            reserved: [0; 3],
            tree: tree.into(),
            store: first_half(store_id),
            ino: ino.into(),
            generation: generation.into(),
            mac: [0; 16],
        };
        handle.mac = mac(&handle.as_bytes()[..HANDLE_BODY]);
        handle
    }

    /// Reads a handle of a file system, and returns inode number and generation.
    ///
    /// # Errors
    /// [`Error::BadHandle`] where `verify` refuses body and MAC, or it is another file system's.
    pub fn open(
        bytes: &[u8],
        store_id: &StoreId,
        tree: TreeId,
        verify: impl FnOnce(&[u8], &[u8; 16]) -> bool,
    ) -> Result<(u64, u64)> {
        let handle = HandleRow::read_from_bytes(bytes).map_err(|_| Error::BadHandle)?;
        let ours = handle.version == VERSION
            && handle.reserved == [0; 3]
            && handle.tree.get() == tree
            && handle.store == first_half(store_id);
        if !ours || !verify(&handle.as_bytes()[..HANDLE_BODY], &handle.mac) {
            return Err(Error::BadHandle);
        }
        Ok((handle.ino.get(), handle.generation.get()))
    }
}

fn first_half(store_id: &StoreId) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&store_id[..8]);
    half
}
