//! `check --keyless`: what shows without a key, and that none is asked for.

use std::fs;

use crate::bench::{Bench, failure};
use crate::tree::pattern;

/// A store with files in it, and no key service beside it.
fn filled() -> Bench {
    let bench = Bench::with_store();
    fs::create_dir_all(bench.path("in/d")).unwrap();
    fs::write(bench.path("in/large"), pattern(1, 1 << 20)).unwrap();
    (0..100).for_each(|i| fs::write(bench.path(&format!("in/d/{i}")), format!("{i}")).unwrap());
    bench.ok(&["import", "s", "in"]);
    for file in ["kms", "key"] {
        fs::rename(bench.path(file), bench.path(&format!("{file}.away"))).unwrap();
    }
    bench
}

#[test]
fn a_sound_store_is_clean_without_a_key() {
    let bench = filled();
    let before = fs::read(bench.path("s")).unwrap();
    let report = bench.json(&["check", "s", "--keyless"]);
    assert_eq!((&report["clean"], &report["suspects"]), (&true.into(), &serde_json::json!([])));
    assert!(report["nodes"].as_u64() > Some(2) && report["pages"].as_u64() > Some(2), "{report}");
    let keys = report["keys"].as_array().unwrap();
    let domains: Vec<_> = keys.iter().map(|key| key["domain"].as_str().unwrap()).collect();
    assert_eq!(domains, ["metadata", "contents"]);
    assert!(keys.iter().all(|key| key["provider"] == "local" && key["version"] == 1), "{report}");
    let text = bench.ok(&["check", "s", "--keyless"]);
    assert!(text.ends_with("they need keys\nclean\n"), "{text}");
    assert!(text.contains("metadata key, version 1, wrapped by local under "), "{text}");
    assert!(fs::read(bench.path("s")).unwrap() == before, "nothing is written");
}

#[test]
fn damage_shows_without_a_key() {
    let bench = filled();
    let whole = fs::read(bench.path("s")).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(bench.path("s"), bytes).unwrap();
        let (code, message) =
            failure(bench.command(&["check", "s", "--keyless"]).output().unwrap());
        (code, message)
    };
    let nodes: Vec<usize> = (0..whole.len() / 4096)
        .filter(|block| whole[block * 4096..].starts_with(b"EFSNODE\x01"))
        .collect();
    for block in &nodes {
        let mut bytes = whole.clone();
        bytes[block * 4096 + 9000] ^= 1;
        assert_eq!(check(&bytes).0, 95, "block {block}");
    }
    let newest = (0..16usize).filter(|slot| whole[at(*slot)..].starts_with(b"\x89EFSC"));
    let newest = newest.max_by_key(|slot| generation(&whole, *slot)).unwrap();
    let mut bytes = whole.clone();
    bytes[at(newest) + 3000] ^= 1;
    let (code, message) = check(&bytes);
    assert_eq!(code, 91, "{message}");
    let output = bench.command(&["check", "s", "--keyless", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 2, "{report}");
    for slot in 0..16 {
        bytes[at(slot) + 3000] ^= 1;
        bytes[at(slot) + 4000] ^= 1;
    }
    assert_eq!(check(&bytes).0, 54);
    assert_eq!(check(&vec![0; 1 << 20]).0, 51);
}

/// Where a slot of the ring stands, the second place behind the first.
fn at(slot: usize) -> usize {
    slot / 8 * (256 << 10) + slot % 8 * (16 << 10)
}

fn generation(bytes: &[u8], slot: usize) -> u64 {
    u64::from_le_bytes(bytes[at(slot) + 56..at(slot) + 64].try_into().unwrap())
}
