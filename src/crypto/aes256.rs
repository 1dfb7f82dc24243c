//! AES-256 encryption of a few blocks: MACs and derived keys, not bulk data.

use aes::{Aes256Enc, Block};
use cipher::{BlockCipherEncrypt, KeyInit};

use super::backend::Backend;
#[cfg(target_arch = "x86_64")]
use super::x86::{EncryptKeys, encrypt_blocks};
#[cfg(target_arch = "x86_64")]
use crate::cpu::AesNi;
use crate::error::Result;

/// An expanded AES-256 key for encryption. Zeroized on drop.
pub(crate) enum BlockKey {
    Crate(Aes256Enc),
    /// The crate prepares 512-bit round keys in each call, which is most of the time of a call
    /// with a single block.
    #[cfg(target_arch = "x86_64")]
    AesNi(EncryptKeys, AesNi),
}

impl BlockKey {
    /// Expands a key; an error if this processor lacks the backend.
    pub(crate) fn new(key: &[u8; 32], backend: Backend) -> Result<Self> {
        match backend {
            Backend::Batched => Ok(BlockKey::Crate(Aes256Enc::new(key.into()))),
            #[cfg(target_arch = "x86_64")]
            Backend::AesNi | Backend::Vaes512 => {
                let token = AesNi::detect().ok_or_else(Backend::unavailable)?;
                Ok(BlockKey::AesNi(EncryptKeys::new(token, key), token))
            }
            #[cfg(not(target_arch = "x86_64"))]
            Backend::AesNi | Backend::Vaes512 => Err(Backend::unavailable()),
        }
    }

    /// Encrypts each block in place.
    pub(crate) fn encrypt(&self, blocks: &mut [[u8; 16]]) {
        match self {
            BlockKey::Crate(key) => key.encrypt_blocks(Block::cast_slice_from_core_mut(blocks)),
            #[cfg(target_arch = "x86_64")]
            BlockKey::AesNi(keys, token) => encrypt_blocks(*token, keys, blocks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix C.3.
    #[test]
    fn the_standards_example() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        let cipher = 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089_u128.to_be_bytes();
        for backend in Backend::ALL.into_iter().filter(|backend| backend.is_available()) {
            let mut blocks = [plain; 11];
            BlockKey::new(&key, backend).unwrap().encrypt(&mut blocks);
            assert_eq!(blocks, [cipher; 11], "{backend:?}");
        }
    }
}
