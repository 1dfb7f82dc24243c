//! A passphrase in memory.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Longest passphrase, bytes.
const MAX_LEN: usize = 4096;

/// A passphrase: bytes that are wiped on drop, never printed and never copied.
///
/// The bytes are taken as they are: no newline is cut off and Unicode is not normalised.
pub struct Passphrase {
    bytes: Zeroizing<Vec<u8>>,
}

impl Passphrase {
    /// Takes over `bytes`, which it wipes when dropped. Copies that the caller made, or that a
    /// growing vector left behind, are the caller's to wipe.
    ///
    /// # Errors
    /// `InvalidArgument` when empty or longer than 4,096 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            1..=MAX_LEN => Ok(Passphrase { bytes }),
            _ => Err(Error::InvalidArgument("a passphrase has 1 to 4,096 bytes")),
        }
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes
    }
}
