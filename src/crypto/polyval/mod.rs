//! POLYVAL (RFC 8452, section 3): the universal hash under the unit MAC and GCM-SIV.
//!
//! A universal hash alone authenticates nothing: its users encrypt the result.

#[cfg(target_arch = "x86_64")]
pub(super) mod clmul512;

#[cfg(test)]
mod tests;

use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

#[cfg(target_arch = "x86_64")]
use self::clmul512::Powers;
use super::backend::Backend;
#[cfg(test)]
use super::backend::probe;
use crate::error::Result;

/// An expanded POLYVAL key. Zeroized on drop.
#[allow(clippy::large_enum_variant, reason = "a box would take the key out of its arena slot")]
pub(crate) enum HashKey {
    /// The `polyval` crate: portable, or four blocks at a time with PCLMULQDQ.
    Crate(Polyval),
    #[cfg(target_arch = "x86_64")]
    Clmul512(Powers),
}

impl HashKey {
    /// Expands a key; an error if this processor lacks the backend.
    pub(crate) fn new(h: &[u8; 16], backend: Backend) -> Result<Self> {
        match backend {
            Backend::Batched | Backend::AesNi => Ok(HashKey::Crate(Polyval::new(h.into()))),
            #[cfg(target_arch = "x86_64")]
            Backend::Vaes512 => {
                let token = crate::cpu::Vaes512::detect().ok_or_else(Backend::unavailable)?;
                Ok(HashKey::Clmul512(Powers::new(token, h)))
            }
            #[cfg(not(target_arch = "x86_64"))]
            Backend::Vaes512 => Err(Backend::unavailable()),
        }
    }

    /// The hash of `parts` one after another, each padded with zeros to whole blocks.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        match self {
            HashKey::Crate(key) => {
                #[cfg(test)]
                probe::hit(probe::Kernel::Hash(Backend::Batched));
                let mut state = key.clone();
                parts.iter().for_each(|part| state.update_padded(part));
                state.finalize().into()
            }
            #[cfg(target_arch = "x86_64")]
            HashKey::Clmul512(powers) => {
                #[cfg(test)]
                probe::hit(probe::Kernel::Hash(Backend::Vaes512));
                let sum = parts.iter().fold(0, |sum, part| powers.update_padded(sum, part));
                sum.to_le_bytes()
            }
        }
    }
}

/// The last block of a hash: two lengths, given in bytes and stored in bits (RFC 8452, section
/// 4), so that padding is not mistaken for data.
pub(crate) fn length_block(aad_bytes: usize, text_bytes: usize) -> [u8; 16] {
    let bits = |bytes: usize| (bytes as u128) << 3;
    (bits(aad_bytes) | bits(text_bytes) << 64).to_le_bytes()
}
