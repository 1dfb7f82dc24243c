//! Sealed units against their definition, and against every change of what was sealed.

use aes::Aes256;
use cipher::{BlockCipherEncrypt, KeyInit};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use xts_mode::{Xts128, get_tweak_default};

use super::*;
use crate::crypto::backend::probe::{self, Kernel};

const STORE: [u8; 16] = [9; 16];
const TWEAK: u128 = 0x0123_4567_89ab_cdef_0011_2233 << 32;

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_available())
}

fn dek(byte: u8) -> Secret<32> {
    Secret::from_slice(&[byte; 32]).unwrap()
}

fn key(backend: Backend) -> Slot<DataKey> {
    DataKey::derive_for(&KeyArena::new().unwrap(), &dek(1), &STORE, 5, backend).unwrap()
}

fn pattern(units: usize) -> Vec<u8> {
    (0..units * UNIT).map(|i| (i % 251) as u8).collect()
}

fn seal(key: &DataKey, tweak: u128, plain: &[u8]) -> (Vec<u8>, Vec<UnitTag>) {
    let mut cipher = vec![0u8; plain.len()];
    let mut tags = vec![UnitTag::default(); plain.len() / UNIT];
    key.seal_units(tweak, plain, &mut cipher, &mut tags);
    (cipher, tags)
}

/// A unit sealed as the design defines it, from reference crates alone.
fn reference(plain: &[u8], tweak: u128, key_id: u64) -> (Vec<u8>, [u8; 16]) {
    let subkey = |label| {
        let mut key = [0u8; 32];
        crate::crypto::derive(&dek(1), &STORE, label, &key_id.to_le_bytes(), &mut key);
        key
    };
    let aes = |key: [u8; 32]| Aes256::new(&key.into());
    let xts = Xts128::new(aes(subkey(Label::XtsK1)), aes(subkey(Label::XtsK2)));
    let mut cipher = plain.to_vec();
    xts.encrypt_sector(&mut cipher, get_tweak_default(tweak));

    let mut hash = Polyval::new(subkey(Label::UnitHash).first_chunk().unwrap().into());
    hash.update_padded(&u128::from(key_id).to_le_bytes());
    hash.update_padded(&tweak.to_le_bytes());
    hash.update_padded(&cipher);
    hash.update_padded(&[256u64.to_le_bytes(), (8 * UNIT as u64).to_le_bytes()].concat());
    let mut tag = hash.finalize();
    aes(subkey(Label::UnitMac)).encrypt_block(&mut tag);
    (cipher, tag.into())
}

#[test]
fn every_backend_gives_what_the_reference_crates_give() {
    let plain = pattern(3);
    for backend in backends() {
        for tweak in [TWEAK, u128::MAX, u128::from(u64::MAX)] {
            let (cipher, tags) = seal(key(backend).get().unwrap(), tweak, &plain);
            for (index, unit) in plain.chunks(UNIT).enumerate() {
                let (expected, mac) = reference(unit, tweak.wrapping_add(index as u128), 5);
                assert!(cipher[index * UNIT..][..UNIT] == expected, "{backend:?}, unit {index}");
                assert_eq!(tags[index].mac, mac, "{backend:?}, unit {index}");
                assert_eq!(tags[index].crc.get(), crc32fast::hash(&expected));
            }
        }
    }
}

#[test]
fn units_come_back_for_every_count_around_the_batches() {
    for backend in backends() {
        let slot = key(backend);
        let key = slot.get().unwrap();
        for units in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 64] {
            let plain = pattern(units);
            let (mut buf, tags) = seal(key, TWEAK, &plain);
            key.open_units(TWEAK, &mut buf, &tags).unwrap();
            assert!(buf == plain, "{backend:?}, {units} units");
        }
    }
}

