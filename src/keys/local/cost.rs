//! The cost of guessing a passphrase: Argon2id parameters, and the bounds within which they are
//! believed when they come from a file.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Most memory that a file may ask for, KiB: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes over that memory.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 64;
/// Most memory times passes, KiB: 8 GiB written, some ten seconds of one core.
const MAX_WORK_KIB: u64 = 8 << 20;

/// Argon2id (RFC 9106) parameters.
///
/// The default is the second recommended option of RFC 9106 section 4: 64 MiB, 3 passes, 4 lanes.
/// Lanes are computed one after another on the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2Cost {
    /// Of memory in KiB (at least 8 for each lane, at most 1 GiB), passes over it (1 to 64) and
    /// lanes (1 to 64). Memory times passes is at most 8 GiB.
    ///
    /// # Errors
    /// `InvalidArgument` outside these bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self> {
        let sane = (1..=MAX_LANES).contains(&lanes)
            && (1..=MAX_PASSES).contains(&passes)
            && (8 * lanes..=MAX_MEMORY_KIB).contains(&memory_kib)
            && u64::from(memory_kib) * u64::from(passes) <= MAX_WORK_KIB;
        match sane {
            true => Ok(Argon2Cost { memory_kib, passes, lanes }),
            false => Err(Error::InvalidArgument("Argon2id parameters out of range")),
        }
    }

    /// Memory, KiB.
    pub fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    pub fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes.
    pub fn lanes(self) -> u32 {
        self.lanes
    }

    /// The 256-bit key of a passphrase and salt. The memory it took is wiped.
    pub(super) fn derive(self, passphrase: &[u8], salt: &[u8; 16]) -> Result<Secret<32>> {
        let failed = |_| Error::Internal("Argon2id refused its parameters");
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(failed)?;
        let mut memory = Vec::new();
        if memory.try_reserve_exact(params.block_count()).is_err() {
            return Err(Error::NoMemory("Argon2id needs as much as its parameters say"));
        }
        memory.resize(params.block_count(), Block::new());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut key = Secret::zeroed();
        let result = argon2.hash_password_into_with_memory(
            passphrase,
            salt,
            key.expose_mut(),
            memory.as_mut_slice(),
        );
        memory.iter_mut().for_each(Zeroize::zeroize);
        result.map_err(failed)?;
        Ok(key)
    }
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Argon2Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::hex;

    #[test]
    fn bounds() {
        for (memory, passes, lanes) in [
            (7, 1, 1),
            (15, 1, 2),
            (64, 0, 1),
            (64, 1, 0),
            (64, 65, 1),
            (8 * 65, 1, 65),
            ((1 << 20) + 1, 1, 1),
            (1 << 20, 9, 1),
            (u32::MAX, 1, 1),
            (64, u32::MAX, 1),
            (64, 1, u32::MAX),
        ] {
            assert!(Argon2Cost::new(memory, passes, lanes).is_err(), "{memory} {passes} {lanes}");
        }
        assert!(Argon2Cost::new(1 << 20, 8, 64).is_ok());
        let default = Argon2Cost::default();
        assert_eq!(Argon2Cost::new(65536, 3, 4).unwrap(), default);
    }

    /// Expected value from the reference implementation (argon2-cffi, low_level.hash_secret_raw):
    /// t=2, m=256 KiB, p=2, 32 bytes, type ID, version 0x13.
    #[test]
    fn the_key_is_argon2id_version_13() {
        let cost = Argon2Cost::new(256, 2, 2).unwrap();
        let key = cost.derive(b"password", b"somesaltsomesalt").unwrap();
        assert_eq!(hex::encode(key.expose()), EXPECTED);
    }

    const EXPECTED: &str = "c112d2ee6b9d514413f806243187952186e8f19cacab80f20a823d549f111d2c";
}
