//! The data key of a file, expanded: units sealed with XTS and a MAC, inline contents with
//! GCM-SIV.
//!
//! A unit's MAC covers the key id, the tweak and the ciphertext, and is verified before anything
//! is decrypted. Its crc32 covers the ciphertext, so that a scrub finds damage without a key.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use cipher::inout::InOutBuf;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};
use zeroize::Zeroize;

use super::aead::{AuthError, SealKey};
use super::arena::{KeyArena, Slot};
use super::backend::Backend;
use super::kdf::{Kdf, Label};
use super::mac::UnitMac;
#[cfg(target_arch = "x86_64")]
use super::polyval::HashKey;
#[cfg(target_arch = "x86_64")]
use super::unit512::UnitPass;
use super::xts::Xts256;
use crate::error::{Error, Result};
use crate::limits::UNIT;
use crate::secret::{Secret, ct_eq};

/// What is stored beside a sealed unit: 20 bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct UnitTag {
    /// MAC over key id, tweak and ciphertext.
    pub mac: [u8; 16],
    /// crc32 (IEEE) of the ciphertext.
    pub crc: U32,
}

const _: () = assert!(size_of::<UnitTag>() == 20);

/// Units that are sealed or opened together: little enough to stay in the first-level cache.
const BATCH: usize = 8;

/// A unit did not authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadUnit {
    /// Which unit of the buffer, from 0.
    pub index: usize,
}

impl fmt::Display for BadUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {} of the buffer does not authenticate", self.index)
    }
}

impl std::error::Error for BadUnit {}

/// The subkeys of one data key.
pub struct DataKey {
    xts: Xts256,
    mac: UnitMac,
    inline: SealKey,
}

impl DataKey {
    /// Derives the subkeys of a data key, in the arena, for the fastest backend.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a key of zeros, or one whose subkeys are not usable (the
    /// XTS halves are equal, or the hash key is zero): take another random key. Else as
    /// [`KeyArena::place`].
    pub fn derive(
        arena: &Arc<KeyArena>,
        dek: &Secret<32>,
        store_id: &[u8; 16],
        key_id: u64,
    ) -> Result<Slot<DataKey>> {
        DataKey::derive_for(arena, dek, store_id, key_id, Backend::detect())
    }

    /// [`DataKey::derive`] for one backend.
    ///
    /// # Errors
    /// As there, and [`Error::InvalidArgument`] if this processor lacks the backend.
    pub fn derive_for(
        arena: &Arc<KeyArena>,
        dek: &Secret<32>,
        store_id: &[u8; 16],
        key_id: u64,
        backend: Backend,
    ) -> Result<Slot<DataKey>> {
        let backend = backend.require()?;
        if dek.is_zero() {
            return Err(Error::InvalidArgument("a data key of zeros"));
        }
        arena.place(|| {
            let kdf = Kdf::new(dek, store_id);
            let context = key_id.to_le_bytes();
            let subkey = |label| {
                let mut key = Secret::<32>::zeroed();
                kdf.expand(label, &context, key.expose_mut());
                key
            };
            let mut h = Secret::<16>::zeroed();
            kdf.expand(Label::UnitHash, &context, h.expose_mut());
            if h.is_zero() {
                return Err(Error::InvalidArgument("a data key whose hash key is zero"));
            }
            let (k1, k2) = (subkey(Label::XtsK1), subkey(Label::XtsK2));
            Ok(DataKey {
                xts: Xts256::from_halves(k1.expose(), k2.expose(), backend)?,
                mac: UnitMac::new(subkey(Label::UnitMac).expose(), h.expose(), key_id, backend)?,
                inline: SealKey::with_backend(subkey(Label::Inline).expose(), backend)?,
            })
        })
    }

    /// Encrypts units of 4,096 bytes from `plain` to `cipher` and writes their tags. Unit `i` has
    /// the tweak `first_tweak + i`, which must never have sealed anything else under this key.
    ///
    /// # Panics
    /// If the buffers differ in length, are not whole units, or `tags` is not one for each unit.
    pub fn seal_units(
        &self,
        first_tweak: u128,
        plain: &[u8],
        cipher: &mut [u8],
        tags: &mut [UnitTag],
    ) {
        assert_eq!(plain.len(), tags.len() * UNIT, "one tag for each whole unit");
        assert_eq!(plain.len(), cipher.len(), "plaintext and ciphertext of equal length");
        let mut tweak = first_tweak;
        let batches = plain.chunks(UNIT * BATCH).zip(cipher.chunks_mut(UNIT * BATCH));
        for ((plain, cipher), tags) in batches.zip(tags.chunks_mut(BATCH)) {
            let mut hashes = [[0u8; 16]; BATCH];
            let hashes = &mut hashes[..tags.len()];
            self.seal_batch(tweak, plain, cipher, hashes);
            self.mac.finish(hashes);
            for ((tag, mac), unit) in tags.iter_mut().zip(hashes).zip(cipher.chunks(UNIT)) {
                *tag = UnitTag { mac: *mac, crc: U32::new(crc32fast::hash(unit)) };
            }
            tweak = tweak.wrapping_add(tags.len() as u128);
        }
    }

