//! The cryptography layer, backend by backend. Comparisons with other libraries: `benches/peers`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efscrypt::crypto::{DataKey, HandleMac, KeyArena, NameHasher, Rng, SealKey, UnitTag};
use efscrypt::secret::Secret;
use efscrypt::xts::{Backend, Xts256};

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_available())
}

fn key() -> [u8; 64] {
    std::array::from_fn(|i| i as u8)
}

fn dek() -> Secret<32> {
    Secret::from_slice(&key()[..32]).expect("32 bytes")
}

/// Bytes of a call and of its units.
const CASES: [(usize, usize); 3] = [(64 * 1024, 512), (4096, 4096), (64 * 1024, 64 * 1024)];

fn xts(c: &mut Criterion) {
    let mut group = c.benchmark_group("xts");
    for (call, unit) in CASES {
        group.throughput(Throughput::Bytes(call as u64));
        for backend in backends() {
            let xts = Xts256::with_backend(&key(), backend).expect("an available backend");
            let mut buf = vec![0u8; call];
            let id = format!("{backend:?}/{call} in {unit}");
            group.bench_function(BenchmarkId::new("encrypt", &id), |b| {
                b.iter(|| xts.encrypt_units(black_box(&mut buf), unit, 1));
            });
            group.bench_function(BenchmarkId::new("decrypt", &id), |b| {
                b.iter(|| xts.decrypt_units(black_box(&mut buf), unit, 1));
            });
        }
    }
    group.finish();
}

/// XTS, MAC and crc32 of 4 KiB units.
fn units(c: &mut Criterion) {
    let arena = KeyArena::new().expect("key memory");
    let mut group = c.benchmark_group("units");
    for units in [1, 16] {
        group.throughput(Throughput::Bytes(4096 * units as u64));
        for backend in backends() {
            let slot = DataKey::derive_for(&arena, &dek(), &[0; 16], 1, backend).expect("a key");
            let key = slot.get().expect("a key");
            let plain = vec![0u8; 4096 * units];
            let mut cipher = plain.clone();
            let mut tags = vec![UnitTag::default(); units];
            let id = format!("{backend:?}/{units}");
            group.bench_function(BenchmarkId::new("seal", &id), |b| {
                b.iter(|| key.seal_units(1, black_box(&plain), black_box(&mut cipher), &mut tags));
            });
            let mut buf = cipher.clone();
            group.bench_function(BenchmarkId::new("copy and open", &id), |b| {
                b.iter(|| {
                    buf.copy_from_slice(&cipher);
                    key.open_units(1, black_box(&mut buf), &tags)
                });
            });
        }
    }
    group.finish();
}

/// GCM-SIV of a log record and of a tree node.
fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("gcm-siv");
    for len in [256, 16 * 1024] {
        group.throughput(Throughput::Bytes(len as u64));
        for backend in [Backend::Batched, Backend::Vaes512] {
            let Ok(key) = SealKey::with_backend(&[1; 32], backend) else { continue };
            let plain = vec![0u8; len];
            let mut buf = plain.clone();
            let id = format!("{backend:?}/{len}");
            group.bench_function(BenchmarkId::new("seal", &id), |b| {
                b.iter(|| key.seal(&[0; 12], &[0; 48], black_box(&mut buf)));
            });
            let mut sealed = plain.clone();
            let tag = key.seal(&[0; 12], &[0; 48], &mut sealed);
            group.bench_function(BenchmarkId::new("copy and open", &id), |b| {
                b.iter(|| {
                    buf.copy_from_slice(&sealed);
                    key.open(&[0; 12], &[0; 48], black_box(&mut buf), &tag)
                });
            });
        }
    }
    group.finish();
}

/// What is done once for each name, handle, run or key.
fn small(c: &mut Criterion) {
    let arena = KeyArena::new().expect("key memory");
    let slot = NameHasher::derive(&arena, &dek(), &[0; 16]).expect("a key");
    let names = slot.get().expect("a key");
    c.bench_function("hash of a 20-byte name", |b| {
        b.iter(|| names.hash56(black_box(b"a name of 20 bytes..")));
    });
    let slot = HandleMac::derive(&arena, &dek(), &[0; 16]).expect("a key");
    let handles = slot.get().expect("a key");
    c.bench_function("MAC of a 48-byte handle", |b| b.iter(|| handles.mac(black_box(&[0; 48]))));
    let rng = Rng::new(&arena).expect("a generator");
    c.bench_function("nonce", |b| b.iter(|| rng.nonce()));
    c.bench_function("data key derived", |b| {
        b.iter(|| DataKey::derive(&arena, &dek(), &[0; 16], 1).map(drop));
    });
}

criterion_group!(benches, xts, units, seal, small);
criterion_main!(benches);
