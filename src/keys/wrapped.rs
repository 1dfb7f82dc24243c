//! A wrapped key: the only form in which a key leaves a provider, and how a store keeps it.
//!
//! ```text
//! byte 0       version of this encoding, 1
//! byte 1       p: bytes of the provider's name, 1 to 64
//! p bytes      provider's name, characters a-z 0-9 and '-'
//! 2 bytes      k: bytes of the key id, 1 to 512, little-endian
//! k bytes      key id, UTF-8 without control characters
//! 2 bytes      b: bytes of the blob, 1 to 1,024, little-endian
//! b bytes      blob: the provider's own
//! ```
//!
//! Nothing here is secret and nothing is authenticated: a provider trusts only what its blob
//! proves, and a store authenticates the whole by its superblock.

use std::fmt;

use crate::error::{Error, Object, Result};
use crate::limits::{MAX_KEY_ID_LEN, MAX_PROVIDER_NAME_LEN, MAX_WRAPPED_BLOB_LEN};

const ENCODING: u8 = 1;

/// A key as a provider gave it out: useless without the provider.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    provider: String,
    key_id: String,
    blob: Vec<u8>,
}

impl WrappedKey {
    /// Of a provider's name (1 to 64 of a-z, 0-9, `-`), the id of the wrapping key (1 to 512
    /// bytes without control characters) and the provider's blob (1 to 1,024 bytes).
    ///
    /// # Errors
    /// `InvalidArgument` outside these limits.
    pub fn new(provider: &str, key_id: &str, blob: &[u8]) -> Result<Self> {
        if !is_provider_name(provider) {
            return Err(Error::InvalidArgument("a provider's name is 1 to 64 of a-z, 0-9 and -"));
        }
        if !is_key_id(key_id) {
            return Err(Error::InvalidArgument("a key id has 1 to 512 bytes, none a control"));
        }
        if blob.is_empty() || blob.len() > MAX_WRAPPED_BLOB_LEN {
            return Err(Error::InvalidArgument("a wrapped key's blob has 1 to 1,024 bytes"));
        }
        Ok(WrappedKey {
            provider: provider.to_owned(),
            key_id: key_id.to_owned(),
            blob: blob.to_vec(),
        })
    }

    /// Name of the provider that wrapped it.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Id, never an alias, of the provider key that wrapped it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The provider's own bytes.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The encoding in the module's picture; at most [`WrappedKey::MAX_ENCODED_LEN`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_ENCODED_LEN);
        // The casts cannot cut: `new` and `decode` hold every length below its limit.
        out.extend_from_slice(&[ENCODING, self.provider.len() as u8]);
        out.extend_from_slice(self.provider.as_bytes());
        out.extend_from_slice(&(self.key_id.len() as u16).to_le_bytes());
        out.extend_from_slice(self.key_id.as_bytes());
        out.extend_from_slice(&(self.blob.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.blob);
        out
    }

    /// Longest encoding, bytes.
    pub const MAX_ENCODED_LEN: usize =
        6 + MAX_PROVIDER_NAME_LEN + MAX_KEY_ID_LEN + MAX_WRAPPED_BLOB_LEN;

    /// The wrapped key that `bytes` encode, all of them.
    ///
    /// # Errors
    /// `Unsupported` for a later encoding, `Corrupt` for bytes that are no encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let corrupt = || Error::corrupt(Object::WrappedKey, "its encoding does not parse");
        let (&encoding, rest) = bytes.split_first().ok_or_else(corrupt)?;
        if encoding != ENCODING {
            return Err(Error::Unsupported("a wrapped key in a later encoding"));
        }
        let (&name_len, rest) = rest.split_first().ok_or_else(corrupt)?;
        let (provider, rest) = rest.split_at_checked(name_len.into()).ok_or_else(corrupt)?;
        let (key_id, rest) = take_u16(rest).ok_or_else(corrupt)?;
        let (blob, rest) = take_u16(rest).ok_or_else(corrupt)?;
        if !rest.is_empty() {
            return Err(corrupt());
        }
        let provider = std::str::from_utf8(provider).map_err(|_| corrupt())?;
        let key_id = std::str::from_utf8(key_id).map_err(|_| corrupt())?;
        WrappedKey::new(provider, key_id, blob).map_err(|_| corrupt())
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey")
            .field("provider", &self.provider)
            .field("key_id", &self.key_id)
            .field("blob_len", &self.blob.len())
            .finish()
    }
}

/// Splits off a field preceded by its 16-bit length.
fn take_u16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*len).into())
}

fn is_provider_name(name: &str) -> bool {
    (1..=MAX_PROVIDER_NAME_LEN).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID_LEN).contains(&id.len()) && !id.chars().any(char::is_control)
}

const _: () = assert!(MAX_PROVIDER_NAME_LEN <= u8::MAX as usize);
const _: () = assert!(MAX_KEY_ID_LEN <= u16::MAX as usize);
const _: () = assert!(MAX_WRAPPED_BLOB_LEN <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_encoding_is_frozen() {
        let key = WrappedKey::new("local", "k1", &[7, 8, 9]).unwrap();
        assert_eq!(key.encode(), b"\x01\x05local\x02\0k1\x03\0\x07\x08\x09");
        let largest = WrappedKey::new(&"a".repeat(64), &"i".repeat(512), &[1; 1024]).unwrap();
        assert_eq!(largest.encode().len(), WrappedKey::MAX_ENCODED_LEN);
        assert_eq!(WrappedKey::decode(&largest.encode()).unwrap(), largest);
    }

    #[test]
    fn values_outside_the_limits_are_refused() {
        let long = "i".repeat(513);
        for (provider, id, blob) in [
            ("", "k", &[1; 1][..]),
            ("Local", "k", &[1]),
            (&long[..65], "k", &[1]),
            ("local", "", &[1]),
            ("local", "k\n", &[1]),
            ("local", long.as_str(), &[1]),
            ("local", "k", &[]),
            ("local", "k", &[1; 1025]),
        ] {
            assert!(WrappedKey::new(provider, id, blob).is_err());
        }
    }

    #[test]
    fn cut_and_lengthened_encodings_are_refused() {
        let bytes = WrappedKey::new("local", "k1", &[7, 8, 9]).unwrap().encode();
        for len in 0..bytes.len() {
            assert!(WrappedKey::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(WrappedKey::decode(&longer).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_themselves_or_not_at_all(
            bytes in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = ENCODING;
            }
            if let Ok(key) = WrappedKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