    /// Encrypts a batch of units and writes the hashes of their ciphertext.
    fn seal_batch(&self, tweak: u128, plain: &[u8], cipher: &mut [u8], hashes: &mut [[u8; 16]]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(pass) = self.pass() {
            return pass.seal(tweak, plain, cipher, hashes);
        }
        let Ok(data) = InOutBuf::new(plain, &mut *cipher) else {
            unreachable!("the caller compared the lengths");
        };
        self.xts.encrypt_inout(data, UNIT, tweak);
        for (index, (unit, hash)) in cipher.chunks(UNIT).zip(hashes).enumerate() {
            *hash = self.mac.hash_unit(tweak.wrapping_add(index as u128), unit);
        }
    }

    /// The kernel that does everything in one pass, where both keys are made for it.
    #[cfg(target_arch = "x86_64")]
    fn pass(&self) -> Option<UnitPass<'_>> {
        match (self.xts.vaes512(), self.mac.hash_key()) {
            (Some(xts), HashKey::Clmul512(powers)) => {
                let lengths = u128::from_le_bytes(UnitMac::lengths(UNIT));
                Some(UnitPass { xts, powers, key_id: self.mac.key_id(), lengths })
            }
            _ => None,
        }
    }

    /// Verifies and decrypts units of 4,096 bytes in place; the arguments are those that sealed
    /// them. The crc is not looked at: the MAC says more.
    ///
    /// # Errors
    /// [`BadUnit`] names the first unit that does not authenticate; all of `buf` is then zero.
    ///
    /// # Panics
    /// If `buf` is not whole units, or `tags` is not one for each unit.
    pub fn open_units(
        &self,
        first_tweak: u128,
        buf: &mut [u8],
        tags: &[UnitTag],
    ) -> std::result::Result<(), BadUnit> {
        assert_eq!(buf.len(), tags.len() * UNIT, "one tag for each whole unit");
        self.open_verified(first_tweak, buf, tags).map_err(|index| {
            buf.zeroize();
            BadUnit { index }
        })
    }

    /// Decrypts each unit once it is verified, or says which is the first that is bad.
    fn open_verified(
        &self,
        first_tweak: u128,
        buf: &mut [u8],
        tags: &[UnitTag],
    ) -> std::result::Result<(), usize> {
        #[cfg(target_arch = "x86_64")]
        if let Some(pass) = self.pass() {
            return pass.open(first_tweak, buf, |index, hashes| {
                self.mac.finish(hashes);
                verify(&tags[index..], hashes).map_err(|bad| index + bad)
            });
        }
        let batches = buf.chunks_mut(UNIT * BATCH).zip(tags.chunks(BATCH));
        for (first, (units, tags)) in (0..).step_by(BATCH).zip(batches) {
            let tweak = first_tweak.wrapping_add(first as u128);
            let mut macs = [[0u8; 16]; BATCH];
            let macs = &mut macs[..tags.len()];
            for (index, (unit, hash)) in units.chunks(UNIT).zip(&mut *macs).enumerate() {
                *hash = self.mac.hash_unit(tweak.wrapping_add(index as u128), unit);
            }
            self.mac.finish(macs);
            verify(tags, macs).map_err(|bad| first + bad)?;
            self.xts.decrypt_units(units, UNIT, tweak);
        }
        Ok(())
    }

    /// Seals contents that are kept in the tree, as [`SealKey::seal`].
    ///
    /// # Panics
    /// As there.
    pub fn seal_inline(&self, nonce: &[u8; 12], aad: &[u8], buf: &mut [u8]) -> [u8; 16] {
        self.inline.seal(nonce, aad, buf)
    }

    /// Opens contents that are kept in the tree, as [`SealKey::open`].
    ///
    /// # Errors
    /// [`AuthError`]; `buf` then holds zeros.
    pub fn open_inline(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        buf: &mut [u8],
        tag: &[u8; 16],
    ) -> std::result::Result<(), AuthError> {
        self.inline.open(nonce, aad, buf, tag)
    }
}

/// The index of the first unit whose MAC is not that of its tag; compared in constant time.
fn verify(tags: &[UnitTag], macs: &[[u8; 16]]) -> std::result::Result<(), usize> {
    match tags.iter().zip(macs).position(|(tag, mac)| !ct_eq(&tag.mac, mac)) {
        Some(bad) => Err(bad),
        None => Ok(()),
    }
}
