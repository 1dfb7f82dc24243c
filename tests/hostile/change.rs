//! Change: bytes that replace others.

/// A change of some bytes.
pub struct Change {
    at: u64,
    bytes: Vec<u8>,
}

impl Change {
    /// Bytes that replace those from an offset on.
    pub fn new(at: u64, bytes: &[u8]) -> Change {
        Change { at, bytes: bytes.to_vec() }
    }

    /// Changes as many of the bytes as there are.
    pub fn apply(&self, bytes: &mut [u8]) {
        for (byte, new) in bytes.iter_mut().skip(self.at as usize).zip(&self.bytes) {
            *byte = *new;
        }
    }
}