/// Opens a copy of sealed units, which must fail at `index` and leave zeros.
fn refuses(key: &DataKey, tweak: u128, cipher: &[u8], tags: &[UnitTag], index: usize) {
    let mut buf = cipher.to_vec();
    assert_eq!(key.open_units(tweak, &mut buf, tags), Err(BadUnit { index }));
    assert!(buf.iter().all(|&byte| byte == 0), "a refused buffer holds something");
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    for backend in backends() {
        let slot = key(backend);
        let key = slot.get().unwrap();
        let (cipher, tags) = seal(key, TWEAK, &pattern(10));
        for bit in (0..cipher.len() * 8).step_by(1009) {
            let mut changed = cipher.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refuses(key, TWEAK, &changed, &tags, bit / 8 / UNIT);
        }
        for bit in 0..128 {
            let mut changed = tags.clone();
            changed[9].mac[bit / 8] ^= 1 << (bit % 8);
            refuses(key, TWEAK, &cipher, &changed, 9);
            refuses(key, TWEAK ^ (1 << bit), &cipher, &tags, 0);
        }
    }
}

#[test]
fn units_and_tags_cannot_trade_places() {
    for backend in backends() {
        let slot = key(backend);
        let key = slot.get().unwrap();
        let (mut cipher, mut tags) = seal(key, TWEAK, &pattern(10));
        tags.swap(3, 4);
        refuses(key, TWEAK, &cipher, &tags, 3);
        let (first, second) = cipher[3 * UNIT..].split_at_mut(UNIT);
        first.swap_with_slice(&mut second[..UNIT]);
        refuses(key, TWEAK, &cipher, &tags, 3);
        refuses(key, TWEAK + 1, &cipher, &tags, 0);
    }
}

#[test]
fn units_belong_to_one_key_id_store_and_key() {
    let arena = KeyArena::new().unwrap();
    for backend in backends() {
        let (cipher, tags) = seal(key(backend).get().unwrap(), TWEAK, &pattern(1));
        for (byte, store, id) in [(1, STORE, 6), (1, [8; 16], 5), (2, STORE, 5)] {
            let other = DataKey::derive_for(&arena, &dek(byte), &store, id, backend).unwrap();
            refuses(other.get().unwrap(), TWEAK, &cipher, &tags, 0);
        }
    }
}

#[test]
fn the_crc_is_no_part_of_opening() {
    let slot = key(Backend::detect());
    let key = slot.get().unwrap();
    let (mut cipher, mut tags) = seal(key, TWEAK, &pattern(1));
    tags[0].crc = U32::new(!tags[0].crc.get());
    key.open_units(TWEAK, &mut cipher, &tags).unwrap();
    assert!(cipher == pattern(1));
}

#[test]
fn versions_under_different_tweaks_share_no_lane() {
    let slot = key(Backend::detect());
    let key = slot.get().unwrap();
    let (a, _) = seal(key, TWEAK, &pattern(4));
    let (b, _) = seal(key, TWEAK + (1 << 32), &pattern(4));
    let lanes: std::collections::HashSet<_> = a.chunks(16).collect();
    assert_eq!(lanes.len(), 4 * UNIT / 16);
    assert!(b.chunks(16).all(|lane| !lanes.contains(lane)));
}

#[test]
fn inline_contents_are_bound_to_key_nonce_and_place() {
    for backend in backends() {
        let slot = key(backend);
        let key = slot.get().unwrap();
        let mut buf = *b"a small file";
        let tag = key.seal_inline(&[1; 12], b"inode 7", &mut buf);
        let sealed = buf;
        assert_eq!(key.open_inline(&[1; 12], b"inode 8", &mut buf, &tag), Err(AuthError));
        assert_eq!(buf, [0; 12]);
        buf = sealed;
        key.open_inline(&[1; 12], b"inode 7", &mut buf, &tag).unwrap();
        assert_eq!(&buf, b"a small file");
    }
}

#[test]
fn a_key_of_zeros_is_refused() {
    let arena = KeyArena::new().unwrap();
    let zero = DataKey::derive(&arena, &Secret::zeroed(), &STORE, 1);
    assert!(matches!(zero, Err(Error::InvalidArgument(_))));
}

#[test]
fn the_backend_asked_for_is_the_one_that_runs() {
    for backend in backends() {
        let slot = key(backend);
        let key = slot.get().unwrap();
        let ran = probe::during(|| {
            let (mut cipher, tags) = seal(key, TWEAK, &pattern(2));
            key.open_units(TWEAK, &mut cipher, &tags).unwrap();
        });
        match backend {
            Backend::Vaes512 => assert_eq!(ran, [Kernel::Unit(backend)]),
            _ => assert_eq!(ran, [Kernel::Xts(backend), Kernel::Hash(Backend::Batched)]),
        }
    }
}
