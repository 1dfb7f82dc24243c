//! The encryption context: key/value pairs bound to every wrap and unwrap of a key.
//!
//! A provider must mix the context into the authentication of what it wraps, so that a wrapped
//! key opens only with the pairs it was wrapped under, and must show it in its own log. The
//! pairs are no secret: they stand in audit records and leave the process for a remote provider.
//!
//! Invariants: keys are unique and sorted by their bytes; the order in which a caller added them
//! does not matter; keys beginning with [`RESERVED_PREFIX`] are set by the store alone.

use std::collections::BTreeMap;

use crate::crypto::Domain;
use crate::error::{Error, Result};
use crate::limits::{
    MAX_CONTEXT_BYTES, MAX_CONTEXT_KEY_LEN, MAX_CONTEXT_PAIRS, MAX_CONTEXT_VALUE_LEN,
};

use super::hex;

/// Beginning of the context keys that only the store itself sets.
pub const RESERVED_PREFIX: &str = "efscrypt:";
/// Context key whose value is the store's id, 32 lower-case hexadecimal digits.
pub const CONTEXT_FILESYSTEM_ID: &str = "efscrypt:filesystem:id";
/// Context key whose value is the key domain, `META` or `DATA`.
pub const CONTEXT_DOMAIN: &str = "efscrypt:domain";

/// Key/value pairs bound to every wrap and unwrap.
///
/// Both are UTF-8 without control characters. Limits for a caller: 30 pairs, keys of 1 to 128
/// bytes, values of at most 1,024 bytes, 8,192 bytes in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionContext {
    pairs: BTreeMap<String, String>,
}

impl EncryptionContext {
    /// A context without pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a caller's pair.
    ///
    /// # Errors
    /// `InvalidArgument` for a key that is empty, too long, reserved or there already, for a
    /// value that is too long, for control characters, and beyond the limits of a context.
    pub fn with(mut self, key: &str, value: &str) -> Result<Self> {
        if key.is_empty() || key.len() > MAX_CONTEXT_KEY_LEN {
            return Err(Error::InvalidArgument("a context key has 1 to 128 bytes"));
        }
        if key.starts_with(RESERVED_PREFIX) {
            return Err(Error::InvalidArgument("context keys in efscrypt: belong to the store"));
        }
        if value.len() > MAX_CONTEXT_VALUE_LEN {
            return Err(Error::InvalidArgument("a context value has at most 1,024 bytes"));
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return Err(Error::InvalidArgument("a context has no control characters"));
        }
        if self.pairs.contains_key(key) {
            return Err(Error::InvalidArgument("the context has this key already"));
        }
        let bytes: usize = self.pairs.iter().map(|(k, v)| k.len() + v.len()).sum();
        if self.pairs.len() >= MAX_CONTEXT_PAIRS
            || bytes + key.len() + value.len() > MAX_CONTEXT_BYTES
        {
            return Err(Error::InvalidArgument("the context has too many pairs or bytes"));
        }
        self.pairs.insert(key.to_owned(), value.to_owned());
        Ok(self)
    }

    /// The caller's pairs with the store's own added: its id and the domain.
    pub fn for_store(&self, store_id: &[u8; 16], domain: Domain) -> Self {
        let mut pairs = self.pairs.clone();
        pairs.insert(CONTEXT_FILESYSTEM_ID.to_owned(), hex::encode(store_id));
        pairs.insert(CONTEXT_DOMAIN.to_owned(), domain_word(domain).to_owned());
        EncryptionContext { pairs }
    }

    /// The pairs in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// The bytes that a provider binds by AAD: the number of pairs, then each pair as key length,
    /// key, value length, value, in ascending order of the keys' bytes. Numbers are 16-bit
    /// little-endian. Different contexts have different bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + MAX_CONTEXT_KEY_LEN * self.pairs.len());
        put_len(&mut out, self.pairs.len());
        for (key, value) in &self.pairs {
            put_len(&mut out, key.len());
            out.extend_from_slice(key.as_bytes());
            put_len(&mut out, value.len());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }
}

fn domain_word(domain: Domain) -> &'static str {
    match domain {
        Domain::Meta => "META",
        Domain::Data => "DATA",
    }
}

/// Lengths were checked against limits far below 2^16 when the pair came in.
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
}

const _: () = assert!(MAX_CONTEXT_KEY_LEN <= u16::MAX as usize);
const _: () = assert!(MAX_CONTEXT_VALUE_LEN <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        pairs.iter().fold(EncryptionContext::new(), |c, (k, v)| c.with(k, v).unwrap())
    }

    #[test]
    fn the_canonical_form_is_frozen() {
        let c = context(&[("tenant", "acme"), ("a", "")]);
        assert_eq!(c.canonical(), b"\x02\0\x01\0a\0\0\x06\0tenant\x04\0acme");
        let store = c.for_store(&[0xab; 16], Domain::Data);
        let mut expected = b"\x04\0\x01\0a\0\0\x0f\0efscrypt:domain\x04\0DATA".to_vec();
        expected.extend_from_slice(b"\x16\0efscrypt:filesystem:id\x20\0");
        expected.extend_from_slice("ab".repeat(16).as_bytes());
        expected.extend_from_slice(b"\x06\0tenant\x04\0acme");
        assert_eq!(store.canonical(), expected);
        assert_eq!(store.get(CONTEXT_DOMAIN), Some("DATA"));
    }

    #[test]
    fn order_does_not_matter_and_boundaries_do() {
        assert_eq!(
            context(&[("a", "1"), ("b", "2")]).canonical(),
            context(&[("b", "2"), ("a", "1")]).canonical()
        );
        assert_ne!(context(&[("ab", "c")]).canonical(), context(&[("a", "bc")]).canonical());
        assert_ne!(context(&[("a", "b")]).canonical(), context(&[]).canonical());
    }

    #[test]
    fn limits_and_reserved_keys_are_refused() {
        let long = "x".repeat(MAX_CONTEXT_VALUE_LEN + 1);
        for (key, value) in [
            ("", "v"),
            ("efscrypt:domain", "DATA"),
            ("efscrypt:", "v"),
            (&long[..129], "v"),
            ("k", long.as_str()),
            ("k\n", "v"),
            ("k", "v\0"),
        ] {
            assert!(EncryptionContext::new().with(key, value).is_err(), "{key:?}");
        }
        assert!(context(&[("k", "v")]).with("k", "w").is_err());

        let mut c = EncryptionContext::new();
        for i in 0..MAX_CONTEXT_PAIRS {
            c = c.with(&i.to_string(), "v").unwrap();
        }
        assert!(c.clone().with("one more", "v").is_err());
        assert!(!c.for_store(&[0; 16], Domain::Meta).canonical().is_empty());

        let kib = "x".repeat(1000);
        let mut c = EncryptionContext::new();
        for i in 0..8 {
            c = c.with(&i.to_string(), &kib).unwrap();
        }
        assert!(c.with("over 8,192 bytes", &kib).is_err());
    }
}
