//! Many stores open in one process. Alone in its process, whose memory is measured.
//!
//! `EFSCRYPT_STORES` sets how many; 150 by default.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kit/provider.rs"]
mod provider;

use std::fs;
use std::sync::Arc;

use efscrypt::fs::NewAttr;
use efscrypt::txn::EngineOptions;
use efscrypt::{Providers, Store, StoreOptions};
use provider::Toy;

/// What one open store may take: 1,000 fit into 300 MiB.
const EACH: usize = 300 << 10;

fn options(read_only: bool) -> StoreOptions {
    let engine = EngineOptions { log_bytes: 512 << 10, read_only, ..EngineOptions::default() };
    StoreOptions { engine, ..StoreOptions::default() }
}

/// Memory of this process that stands in RAM, bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn many_open_stores_take_little_memory_each() {
    let number = std::env::var("EFSCRYPT_STORES").map_or(150, |text| text.parse().unwrap());
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let providers = Providers::same(Toy::with(&["key"]));
    let file = NewAttr { mode: 0o644, umask: 0, uid: 0, gid: 0, atime: None, mtime: None };
    let first = place.path().join("store");
    let store =
        Store::create_file(&first, providers.clone(), "key", "key", options(false)).unwrap();
    store.file_system().write_file(b"/file", &file, b"contents").unwrap();
    store.close().unwrap();
    for read_only in [true, false] {
        let (before, mut stores) = (resident(), Vec::new());
        for store in 0..number {
            let path = match read_only {
                true => first.clone(),
                false => {
                    let path = place.path().join(store.to_string());
                    fs::copy(&first, &path).unwrap();
                    path
                }
            };
            let store = Store::open_file(&path, providers.clone(), options(read_only)).unwrap();
            let fs = store.file_system();
            assert_eq!(fs.read_file(b"/file").unwrap(), b"contents");
            stores.push(Arc::new(store));
            if !read_only {
                fs::remove_file(&path).unwrap();
            }
        }
        let each = (resident() - before) / number;
        assert!(each <= EACH, "an open store takes {each} bytes, read-only: {read_only}");
    }
}
