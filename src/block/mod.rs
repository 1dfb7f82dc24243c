//! L4: blocks of the store: sealing, the node cache, space, the superblock ring and the log ring.
//!
//! Everything here deals in whole sealed blocks at addresses. What the blocks mean to each other
//! is the business of the tree; when they are written, of the transactions.

mod bitmap;
mod cache;
mod layout;
mod log;
mod owner;
mod pins;
mod scan;
mod seal;
mod space;
mod store_keys;
mod superblock;

pub use bitmap::Bitmap;
pub use cache::NodeCache;
pub use layout::Layout;
pub use log::{LogRecord, LogRing, LogTail};
pub use owner::{Identity, Ownership, Takeover};
pub use pins::{Pin, Pins};
pub use scan::{Found, scan};
pub use seal::{MetaKeys, Sealer};
pub use space::{FrozenSpace, Recount, Room, Space, UnitSet};
pub use store_keys::StoreKeys;
pub use superblock::{
    RingSlot, SlotState, holds_other_keys, inspect_ring, is_outdated, may_be_outdated, read_ring,
    write_place, write_superblock,
};
