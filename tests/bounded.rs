//! Rows without number in memory with a bound. Alone in its process, whose memory is measured.
//!
//! `EFSCRYPT_ROWS` sets how many rows go in and come out; 200,000 by default.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use efscrypt::device::FileDevice;
use efscrypt::txn::{Class, Edits, Engine, EngineOptions, FIRST_FS_TREE, fixed_keys, fixed_unlock};

const CACHE: usize = 16 << 20;
/// What an engine may take beside its cache: the log's buffers, the space map, the allocator.
const BESIDE: u64 = 48 << 20;
const VALUE: usize = 100;

fn key(number: u64) -> [u8; 9] {
    let mut key = [1; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Another number for each `n`: blocks of 1,024 in order, and they in none. An odd factor is a
/// permutation of the numbers of 54 bits.
fn scattered(n: u64) -> u64 {
    let block = (n >> 10).wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << 54) - 1);
    block << 10 | (n & 1023)
}

/// The most memory that this process ever had, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn many_rows_go_in_and_come_out_in_little_memory() {
    let rows: u64 = std::env::var("EFSCRYPT_ROWS").map_or(200_000, |rows| rows.parse().unwrap());
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = place.path().join("store");
    let options = EngineOptions { cache_bytes: CACHE, ..EngineOptions::default() };
    let before = peak();
    let device = Arc::new(FileDevice::create(&path).unwrap());
    let engine = Engine::create(device, fixed_keys(1).unwrap(), &options).unwrap();
    let numbers: Vec<u64> = (0..32).collect();
    for first in (0..rows).step_by(numbers.len()) {
        let mut edits = Edits::new();
        for number in numbers.iter().map(|n| first + n).filter(|n| *n < rows) {
            let value = [number as u8; VALUE];
            edits.put(FIRST_FS_TREE, &key(scattered(number)), &value);
        }
        engine.commit(&mut edits, Class::Normal).unwrap();
        engine.relieve();
    }
    engine.checkpoint().unwrap();
    drop(engine);

    let device = Arc::new(FileDevice::open(&path, false).unwrap());
    let engine = Engine::open(device, |_| fixed_unlock(2), &options).unwrap();
    let mut found = 0;
    let visit = |_: &[u8], value: &[u8]| {
        assert_eq!(value.len(), VALUE);
        found += 1;
        true
    };
    engine.scan(FIRST_FS_TREE, &[1], &[2], visit).unwrap();
    assert_eq!(found, rows);
    for number in (0..rows).step_by(7) {
        let right = |value: &[u8]| value == [number as u8; VALUE];
        let value = engine.get(FIRST_FS_TREE, &key(scattered(number)), right).unwrap();
        assert_eq!(value, Some(true), "row {number}");
    }
    let taken = peak() - before;
    assert!(taken < CACHE as u64 + BESIDE, "{} MiB were taken", taken >> 20);
}
