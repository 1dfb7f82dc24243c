//! XTS-AES-256 (IEEE 1619-2018, NIST SP 800-38E): confidentiality of storage units.
//!
//! XTS keeps contents secret; it does not authenticate them. Whoever can write the ciphertext can
//! garble any 16 bytes of it undetected, so a store adds a MAC to every unit. This module is the
//! plain sector cipher for those who need exactly that.
//!
//! Many units are processed in one call, their first tweaks encrypted together, so that small
//! units do not each wait for one AES latency. The implementation is chosen when the key is
//! expanded; see [`Backend`].

mod batched;
mod field;

#[cfg(target_arch = "x86_64")]
mod aesni;
#[cfg(target_arch = "x86_64")]
pub(super) mod vaes512;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use cipher::inout::InOutBuf;
use zeroize::Zeroize;

pub use super::backend::Backend;

use self::field::{advance, double};
use crate::error::{Error, Result};
use crate::secret::ct_eq;

/// Units whose first tweaks are encrypted together.
pub(super) const TWEAK_BATCH: usize = 32;

/// Bytes of one AES block, the smallest unit.
const BLOCK: usize = 16;

/// An expanded XTS-AES-256 key. Zeroized on drop; threads may share it.
///
/// ```
/// # fn main() -> efscrypt::Result<()> {
/// let mut key = [0u8; 64];
/// key[..32].fill(1);
/// key[32..].fill(2);
/// let xts = efscrypt::xts::Xts256::new(&key)?;
///
/// // Eight sectors of 512 bytes, numbered from 1000.
/// let mut sectors = vec![0u8; 4096];
/// xts.encrypt_units(&mut sectors, 512, 1000);
/// xts.decrypt_units(&mut sectors, 512, 1000);
/// assert_eq!(sectors, vec![0u8; 4096]);
/// # Ok(())
/// # }
/// ```
pub struct Xts256 {
    keys: Keys,
}

enum Keys {
    Batched(batched::Key),
    #[cfg(target_arch = "x86_64")]
    AesNi(aesni::Key),
    #[cfg(target_arch = "x86_64")]
    Vaes512(vaes512::Key),
}

/// Runs `$body` with `$key` bound to the kernel's key, whichever it is.
macro_rules! with_kernel {
    ($self:expr, $key:ident => $body:expr) => {
        match &$self.keys {
            Keys::Batched($key) => $body,
            #[cfg(target_arch = "x86_64")]
            Keys::AesNi($key) => $body,
            #[cfg(target_arch = "x86_64")]
            Keys::Vaes512($key) => $body,
        }
    };
}

impl Xts256 {
    /// Expands a key for the fastest backend. The first 32 bytes are K1, which encrypts data; the
    /// last 32 are K2, which encrypts tweaks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the halves are equal (SP 800-133, FIPS 140-3 IG C.I); they
    /// are compared in constant time.
    pub fn new(key: &[u8; 64]) -> Result<Self, Error> {
        Xts256::with_backend(key, Backend::detect())
    }

    /// Expands a key for one backend.
    ///
    /// # Errors
    /// As [`Xts256::new`], and [`Error::InvalidArgument`] if this processor lacks the backend's
    /// instructions.
    pub fn with_backend(key: &[u8; 64], backend: Backend) -> Result<Self, Error> {
        let (k1, k2) = key.split_at(32);
        let (Ok(k1), Ok(k2)) = (k1.try_into(), k2.try_into()) else {
            return Err(Error::Internal("the halves of 64 bytes are 32 bytes"));
        };
        Xts256::from_halves(k1, k2, backend)
    }

