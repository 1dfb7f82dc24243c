//! Sections 3, 4, 10 and 14: keys, seals, units and MACs, from the reference crates.

use aes::Aes256;
use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use cipher::BlockCipherEncrypt;
use hkdf::Hkdf;
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use sha2::Sha256;
use xts_mode::{Xts128, get_tweak_default};

use super::Result;

/// `HKDF(ikm, salt = store id, info = label | context)`.
pub fn subkey<const N: usize>(
    ikm: &[u8; 32],
    store: &[u8; 16],
    label: &str,
    context: &[u8],
) -> [u8; N] {
    let mut key = [0; N];
    let info = [b"efscrypt/1/", label.as_bytes(), context].concat();
    Hkdf::<Sha256>::new(Some(store), ikm).expand(&info, &mut key).expect("a short key");
    key
}

/// A GCM-SIV key.
pub struct Seal(Aes256GcmSiv);

impl Seal {
    pub fn new(key: &[u8; 32]) -> Seal {
        Seal(Aes256GcmSiv::new(key.into()))
    }

    pub fn open(&self, nonce: &[u8], aad: &[u8], text: &mut [u8], tag: &[u8]) -> Result<()> {
        let nonce = nonce.try_into().map_err(|_| "length of a nonce")?;
        let tag = tag.try_into().map_err(|_| "length of a tag")?;
        let opened = self.0.decrypt_inout_detached(nonce, aad, text.into(), tag);
        opened.map_err(|_| "it does not authenticate".into())
    }
}

/// What all associated data of a store's metadata has in common.
#[derive(Clone, Copy)]
pub struct Identity {
    pub store: [u8; 16],
    pub key_epoch: u32,
}

/// What tells one sealed block from another.
#[derive(Default)]
pub struct Place {
    pub tree: u32,
    pub number: u64,
    pub level: u8,
    pub previous: [u8; 16],
    pub durable: u64,
}

impl Identity {
    /// The 72 bytes of section 4.
    pub fn aad(&self, kind: &[u8; 4], place: &Place) -> Vec<u8> {
        let aad = [
            &kind[..],
            &1u32.to_le_bytes(),
            &self.store,
            &self.key_epoch.to_le_bytes(),
            &place.tree.to_le_bytes(),
            &place.number.to_le_bytes(),
            &[place.level, 1, 0, 0, 0, 0, 0, 0],
            &place.previous,
            &place.durable.to_le_bytes(),
        ]
        .concat();
        assert_eq!(aad.len(), 72);
        aad
    }
}

/// `AES-256_key(POLYVAL_hash(parts | lengths))`, each part padded with zeros to whole blocks.
pub fn polyval_mac(key: &[u8], hash: &[u8], parts: &[&[u8]], lengths: (u64, u64)) -> [u8; 16] {
    let mut state = Polyval::new(hash.try_into().expect("16 bytes"));
    parts.iter().for_each(|part| state.update_padded(part));
    state.update_padded(&[lengths.0.to_le_bytes(), lengths.1.to_le_bytes()].concat());
    let mut block = state.finalize();
    Aes256::new(key.try_into().expect("32 bytes")).encrypt_block(&mut block);
    block.into()
}

/// The subkeys of a data key that open units.
pub struct UnitKeys {
    id: u64,
    xts: Xts128<Aes256>,
    mac: [u8; 32],
    hash: [u8; 16],
}

impl UnitKeys {
    pub fn new(key: &[u8; 32], store: &[u8; 16], id: u64) -> UnitKeys {
        let context = id.to_le_bytes();
        let aes = |label| {
            let key: [u8; 32] = subkey(key, store, label, &context);
            Aes256::new(&key.into())
        };
        UnitKeys {
            id,
            xts: Xts128::new(aes("xts-k1"), aes("xts-k2")),
            mac: subkey(key, store, "unit-mac", &context),
            hash: subkey(key, store, "unit-hash", &context),
        }
    }

    /// Verifies a unit, then decrypts it.
    pub fn open(&self, tweak: u128, cipher: &[u8], tag: &[u8]) -> Result<Vec<u8>> {
        let parts = [&u128::from(self.id).to_le_bytes()[..], &tweak.to_le_bytes(), cipher];
        let mac = polyval_mac(&self.mac, &self.hash, &parts, (256, 32_768));
        if tag[..16] != mac || tag[16..] != crc32fast::hash(cipher).to_le_bytes() {
            return Err("a unit does not authenticate".into());
        }
        let mut plain = cipher.to_vec();
        self.xts.decrypt_sector(&mut plain, get_tweak_default(tweak));
        Ok(plain)
    }
}

/// SipHash-2-4, the standard library's.
#[allow(deprecated, reason = "the standard library's SipHash-2-4 is one that is not ours")]
pub fn siphash(key: &[u8; 16], name: &[u8]) -> u64 {
    use std::hash::{Hasher, SipHasher};
    let half = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("8 bytes"));
    let mut hasher = SipHasher::new_with_keys(half(0), half(8));
    hasher.write(name);
    hasher.finish()
}
