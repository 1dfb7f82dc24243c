//! Owner: who has the store open for writing. One unit in the unused space between the places of
//! the superblock ring; what counts of it fits in one sector, so no crash tears it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::StoreId;

/// First byte of the owner unit.
pub const OWNER_AT: u64 = 128 << 10;
/// Bytes of the clear header.
pub const OWNER_HEADER_LEN: usize = 64;
/// Bytes of the sealed body behind it.
pub const OWNER_BODY_LEN: usize = 192;
/// Longest host name, bytes; a longer one is cut.
const MAX_HOST: usize = 64;

const MAGIC: [u8; 8] = *b"EFSOWNR\x01";
const OPEN: u8 = 1;
const CLOSED: u8 = 2;

/// The clear header. Nothing of it is believed.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct OwnerHeader {
    magic: [u8; 8],
    /// The store whose owner it is.
    pub store_id: StoreId,
    /// META KEK version that seals the body.
    pub key_epoch: U32,
    /// Nonce of the body.
    pub nonce: [u8; 12],
    /// Tag of the body.
    pub tag: [u8; 16],
    reserved: [u8; 8],
}

/// The sealed body. The default has no boot and no process: nobody.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct OwnerBody {
    /// Random, one for each opening for writing.
    pub incarnation: U64,
    /// Counts up while the store is open.
    pub heartbeat: U64,
    /// The kernel's id of its boot; zero where it is not known.
    pub boot: [u8; 16],
    /// The id of the machine's installation; zero where it is not known.
    pub machine: [u8; 16],
    /// Process, in its own namespace.
    pub pid: U32,
    state: u8,
    host_len: u8,
    reserved: [u8; 2],
    /// When the process started, ticks since the boot; tells processes of one number apart.
    pub started: U64,
    /// Inode of the namespace of the process's number; zero where it is not known.
    pub namespace: U64,
    host: [u8; MAX_HOST],
    reserved2: [u8; 56],
}

const _: () = assert!(size_of::<OwnerHeader>() == OWNER_HEADER_LEN);
const _: () = assert!(size_of::<OwnerBody>() == OWNER_BODY_LEN);

impl OwnerHeader {
    /// A header without nonce and tag, which the seal makes.
    pub fn new(store_id: StoreId, key_epoch: u32) -> OwnerHeader {
        OwnerHeader {
            magic: MAGIC,
            store_id,
            key_epoch: U32::new(key_epoch),
            nonce: [0; 12],
            tag: [0; 16],
            reserved: [0; 8],
        }
    }

    /// The header of a unit that has one.
    pub fn parse(unit: &[u8]) -> Option<OwnerHeader> {
        let (header, _) = OwnerHeader::read_from_prefix(unit).ok()?;
        (header.magic == MAGIC).then_some(header)
    }
}

impl OwnerBody {
    /// Of a host that has the store open. The rest is zero.
    pub fn new(host: &[u8]) -> OwnerBody {
        let len = host.len().min(MAX_HOST);
        let mut name = [0; MAX_HOST];
        name[..len].copy_from_slice(&host[..len]);
        OwnerBody {
            incarnation: U64::ZERO,
            heartbeat: U64::ZERO,
            boot: [0; 16],
            machine: [0; 16],
            pid: U32::ZERO,
            state: OPEN,
            host_len: len as u8,
            reserved: [0; 2],
            started: U64::ZERO,
            namespace: U64::ZERO,
            host: name,
            reserved2: [0; 56],
        }
    }

    /// Name of the host, without what a terminal would obey.
    pub fn host(&self) -> String {
        let name = &self.host[..usize::from(self.host_len).min(MAX_HOST)];
        let name = String::from_utf8_lossy(name);
        name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    }

    /// Whether the owner closed the store.
    pub fn is_closed(&self) -> bool {
        self.state == CLOSED
    }

    /// The same, closed.
    pub fn closed(self) -> OwnerBody {
        OwnerBody { state: CLOSED, ..self }
    }

    /// Whether it is of the same host: of one machine, which has one name.
    pub fn is_host_of(&self, other: &OwnerBody) -> bool {
        self.machine != [0; 16] && self.machine == other.machine && self.host == other.host
    }
}
