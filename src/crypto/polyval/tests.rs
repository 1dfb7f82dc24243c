//! The kernel against the `polyval` crate, and both against RFC 8452.

use super::*;

fn hex(text: &str) -> [u8; 16] {
    u128::from_str_radix(text, 16).unwrap().to_be_bytes()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_available())
}

/// RFC 8452, appendix A.
#[test]
fn the_rfcs_example() {
    let h = hex("25629347589242761d31f826ba4b757b");
    let x1 = hex("4f4f95668c83dfb6401762bb2d01a262");
    let x2 = hex("d1a24ddd2721d006bbe45f20d3c9f362");
    for backend in backends() {
        let hash = HashKey::new(&h, backend).unwrap().hash(&[&x1, &x2]);
        assert_eq!(hash, hex("f7a3b47b846119fae5b7866cf5e5b77e"), "{backend:?}");
    }
}

#[test]
fn every_length_around_the_strides_equals_the_crates() {
    let data = pattern(4 * 512 + 80);
    for h in [hex("25629347589242761d31f826ba4b757b"), [0xff; 16], [1; 16]] {
        let oracle = HashKey::new(&h, Backend::Batched).unwrap();
        for backend in backends() {
            let key = HashKey::new(&h, backend).unwrap();
            for len in 0..=data.len() {
                let parts: [&[u8]; 2] = [&data[..len], &data[..len.min(33)]];
                assert_eq!(key.hash(&parts), oracle.hash(&parts), "{backend:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn dense_data_and_keys_carry_everywhere() {
    let data = vec![0xff; 1024 + 48];
    let oracle = HashKey::new(&[0xff; 16], Backend::Batched).unwrap();
    for backend in backends() {
        let key = HashKey::new(&[0xff; 16], backend).unwrap();
        assert_eq!(key.hash(&[&data]), oracle.hash(&[&data]), "{backend:?}");
    }
}

#[test]
fn the_backend_asked_for_is_the_one_that_runs() {
    for backend in backends() {
        let key = HashKey::new(&[3; 16], backend).unwrap();
        let ran = probe::during(|| {
            key.hash(&[&[1; 600]]);
        });
        let expected = if backend == Backend::Vaes512 { backend } else { Backend::Batched };
        assert_eq!(ran, [probe::Kernel::Hash(expected)]);
    }
}

#[test]
fn length_block_holds_bits() {
    let block = length_block(32, 4096);
    assert_eq!(block[..8], 256u64.to_le_bytes());
    assert_eq!(block[8..], 32768u64.to_le_bytes());
}