    /// Expands K1 and K2; errors as [`Xts256::with_backend`].
    pub(crate) fn from_halves(k1: &[u8; 32], k2: &[u8; 32], backend: Backend) -> Result<Self> {
        if ct_eq(k1, k2) {
            return Err(Error::InvalidArgument("the halves of an XTS key must differ"));
        }
        let keys = match backend {
            Backend::Batched => Keys::Batched(batched::Key::new(k1, k2)),
            #[cfg(target_arch = "x86_64")]
            Backend::AesNi => {
                let token = crate::cpu::AesNi::detect().ok_or_else(Backend::unavailable)?;
                Keys::AesNi(aesni::Key::new(token, k1, k2))
            }
            #[cfg(target_arch = "x86_64")]
            Backend::Vaes512 => {
                let token = crate::cpu::Vaes512::detect().ok_or_else(Backend::unavailable)?;
                Keys::Vaes512(vaes512::Key::new(token, k1, k2))
            }
            #[cfg(not(target_arch = "x86_64"))]
            Backend::AesNi | Backend::Vaes512 => return Err(Backend::unavailable()),
        };
        Ok(Xts256 { keys })
    }

    /// The backend that the key was expanded for.
    pub fn backend(&self) -> Backend {
        match &self.keys {
            Keys::Batched(_) => Backend::Batched,
            #[cfg(target_arch = "x86_64")]
            Keys::AesNi(_) => Backend::AesNi,
            #[cfg(target_arch = "x86_64")]
            Keys::Vaes512(_) => Backend::Vaes512,
        }
    }

