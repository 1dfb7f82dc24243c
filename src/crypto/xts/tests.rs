//! Every backend against `xts-mode`, which computes one block at a time.

use aes::Aes256;
use cipher::KeyInit;
use xts_mode::{Xts128, get_tweak_default};

use super::*;

fn key() -> [u8; 64] {
    std::array::from_fn(|i| (i * 7 + 3) as u8)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn oracle(key: &[u8; 64], data: &[u8], unit_len: usize, first: u128) -> Vec<u8> {
    let xts = Xts128::new(
        Aes256::new_from_slice(&key[..32]).unwrap(),
        Aes256::new_from_slice(&key[32..]).unwrap(),
    );
    let mut data = data.to_vec();
    for (index, unit) in data.chunks_mut(unit_len).enumerate() {
        xts.encrypt_sector(unit, get_tweak_default(first.wrapping_add(index as u128)));
    }
    data
}

fn backends() -> impl Iterator<Item = Xts256> {
    let available = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    available.map(|backend| Xts256::with_backend(&key(), backend).unwrap())
}

/// Encrypts and decrypts with one backend and compares with the oracle.
fn check(xts: &Xts256, data: &[u8], expected: &[u8], unit_len: usize, first: u128) {
    let mut buf = data.to_vec();
    xts.encrypt_units(&mut buf, unit_len, first);
    let what = || format!("{:?}, {} bytes in units of {unit_len}", xts.backend(), data.len());
    assert!(buf == expected, "encrypting: {}", what());
    xts.decrypt_units(&mut buf, unit_len, first);
    assert!(buf == data, "decrypting: {}", what());
}

#[test]
fn one_unit_of_every_length() {
    let all = pattern(4200);
    let backends: Vec<_> = backends().collect();
    for len in 16..=4200 {
        let expected = oracle(&key(), &all[..len], len, 77);
        backends.iter().for_each(|xts| check(xts, &all[..len], &expected, len, 77));
    }
}
