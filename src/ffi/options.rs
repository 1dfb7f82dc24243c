//! Options of a store, for C.

use std::ffi::c_char;
use std::mem::offset_of;
use std::time::Duration;

use super::bytes::text;
use super::sized::{Sized, sized};
use crate::error::{Error, Result};
use crate::keys::EncryptionContext;
use crate::store::{DataAccess, StoreOptions};
use crate::txn::Takeover;

/// Most pairs of one option: above every limit of what they are for.
const MOST_PAIRS: usize = 256;

/// Two texts, UTF-8.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_pair {
    /// The key.
    pub key: *const c_char,
    /// The value.
    pub value: *const c_char,
}

/// Options of a store. Set it to zero but for `size`; zero fields mean the default. Nothing of it
/// is kept.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_options {
    /// `sizeof(efscrypt_options)`: later versions only add at the end.
    pub size: usize,
    /// Bytes of memory for metadata; by default 64 MiB, or an eighth of what this process may use
    /// where that is less: of the machine's memory and the limits of its control groups.
    pub cache_bytes: usize,
    /// Inodes in memory beside those in use, about 400 bytes each, at most 2^24; 32,768 by default.
    pub inode_cache: usize,
    /// Names in memory, about 100 bytes each, at most 2^24; 65,536 by default.
    pub name_cache: usize,
    /// Bytes of the log of a new store, 512 KiB to 1 GiB; 32 MiB by default.
    pub log_bytes: u64,
    /// Name of a new store, up to 255 bytes; may be NULL.
    pub name: *const c_char,
    /// Tags of a new store, up to 50: keys up to 60 bytes, values up to 1,024.
    pub tags: *const efscrypt_pair,
    /// Number of tags.
    pub tags_len: usize,
    /// Pairs that are bound to the wraps of the store's keys, up to 30: the same are needed
    /// whenever the store is opened.
    pub context: *const efscrypt_pair,
    /// Number of pairs.
    pub context_len: usize,
    /// Owner of the root directory of a new store.
    pub root_uid: u32,
    /// Its group.
    pub root_gid: u32,
    /// Its permission bits; 0755 by default.
    pub root_mode: u32,
    /// Not 0: open for reading only.
    pub read_only: u8,
    /// Not 0: open without the contents key where it cannot be unlocked.
    pub data_optional: u8,
    /// Not 0: fail where key memory cannot be locked into RAM.
    pub strict_memory: u8,
    /// Not 0: every change is durable when its function returns.
    pub durable: u8,
    /// What opening for writing does about another opening that may still have the store open and
    /// that no lock shows, on another host, in another container, or by another name of the device:
    /// 0 watches it and fails with `EFSCRYPT_STATUS_IN_USE` as soon as it moves, 1 takes the store
    /// over at once, 2 fails at once. What was taken over answers `EFSCRYPT_STATUS_TAKEN_OVER`.
    pub takeover: u32,
    /// How long it is watched before the store is taken over, seconds; 0 for 30.
    pub takeover_after: u32,
    /// Milliseconds that opening waits for who has the store open: it may be about to close. Not at
    /// all by default.
    pub lock_wait_ms: u32,
    /// Zero.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, and holds numbers and pointers.
unsafe impl Sized for efscrypt_options {
    const LEAST: usize = offset_of!(efscrypt_options, reserved) + size_of::<u32>();
}

/// The options of the caller's, or the default for NULL.
///
/// # Safety
/// The pointer is NULL, or points to as many bytes as its size says, and what they point to is
/// valid.
pub(super) unsafe fn options(pointer: *const efscrypt_options) -> Result<StoreOptions> {
    let mut options = StoreOptions::default();
    // SAFETY: as the caller promises.
    let Some(given) = (unsafe { sized(pointer)? }) else { return Ok(options) };
    if given.reserved != 0 {
        return Err(Error::InvalidArgument("reserved options are not zero"));
    }
    let or = |given: usize, default: usize| if given == 0 { default } else { given };
    let StoreOptions { engine, mount, .. } = &mut options;
    engine.cache_bytes = or(given.cache_bytes, engine.cache_bytes);
    engine.read_only = given.read_only != 0;
    if given.log_bytes != 0 {
        engine.log_bytes = given.log_bytes;
    }
    mount.inode_cache = or(given.inode_cache, mount.inode_cache);
    mount.durable = given.durable != 0;
    mount.name_cache = or(given.name_cache, mount.name_cache);
    (mount.root_uid, mount.root_gid) = (given.root_uid, given.root_gid);
    if given.root_mode != 0 {
        mount.root_mode = given.root_mode;
    }
    options.takeover = match (given.takeover, given.takeover_after) {
        (0, 0) => Takeover::default(),
        (0, seconds) => Takeover::After(Duration::from_secs(seconds.into())),
        (1, _) => Takeover::AtOnce,
        (2, _) => Takeover::Never,
        _ => return Err(Error::InvalidArgument("takeover is 0, 1 or 2")),
    };
    options.lock_wait = Duration::from_millis(given.lock_wait_ms.into());
    options.strict_memory = given.strict_memory != 0;
    if given.data_optional != 0 {
        options.data_access = DataAccess::IfAvailable;
    }
    if !given.name.is_null() {
        // SAFETY: as the caller promises.
        options.name = Some(unsafe { text(given.name)? }.to_owned());
    }
    // SAFETY: as the caller promises.
    options.tags = unsafe { pairs(given.tags, given.tags_len)? };
    // SAFETY: as the caller promises.
    let context = unsafe { pairs(given.context, given.context_len)? };
    options.context = context
        .iter()
        .try_fold(EncryptionContext::new(), |context, (key, value)| context.with(key, value))?;
    Ok(options)
}

/// Pairs of the caller's.
///
/// # Safety
/// The pointer is NULL or valid for reads of `len` pairs of NUL-terminated strings.
unsafe fn pairs(pointer: *const efscrypt_pair, len: usize) -> Result<Vec<(String, String)>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() || len > MOST_PAIRS {
        return Err(Error::InvalidArgument("pairs are NULL, or too many"));
    }
    let mut pairs = Vec::with_capacity(len);
    for at in 0..len {
        // SAFETY: below `len`, up to which the caller promises pairs.
        let pair = unsafe { pointer.add(at) };
        // SAFETY: as above.
        let efscrypt_pair { key, value } = unsafe { pair.read() };
        // SAFETY: as the caller promises.
        let key = unsafe { text(key)? }.to_owned();
        // SAFETY: as the caller promises.
        pairs.push((key, unsafe { text(value)? }.to_owned()));
    }
    Ok(pairs)
}
