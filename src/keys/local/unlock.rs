//! What opens a key service file, and the part of the file that it opens: the root key.
//!
//! ```text
//! passphrase -Argon2id-> unlock key  or  key file = unlock key
//!    unlock key -HKDF-> check value, stored in the clear: tells a wrong passphrase from damage
//!    unlock key -HKDF-> seals the root key, which is random and never changes
//!    root key   -HKDF-> seals key material;  authenticates the file
//! ```
//!
//! The check value costs an attacker who guesses exactly what trying the seal would.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crypto::{self, Label, Rng, SealKey};
use crate::error::{Error, Object, Result};
use crate::secret::{Secret, ct_eq};

use super::bytes::Hex;
use super::sealed::SealedKey;
use super::{Argon2Cost, Passphrase, keyfile};

/// What opens a key service file.
pub enum Unlock {
    /// A passphrase, made into a key with Argon2id.
    Passphrase(Passphrase),
    /// A file of mode 0600 that holds the key, made by [`Unlock::create_key_file`].
    KeyFile(PathBuf),
}

impl Unlock {
    /// Writes a new random key to a new file of mode 0600, durably.
    ///
    /// # Errors
    /// `Exists` where the name is taken: a key is never overwritten. `Io`.
    pub fn create_key_file(path: &Path) -> Result<()> {
        keyfile::create(path, &Rng::new(&crate::crypto::KeyArena::new()?)?)
    }
}

/// How the root key is locked away in the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnlockRecord {
    method: Method,
    check: Hex<32>,
    root: SealedKey,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Method {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: Hex<16> },
    KeyFile,
}

impl UnlockRecord {
    /// Locks `root` away under `unlock`. A passphrase gets a new salt and `cost`.
    pub(super) fn seal(
        root: &Secret<32>,
        service: &[u8; 16],
        unlock: &Unlock,
        cost: Argon2Cost,
        rng: &Rng,
    ) -> Result<Self> {
        let (method, key) = match unlock {
            Unlock::Passphrase(passphrase) => {
                let mut salt = Hex([0; 16]);
                rng.fill(&mut salt.0)?;
                let (memory_kib, passes, lanes) = (cost.memory_kib(), cost.passes(), cost.lanes());
                let key = cost.derive(passphrase.expose(), &salt.0)?;
                (Method::Argon2id { memory_kib, passes, lanes, salt }, key)
            }
            Unlock::KeyFile(path) => (Method::KeyFile, keyfile::read(path)?),
        };
        let root = SealedKey::seal(&seal_key(&key, service), &root_aad(service), root, rng)?;
        Ok(UnlockRecord { method, check: check_value(&key, service), root })
    }

    pub(super) fn needs_key_file(&self) -> bool {
        matches!(self.method, Method::KeyFile)
    }

    /// The root key.
    ///
    /// # Errors
    /// `WrongPassphrase`, or `WrongKey` for a key file; `InvalidArgument` where the file is
    /// opened by the other of the two; `Corrupt`; what reading a key file gives.
    pub(super) fn open(&self, service: &[u8; 16], unlock: &Unlock) -> Result<Secret<32>> {
        let (key, wrong) = match (&self.method, unlock) {
            (&Method::Argon2id { memory_kib, passes, lanes, salt }, Unlock::Passphrase(given)) => {
                let out_of_range = |_| {
                    Error::corrupt(Object::KeyService, "its Argon2id parameters are out of range")
                };
                let cost = Argon2Cost::new(memory_kib, passes, lanes).map_err(out_of_range)?;
                (cost.derive(given.expose(), &salt.0)?, Error::WrongPassphrase)
            }
            (Method::KeyFile, Unlock::KeyFile(path)) => {
                (keyfile::read(path)?, Error::WrongKey(Object::KeyService))
            }
            (Method::KeyFile, Unlock::Passphrase(_)) => {
                return Err(Error::InvalidArgument("this key service file needs its key file"));
            }
            (Method::Argon2id { .. }, Unlock::KeyFile(_)) => {
                return Err(Error::InvalidArgument("this key service file needs a passphrase"));
            }
        };
        if !ct_eq(&check_value(&key, service).0, &self.check.0) {
            return Err(wrong);
        }
        let root = self.root.open(&seal_key(&key, service), &root_aad(service));
        root.ok_or_else(|| Error::corrupt(Object::KeyService, "its root key does not authenticate"))
    }
}

fn root_aad(service: &[u8; 16]) -> Vec<u8> {
    [b"efscrypt-kms/1/root", &service[..]].concat()
}

fn check_value(unlock_key: &Secret<32>, service: &[u8; 16]) -> Hex<32> {
    let mut check = Hex([0; 32]);
    crypto::derive(unlock_key, service, Label::KmsCheck, &[], &mut check.0);
    check
}

fn seal_key(unlock_key: &Secret<32>, service: &[u8; 16]) -> SealKey {
    derive_seal_key(unlock_key, service, Label::KmsUnlock)
}

/// The sealing key of one purpose of the key service.
pub(super) fn derive_seal_key(from: &Secret<32>, service: &[u8; 16], label: Label) -> SealKey {
    let mut key = Secret::<32>::zeroed();
    crypto::derive(from, service, label, &[], key.expose_mut());
    SealKey::new(key.expose())
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Block, Params, Version};

    use super::*;
    use crate::crypto::KeyArena;

    #[test]
    fn a_new_passphrase_costs_what_is_documented_in_the_file_and_at_work() {
        let rng = Rng::new(&KeyArena::new().unwrap()).unwrap();
        let (root, service) = (rng.secret().unwrap(), [7; 16]);
        let unlock = Unlock::Passphrase(Passphrase::new(b"correct horse".to_vec()).unwrap());
        let cost = super::super::LocalOptions::default().cost;
        let record = UnlockRecord::seal(&root, &service, &unlock, cost, &rng).unwrap();
        let again = UnlockRecord::seal(&root, &service, &unlock, cost, &rng).unwrap();
        let Method::Argon2id { memory_kib, passes, lanes, salt } = record.method else { panic!() };
        let Method::Argon2id { salt: other, .. } = again.method else { panic!() };
        // RFC 9106, section 4, second recommended option.
        assert_eq!((memory_kib, passes, lanes), (64 * 1024, 3, 4));
        assert_ne!(salt.0, other.0);
        // The key is the one of these parameters, not of weaker ones beside them.
        let params = Params::new(64 * 1024, 3, 4, Some(32)).unwrap();
        let mut key = [0; 32];
        let mut memory = vec![Block::new(); params.block_count()];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(b"correct horse", &salt.0, &mut key, &mut memory)
            .unwrap();
        assert_eq!(check_value(&Secret::take(&mut key), &service).0, record.check.0);
        assert!(record.open(&service, &unlock).unwrap().ct_eq(&root));
        for weaker in [(64 * 1024, 2, 4), (32 * 1024, 3, 4), (64 * 1024, 3, 1)] {
            let (memory_kib, passes, lanes) = weaker;
            let method = Method::Argon2id { memory_kib, passes, lanes, salt };
            let edited = UnlockRecord { method, ..record.clone() };
            let error = edited.open(&service, &unlock).err().unwrap();
            assert!(matches!(error, Error::WrongPassphrase), "{weaker:?}: {error}");
        }
    }
}
