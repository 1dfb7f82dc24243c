//! L0: every size and maximum of the format and the engine, with its reason.

/// Bytes of one unit: the XTS data unit, and the grain in which the device is addressed.
pub const UNIT: usize = 4096;

/// Bytes of one tree node. Larger nodes make a shallower tree; smaller ones cost less to seal.
pub const NODE_SIZE: usize = 16 * 1024;
/// Units of one tree node.
pub const NODE_UNITS: u64 = (NODE_SIZE / UNIT) as u64;

/// Most units of one run: contiguous units reserved together under one tweak start.
pub const RUN_UNITS: u32 = 64;

/// Most units of a small write: one that somebody may wait for alone, and that is part of a stream
/// where others like it come before.
pub const SMALL_UNITS: u32 = 16;

/// Bytes covered by one allocation bitmap.
pub const REGION_BYTES: u64 = 64 << 20;
/// Units covered by one allocation bitmap: one bit each.
pub const REGION_UNITS: u64 = REGION_BYTES / UNIT as u64;

/// Deepest tree that is read. Fanout is at least 100, so 2^64 rows fit in 10 levels; a stored
/// level above this is hostile.
pub const MAX_LEVEL: u8 = 12;

/// Longest row key, bytes.
pub const MAX_KEY_LEN: usize = 64;
/// Longest row value, bytes: three rows of the largest size fit in a node, so any split works.
pub const MAX_VALUE_LEN: usize = 3968;

/// Most edits in one transaction.
pub const MAX_EDITS: usize = 64;
/// Most bytes of edits in one transaction: the largest extended attribute and what goes with it.
pub const MAX_EDIT_BYTES: usize = MAX_XATTR_LEN + 16 * 1024;

/// Longest name of a directory entry, bytes (POSIX NAME_MAX on Linux).
pub const MAX_NAME_LEN: usize = 255;
/// Longest symbolic link target, bytes (Linux PATH_MAX less the final NUL).
pub const MAX_SYMLINK_LEN: usize = 4095;
/// Longest extended attribute value, bytes (Linux XATTR_SIZE_MAX).
pub const MAX_XATTR_LEN: usize = 64 * 1024;
/// Most entries of an access control list: those of 4,096 bytes, which is what Linux hands to and
/// takes from a file server.
pub const MAX_ACL_ENTRIES: usize = 511;
/// Most bytes of the names of all extended attributes of an inode, each with a final NUL (Linux
/// XATTR_LIST_MAX).
pub const MAX_XATTR_LIST_LEN: usize = 64 * 1024;
/// Longest file contents kept in the tree instead of in data units, bytes.
pub const MAX_INLINE_LEN: usize = 2048;
/// Most hard links of one inode (ext4 has 65,000).
pub const MAX_LINKS: u32 = 65_000;
/// Largest file, bytes: 16 TiB of 4 KiB units times 2^16, kept below 2^63 for signed offsets.
pub const MAX_FILE_SIZE: u64 = (1 << 60) - 1;

/// Units sealed under one data key before a new one is taken: 2^28 units of 4 KiB are 1 TiB, or
/// 2^36 AES blocks, where the XTS distinguishing bound is about 2^-53 and where the IEEE 1619
/// task group advises a new key.
pub const DATA_KEY_UNITS: u64 = 1 << 28;

/// Longest name of a key provider, bytes.
pub const MAX_PROVIDER_NAME_LEN: usize = 64;
/// Longest id of a provider key, bytes: room for the resource names of cloud services.
pub const MAX_KEY_ID_LEN: usize = 512;
/// Longest blob of a wrapped key, bytes: above what cloud services and RSA-4096 give back.
pub const MAX_WRAPPED_BLOB_LEN: usize = 1024;
/// Longest wrapped key as a key slot of the superblock keeps it, bytes.
pub const MAX_WRAPPED_KEK: usize = 2048;
/// Most pairs that a caller puts into an encryption context; the store adds two of its own.
pub const MAX_CONTEXT_PAIRS: usize = 30;
/// Longest key of an encryption context, bytes.
pub const MAX_CONTEXT_KEY_LEN: usize = 128;
/// Longest value of an encryption context, bytes.
pub const MAX_CONTEXT_VALUE_LEN: usize = 1024;
/// Most bytes of keys and values that a caller puts into an encryption context (AWS KMS: 8,192).
pub const MAX_CONTEXT_BYTES: usize = 8192;

// Whatever a provider may give out, with its name and the key's id, fits in a key slot.
const _: () =
    assert!(6 + MAX_PROVIDER_NAME_LEN + MAX_KEY_ID_LEN + MAX_WRAPPED_BLOB_LEN <= MAX_WRAPPED_KEK);
const _: () = assert!(NODE_SIZE.is_multiple_of(UNIT));
const _: () = assert!(3 * (MAX_KEY_LEN + MAX_VALUE_LEN + 8) < NODE_SIZE - 256);
const _: () = assert!(MAX_INLINE_LEN + 128 < MAX_VALUE_LEN);
