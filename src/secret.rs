//! L0: secret bytes of a fixed size, and comparison in constant time.
//!
//! Invariants: the bytes of a [`Secret`] live in one heap allocation that never moves, so that
//! moving the `Secret` copies only a pointer; they are zeroized before the allocation is freed;
//! nothing prints, clones or serializes them.

use std::hint::black_box;

use zeroize::Zeroize;

/// `N` secret bytes on the heap, zeroized on drop.
///
/// There is no `Clone`, `Debug` or `PartialEq`: copies are made on purpose with
/// [`Secret::from_slice`], and comparison is [`Secret::ct_eq`]. For keys that live as long as a
/// store, an arena slot ([`crate::crypto::KeyArena`]) adds locked memory around the bytes.
///
/// ```compile_fail
/// let secret = efscrypt::secret::Secret::<32>::zeroed();
/// let copy = secret.clone();
/// ```
///
/// ```compile_fail
/// println!("{:?}", efscrypt::secret::Secret::<32>::zeroed());
/// ```
pub struct Secret<const N: usize> {
    bytes: Box<[u8; N]>,
}

impl<const N: usize> Secret<N> {
    /// `N` zero bytes, to be filled through [`Secret::expose_mut`].
    pub fn zeroed() -> Self {
        Secret { bytes: Box::new([0; N]) }
    }

    /// A copy of `bytes`; the caller wipes its own. `None` if the length is not `N`.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != N {
            return None;
        }
        let mut secret = Secret::zeroed();
        secret.bytes.copy_from_slice(bytes);
        Some(secret)
    }

    /// A copy of `bytes`, which are zeroized.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let mut secret = Secret::zeroed();
        secret.bytes.copy_from_slice(bytes);
        bytes.zeroize();
        secret
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; N] {
        &self.bytes
    }

    /// The bytes, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.bytes
    }

    /// Whether both hold the same bytes, in time that does not depend on them.
    pub fn ct_eq(&self, other: &Secret<N>) -> bool {
        ct_eq(self.expose(), other.expose())
    }

    /// Whether all bytes are zero, in time that does not depend on them.
    pub fn is_zero(&self) -> bool {
        ct_eq(self.expose(), &[0; N])
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// Whether `a` and `b` are equal, in time that depends on their length alone.
///
/// Slices of different lengths are unequal; lengths are not secret.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // The barrier keeps the compiler from leaving the loop at the first difference.
    let mut difference = 0u8;
    for (x, y) in a.iter().zip(b) {
        difference = black_box(difference | (x ^ y));
    }
    difference == 0
}

/// Overwrites bytes with zeros before their memory is given back.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Looked at afterwards, as far as the compiler knows, so it cannot leave this out.
    black_box(bytes);
}

/// Bytes that grow and leave no copy of themselves in memory that was given back: names, attributes
/// and what else is sealed on a device, but is no key.
#[derive(Default)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    /// No bytes, and room for some.
    pub fn with_capacity(capacity: usize) -> Wiped {
        Wiped(Vec::with_capacity(capacity))
    }

    /// Adds bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let need = self.0.len() + bytes.len();
        if need > self.0.capacity() {
            // Not grown in place: that would give memory back with the old bytes in it.
            let mut grown = Wiped::with_capacity(need.max(self.0.capacity() * 2));
            grown.0.extend_from_slice(&self.0);
            std::mem::swap(self, &mut grown);
        }
        self.0.extend_from_slice(bytes);
    }

    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Wipes all bytes and keeps their room.
    pub fn clear(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Wiped {
        Wiped(bytes)
    }
}

impl Clone for Wiped {
    fn clone(&self) -> Wiped {
        Wiped(self.0.clone())
    }
}

impl std::ops::Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // What was cut off at the end stands there still.
        self.0.resize(self.0.capacity(), 0);
        wipe(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_copies_and_wipes_the_source() {
        let mut source = [7u8; 32];
        let secret = Secret::take(&mut source);
        assert_eq!(source, [0; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
        assert!(!secret.is_zero());
        assert!(Secret::<32>::zeroed().is_zero());
    }

    #[test]
    fn from_slice_needs_the_exact_length() {
        assert!(Secret::<16>::from_slice(&[1; 16]).is_some());
        assert!(Secret::<16>::from_slice(&[1; 15]).is_none());
        assert!(Secret::<16>::from_slice(&[1; 17]).is_none());
    }

    #[test]
    fn comparison_sees_every_bit() {
        let base = [0x5au8; 33];
        assert!(ct_eq(&base, &base));
        assert!(!ct_eq(&base, &base[..32]));
        for bit in 0..33 * 8 {
            let mut other = base;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!ct_eq(&base, &other), "bit {bit}");
        }
    }
}
