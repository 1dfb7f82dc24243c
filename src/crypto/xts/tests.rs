//! Every backend against `xts-mode`, which computes one block at a time.

use aes::Aes256;
use cipher::KeyInit;
use xts_mode::{Xts128, get_tweak_default};

use super::*;
use crate::crypto::backend::probe;

fn key() -> [u8; 64] {
    std::array::from_fn(|i| (i * 7 + 3) as u8)
}

/// Bytes whose period is no power of two, so that swapped blocks show.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn oracle(data: &[u8], unit_len: usize, first: u128) -> Vec<u8> {
    let half = |range| Aes256::new_from_slice(&key()[range]).unwrap();
    let xts = Xts128::new(half(0..32), half(32..64));
    let mut data = data.to_vec();
    for (index, unit) in data.chunks_mut(unit_len).enumerate() {
        xts.encrypt_sector(unit, get_tweak_default(first.wrapping_add(index as u128)));
    }
    data
}

fn backends() -> Vec<Xts256> {
    let available = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    available.map(|backend| Xts256::with_backend(&key(), backend).unwrap()).collect()
}

/// Encrypts and decrypts with every backend, in place and from buffer to buffer, and compares
/// with the oracle.
fn check(backends: &[Xts256], data: &[u8], unit_len: usize, first: u128) {
    let expected = oracle(data, unit_len, first);
    for xts in backends {
        let what = || format!("{:?}, {} bytes in units of {unit_len}", xts.backend(), data.len());
        let mut buf = data.to_vec();
        xts.encrypt_units(&mut buf, unit_len, first);
        assert!(buf == expected, "encrypting: {}", what());
        xts.decrypt_units(&mut buf, unit_len, first);
        assert!(buf == data, "decrypting: {}", what());

        let mut out = vec![0u8; data.len()];
        xts.encrypt_inout(InOutBuf::new(data, &mut out).unwrap(), unit_len, first);
        assert!(out == expected, "encrypting to another buffer: {}", what());
        xts.decrypt_inout(InOutBuf::new(&expected, &mut out).unwrap(), unit_len, first);
        assert!(out == data, "decrypting to another buffer: {}", what());
    }
}

#[test]
fn one_unit_of_every_length() {
    let (backends, data) = (backends(), pattern(4200));
    for len in 16..=4200 {
        check(&backends, &data[..len], len, 77);
    }
}

#[test]
fn unit_counts_around_every_stride_and_batch() {
    let (backends, data) = (backends(), pattern(70 * 528));
    for unit_len in [16, 128, 496, 512, 520, 528] {
        for units in (1..=9).chain([15, 16, 17, 31, 32, 33, 63, 64, 65, 70]) {
            check(&backends, &data[..units * unit_len], unit_len, 1 << 40);
        }
    }
    let data = pattern(34 * 4096);
    for units in [1, 2, 31, 32, 33, 34] {
        check(&backends, &data[..units * 4096], 4096, 9);
    }
}

#[test]
fn the_last_unit_may_be_shorter() {
    let (backends, data) = (backends(), pattern(3 * 512 + 511));
    for last in 16..512 {
        check(&backends, &data[..2 * 512 + last], 512, 5);
    }
    for last in [16, 17, 512, 513, 519] {
        check(&backends, &data[..520 + last], 520, 5);
    }
}

#[test]
fn tweaks_carry_over_64_and_128_bits() {
    let (backends, data) = (backends(), pattern(40 * 512));
    for first in [u128::from(u64::MAX) - 3, u128::MAX - 3, u128::MAX - 35, u128::from(u32::MAX)] {
        check(&backends, &data, 512, first);
        check(&backends, &data, 520, first);
    }
}

#[test]
fn buffers_need_no_alignment() {
    let data = pattern(64 + 2 * 520);
    for xts in backends() {
        for offset in 0..64 {
            for len in [512, 2 * 520] {
                let mut buf = data.clone();
                let unit_len = len.min(520);
                xts.encrypt_units(&mut buf[offset..offset + len], unit_len, 3);
                let expected = oracle(&data[offset..offset + len], unit_len, 3);
                assert!(buf[offset..offset + len] == expected, "{:?}, {offset}", xts.backend());
                assert!(buf[..offset] == data[..offset], "bytes before the units changed");
                assert!(buf[offset + len..] == data[offset + len..], "bytes after changed");
                xts.decrypt_units(&mut buf[offset..offset + len], unit_len, 3);
                assert!(buf == data, "{:?}, offset {offset}", xts.backend());
            }
        }
    }
}

#[test]
fn nothing_to_do_is_done() {
    for xts in backends() {
        xts.encrypt_units(&mut [], 512, 0);
        xts.decrypt_units(&mut [], 16, u128::MAX);
    }
}

#[test]
fn equal_halves_are_refused() {
    let equal = [7u8; 64];
    for backend in Backend::ALL.into_iter().filter(|backend| backend.is_available()) {
        let refused = Xts256::with_backend(&equal, backend);
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{backend:?}");
    }
    let mut differ = equal;
    differ[63] ^= 0x80;
    assert!(Xts256::new(&differ).is_ok());
}

#[test]
fn misuse_panics() {
    let panics = |len: usize, unit_len: usize| {
        let xts = Xts256::new(&key()).unwrap();
        let call = move || xts.encrypt_units(&mut vec![0; len], unit_len, 0);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
    };
    assert!(panics(64, 15));
    assert!(panics(64, 0));
    assert!(panics(512 + 1, 512));
    assert!(panics(512 + 15, 512));
    assert!(panics(8, 512));
    assert!(!panics(512 + 16, 512));
}

#[test]
fn the_backend_asked_for_is_the_one_that_runs() {
    for xts in backends() {
        for len in [4096, 4100] {
            let ran = probe::during(|| xts.encrypt_units(&mut vec![0; len], len, 0));
            assert_eq!(ran, [probe::Kernel::Xts(xts.backend())], "{len}");
            let ran = probe::during(|| xts.decrypt_units(&mut vec![0; len], len, 0));
            assert_eq!(ran, [probe::Kernel::Xts(xts.backend())], "{len}");
        }
    }
    assert_eq!(Xts256::new(&key()).unwrap().backend(), Backend::detect());
}