    /// The key of the AVX-512 kernel, if this is one.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn vaes512(&self) -> Option<&vaes512::Key> {
        if let Keys::Vaes512(key) = &self.keys { Some(key) } else { None }
    }

    /// Encrypts consecutive units of `unit_len` bytes in place.
    ///
    /// Unit `i` has the tweak `first_tweak + i`, wrapping at 2^128, as 16 little-endian bytes.
    /// The last unit may be shorter. A unit whose length is no multiple of 16 is encrypted with
    /// ciphertext stealing. Both standards limit a unit to 2^20 blocks (16 MiB).
    ///
    /// # Panics
    /// If `unit_len` is below 16, or the last unit is 1 to 15 bytes long: nothing shorter than a
    /// block can be encrypted.
    pub fn encrypt_units(&self, buf: &mut [u8], unit_len: usize, first_tweak: u128) {
        self.encrypt_inout(buf.into(), unit_len, first_tweak);
    }

    /// Decrypts what [`Xts256::encrypt_units`] encrypted, in place, with the same arguments.
    ///
    /// # Panics
    /// As [`Xts256::encrypt_units`].
    pub fn decrypt_units(&self, buf: &mut [u8], unit_len: usize, first_tweak: u128) {
        self.decrypt_inout(buf.into(), unit_len, first_tweak);
    }

    /// [`Xts256::encrypt_units`] from one buffer to another, or in place.
    pub(crate) fn encrypt_inout(
        &self,
        data: InOutBuf<'_, '_, u8>,
        unit_len: usize,
        first_tweak: u128,
    ) {
        self.for_each_batch(data, unit_len, first_tweak, |batch, tweaks| {
            if unit_len.is_multiple_of(BLOCK) && batch.len().is_multiple_of(BLOCK) {
                with_kernel!(self, key => key.encrypt(batch, unit_len, tweaks));
            } else {
                for_each_unit(batch, unit_len, tweaks, |unit, t| self.encrypt_stealing(unit, t));
            }
        });
    }

    /// [`Xts256::decrypt_units`] from one buffer to another, or in place.
    pub(crate) fn decrypt_inout(
        &self,
        data: InOutBuf<'_, '_, u8>,
        unit_len: usize,
        first_tweak: u128,
    ) {
        self.for_each_batch(data, unit_len, first_tweak, |batch, tweaks| {
            if unit_len.is_multiple_of(BLOCK) && batch.len().is_multiple_of(BLOCK) {
                with_kernel!(self, key => key.decrypt(batch, unit_len, tweaks));
            } else {
                for_each_unit(batch, unit_len, tweaks, |unit, t| self.decrypt_stealing(unit, t));
            }
        });
    }

    /// Calls `crypt` with up to [`TWEAK_BATCH`] units at a time and their encrypted tweaks.
    fn for_each_batch(
        &self,
        mut data: InOutBuf<'_, '_, u8>,
        unit_len: usize,
        first_tweak: u128,
        mut crypt: impl FnMut(InOutBuf<'_, '_, u8>, &[u128]),
    ) {
        assert!(unit_len >= BLOCK, "a unit has at least 16 bytes");
        let last = data.len() % unit_len;
        assert!(last == 0 || last >= BLOCK, "the last unit has at least 16 bytes");

        // Encrypted tweaks are no key material: they mask only the blocks of their own units,
        // whose plaintext the caller holds.
        let mut tweaks = [0u128; TWEAK_BATCH];
        let mut first = first_tweak;
        while !data.is_empty() {
            let len = data.len().min(unit_len.saturating_mul(TWEAK_BATCH));
            let count = len.div_ceil(unit_len);
            with_kernel!(self, key => key.encrypt_tweaks(first, &mut tweaks, count));
            let (batch, rest) = data.split_at(len);
            crypt(batch, &tweaks[..count]);
            data = rest;
            first = first.wrapping_add(count as u128);
        }
    }

    /// Encrypts one unit of any length from 16 bytes, stealing from the last whole block.
    fn encrypt_stealing(&self, unit: InOutBuf<'_, '_, u8>, tweak: u128) {
        let blocks = unit.len() / BLOCK;
        let (body, mut tail) = unit.split_at(blocks * BLOCK);
        let (mut before, mut last) = body.split_at((blocks - 1) * BLOCK);
        self.crypt_whole::<true>(before.reborrow(), tweak);
        let tweak = advance(tweak, blocks - 1);
        self.crypt_whole::<true>(last.reborrow(), tweak);
        let stolen = tail.len();
        if stolen > 0 {
            // The last whole block gives its head away and takes the tail's plaintext instead.
            let mut block = [0u8; BLOCK];
            block.copy_from_slice(last.get_out());
            let (head, _) = block.split_at_mut(stolen);
            let mut given = [0u8; BLOCK];
            given[..stolen].copy_from_slice(head);
            head.copy_from_slice(tail.get_in());
            tail.get_out().copy_from_slice(&given[..stolen]);
            self.crypt_whole::<true>((&mut block[..]).into(), double(tweak));
            last.get_out().copy_from_slice(&block);
        }
    }

    /// Decrypts one unit of any length from 16 bytes.
    fn decrypt_stealing(&self, unit: InOutBuf<'_, '_, u8>, tweak: u128) {
        let blocks = unit.len() / BLOCK;
        let (body, mut tail) = unit.split_at(blocks * BLOCK);
        let (mut before, mut last) = body.split_at((blocks - 1) * BLOCK);
        self.crypt_whole::<false>(before.reborrow(), tweak);
        let tweak = advance(tweak, blocks - 1);
        let stolen = tail.len();
        let mut block = [0u8; BLOCK];
        block.copy_from_slice(last.get_in());
        if stolen > 0 {
            self.crypt_whole::<false>((&mut block[..]).into(), double(tweak));
            let (head, _) = block.split_at_mut(stolen);
            let mut given = [0u8; BLOCK];
            given[..stolen].copy_from_slice(head);
            head.copy_from_slice(tail.get_in());
            tail.get_out().copy_from_slice(&given[..stolen]);
        }
        self.crypt_whole::<false>((&mut block[..]).into(), tweak);
        last.get_out().copy_from_slice(&block);
        block.zeroize();
    }

    /// Whole blocks as one unit, with its encrypted tweak.
    fn crypt_whole<const ENCRYPT: bool>(&self, data: InOutBuf<'_, '_, u8>, tweak: u128) {
        let len = data.len().max(BLOCK);
        if ENCRYPT {
            with_kernel!(self, key => key.encrypt(data, len, &[tweak]));
        } else {
            with_kernel!(self, key => key.decrypt(data, len, &[tweak]));
        }
    }
}

/// Calls `crypt` for each unit and its encrypted tweak.
fn for_each_unit(
    mut batch: InOutBuf<'_, '_, u8>,
    unit_len: usize,
    tweaks: &[u128],
    mut crypt: impl FnMut(InOutBuf<'_, '_, u8>, u128),
) {
    for &tweak in tweaks {
        let len = unit_len.min(batch.len());
        let (unit, rest) = batch.split_at(len);
        batch = rest;
        crypt(unit, tweak);
    }
}
