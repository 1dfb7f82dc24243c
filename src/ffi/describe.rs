//! What a store says about itself, for C.

use std::ffi::{CString, c_char};
use std::ptr::null;

use super::boundary::{guard, out, put, with_store};
use super::error::{efscrypt_error, efscrypt_status};
use super::options::efscrypt_pair;
use super::store::efscrypt_store;
use crate::keys::KeyState;
use crate::store::{DomainDescription, Store, StoreDescription};

/// The provider does not know the key, does not answer, or is not there.
pub const EFSCRYPT_KEY_UNKNOWN: u32 = 0;
/// The key wraps and unwraps.
pub const EFSCRYPT_KEY_ENABLED: u32 = 1;
/// The key refuses both until it is enabled again.
pub const EFSCRYPT_KEY_DISABLED: u32 = 2;
/// The key refuses both, and is destroyed at a date unless that is cancelled.
pub const EFSCRYPT_KEY_PENDING_DELETION: u32 = 3;

/// The keys of a domain, described. Strings end with a NUL and live as long as the description.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_domain {
    /// Name of the provider that wraps the domain's key.
    pub provider: *const c_char,
    /// Provider key under which it is wrapped.
    pub key_id: *const c_char,
    /// Version of the domain's key.
    pub version: u32,
    /// What the provider says of its key: one of `EFSCRYPT_KEY_UNKNOWN` and the following. A
    /// provider by callbacks is not asked, and its keys count as enabled.
    pub key_state: u32,
    /// When the provider key is destroyed, seconds since 1970; 0 unless that is pending.
    pub deletion: u64,
    /// Zero; for later versions.
    pub reserved: [u64; 3],
}

/// A store, described. The library's: look at it, then free it. Later versions only add at the
/// end, so it is not copied by its size.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name is C's")]
pub struct efscrypt_description {
    /// The store's identity.
    pub id: [u8; 16],
    /// Its name, which ends with a NUL; NULL where it has none.
    pub name: *const c_char,
    /// Its tags.
    pub tags: *const efscrypt_pair,
    /// How many they are.
    pub tags_len: usize,
    /// Feature masks: compatible, read-only compatible, incompatible.
    pub features: [u64; 3],
    /// Creation, nanoseconds since 1970.
    pub created: u64,
    /// Number of the last checkpoint.
    pub generation: u64,
    /// Bytes that files and metadata take.
    pub metered_bytes: u64,
    /// Version of the format.
    pub format: u32,
    /// Zero.
    pub reserved: u32,
    /// Key of names, directories and inodes.
    pub metadata: efscrypt_domain,
    /// Key of contents.
    pub data: efscrypt_domain,
}

/// A description and what it points to.
#[repr(C)]
struct Owned {
    /// First, so that a pointer to it is one to the whole.
    shown: efscrypt_description,
    pairs: Vec<efscrypt_pair>,
    strings: Vec<CString>,
}

impl Owned {
    fn of(store: &StoreDescription) -> Box<Owned> {
        let mut strings = Vec::new();
        let metadata = domain(&store.metadata, &mut strings);
        let data = domain(&store.data, &mut strings);
        let name = store.name.as_ref().map_or(null(), |name| keep(name, &mut strings));
        let pairs: Vec<_> = store
            .tags
            .iter()
            .map(|(key, value)| {
                let key = keep(key, &mut strings);
                efscrypt_pair { key, value: keep(value, &mut strings) }
            })
            .collect();
        let shown = efscrypt_description {
            id: store.id,
            name,
            tags: pairs.as_ptr(),
            tags_len: pairs.len(),
            features: store.features,
            created: store.created,
            generation: store.generation,
            metered_bytes: store.metered_bytes,
            format: store.format,
            reserved: 0,
            metadata,
            data,
        };
        Box::new(Owned { shown, pairs, strings })
    }
}

/// A string for C, kept where it does not move. C has no NUL in a string: one becomes a `?`.
fn keep(text: &str, strings: &mut Vec<CString>) -> *const c_char {
    let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
    let kept = text.as_ptr();
    strings.push(text);
    kept
}

fn domain(domain: &DomainDescription, strings: &mut Vec<CString>) -> efscrypt_domain {
    let (key_state, deletion) = match domain.key.as_ref().map(|key| key.state) {
        None => (EFSCRYPT_KEY_UNKNOWN, 0),
        Some(KeyState::Enabled) => (EFSCRYPT_KEY_ENABLED, 0),
        Some(KeyState::Disabled) => (EFSCRYPT_KEY_DISABLED, 0),
        Some(KeyState::PendingDeletion { at }) => (EFSCRYPT_KEY_PENDING_DELETION, at),
    };
    efscrypt_domain {
        provider: keep(&domain.provider, strings),
        key_id: keep(&domain.key_id, strings),
        version: domain.kek_version,
        key_state,
        deletion,
        reserved: [0; 3],
    }
}

/// Describes a store, with two calls of its providers, whose failure leaves gaps and is no error.
/// Free `*description` with `efscrypt_description_free`; it does not need the store.
///
/// # Safety
/// `store` is valid; `description` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_store_describe(
    store: *const efscrypt_store,
    description: *mut *const efscrypt_description,
    error: *mut efscrypt_error,
) -> efscrypt_status {
    let body = |store: &Store| {
        let description = out(description)?;
        let owned = Box::into_raw(Owned::of(&store.describe()?));
        // SAFETY: as the caller promises; the description is the first of what was made.
        unsafe { put(description, owned.cast::<efscrypt_description>().cast_const()) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { with_store(store, error, body) }
}

/// Frees a description; NULL is fine.
///
/// # Safety
/// `description` came from this library and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn efscrypt_description_free(description: *const efscrypt_description) {
    guard(std::ptr::null_mut(), || {
        if !description.is_null() {
            // SAFETY: `efscrypt_store_describe` made it, with the description first.
            drop(unsafe { Box::from_raw(description.cast_mut().cast::<Owned>()) });
        }
        Ok(())
    });
}
