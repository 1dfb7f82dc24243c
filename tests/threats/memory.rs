//! Keys in memory: where they are allowed to be, and where they are not.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use efscrypt::Rewrap;
use efscrypt::crypto::KeyArena;
use efscrypt::device::MemoryDevice;
use efscrypt::fs::{CreateMode, SetAttr};

use crate::bed::{DATA, FILE, META, create, open, pattern};
use crate::secrets::Secrets;
use crate::watch::Watch;

/// A mapping of this process: its range, and its line and flags in `smaps`.
struct Mapping {
    range: std::ops::Range<usize>,
    head: String,
    flags: Vec<String>,
}

fn mappings() -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        let range = range.and_then(|(from, to)| Some(number(from)?..number(to)?));
        match (range, line.strip_prefix("VmFlags: "), found.last_mut()) {
            (Some(range), ..) => {
                found.push(Mapping { range, head: line.to_owned(), flags: Vec::new() });
            }
            (None, Some(flags), Some(last)) => {
                last.flags = flags.split_whitespace().map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    found
}

#[test]
fn key_pages_are_locked_and_left_out_of_dumps_and_forks() {
    let arena = KeyArena::new().unwrap();
    let slots: Vec<_> = (0..40u8).map(|n| arena.place(|| Ok([n; 3000])).unwrap()).collect();
    let (status, mappings) = (arena.status(), mappings());
    for slot in &slots {
        let address = std::ptr::from_ref(slot.get().unwrap()) as usize;
        let mapping = mappings.iter().find(|mapping| mapping.range.contains(&address)).unwrap();
        let has = |flag: &str| mapping.flags.iter().any(|known| known == flag);
        assert_eq!(has("dd"), status.excluded_from_dumps, "{}", mapping.head);
        assert_eq!(has("wf"), status.wiped_on_fork, "{}", mapping.head);
        assert_eq!(has("lo"), status.locked, "{}", mapping.head);
        // The guard pages around it cannot be touched.
        for beside in [mapping.range.start - 1, mapping.range.end] {
            let guard = mappings.iter().find(|mapping| mapping.range.contains(&beside)).unwrap();
            assert!(guard.head.contains("---p"), "{}", guard.head);
        }
    }
    assert!(status.excluded_from_dumps && status.wiped_on_fork);
}

fn has_kek(watch: &Watch) -> bool {
    in_memory(|bytes| watch.knows(bytes))
}

/// Whether something is found in memory that can be written, but for this thread's stack.
pub fn in_memory(found: impl Fn(&[u8]) -> bool) -> bool {
    let memory = File::open("/proc/self/mem").unwrap();
    let here = 0u8;
    let here = std::ptr::from_ref(&here) as usize;
    let mut buffer = vec![0; 1 << 20];
    mappings().iter().any(|mapping| {
        let special = ["[stack]", "[vvar", "[vdso]", "[vsyscall]"];
        let skipped = special.iter().any(|name| mapping.head.contains(name));
        if skipped || !mapping.head.contains(" rw") || mapping.range.contains(&here) {
            return false;
        }
        let mut at = mapping.range.start;
        while at < mapping.range.end {
            let len = buffer.len().min(mapping.range.end - at);
            let Ok(got) = memory.read_at(&mut buffer[..len], at as u64) else { break };
            if got == 0 {
                break;
            }
            if found(&buffer[..got]) {
                return true;
            }
            // Windows that begin in this part and end in the next.
            at += if got == len && len == buffer.len() { got - 31 } else { got };
        }
        false
    })
}

#[test]
fn an_open_store_holds_no_kek() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    let store = create(&device, &watch);
    store.file_system().write_file(b"/file", &FILE, &[7; 10_000]).unwrap();
    assert!(!has_kek(&watch), "a KEK is left after the store was made");
    store.close().unwrap();
    let store = open(&device, &watch).unwrap();
    assert_eq!(store.file_system().read_file(b"/file").unwrap(), [7; 10_000]);
    assert!(!has_kek(&watch), "a KEK is left after the store was opened");
    store.rewrap(Rewrap::new().data(watch.clone(), DATA).metadata(watch.clone(), META)).unwrap();
    assert!(!has_kek(&watch), "a KEK is left after a rewrap");
    store.close().unwrap();
    // The search is able to find one.
    let mut shown = Vec::new();
    watch.unmask(|kek| shown.push(Box::new(*kek)));
    assert!(has_kek(&watch));
    drop(shown);
}

/// Bytes of a caller, who wipes them.
fn wiped(mut bytes: Vec<u8>) {
    bytes.fill(0);
    std::hint::black_box(&bytes);
}

/// Reads and writes that need working memory of the store's own: those of parts of units.
#[test]
fn contents_are_not_left_in_memory() {
    let (device, watch) = (Arc::new(MemoryDevice::new()), Watch::with(&[META, DATA]));
    let store = create(&device, &watch);
    let fs = store.file_system();
    let mut secrets = Secrets::default();
    for n in 0..12u64 {
        let len = [300, 1900, 4096, 10_000, 40_000, 4096 * 70 + 9][n as usize % 6];
        let new = || pattern(9_000_000 + n, len);
        let (bytes, name) = (new(), format!("file {n}"));
        secrets.add(n as usize, &bytes);
        let mode = CreateMode::Guarded;
        let (at, ino) = match n {
            // In the call that makes the file, and over and behind other bytes.
            0..6 => (0, fs.create_with(1, name.as_bytes(), &FILE, mode, &bytes).unwrap().attr.ino),
            _ => {
                let ino = fs.create(1, name.as_bytes(), &FILE, mode).unwrap().attr.ino;
                fs.write(ino, 0, &[1; 5000][..700 + 300 * n as usize]).unwrap();
                fs.write(ino, 100 + n, &bytes).unwrap();
                (100 + n, ino)
            }
        };
        let mut buf = vec![0; len];
        let mut done = 0;
        while done < len {
            let most = len.min(done + [100, 5000, 4096][n as usize % 3]);
            done += fs.read(ino, at + done as u64, &mut buf[done..most]).unwrap().len;
        }
        assert!(buf == bytes);
        wiped(buf);
        wiped(bytes);
        // A cut inside a unit, and a hole.
        fs.punch_hole(ino, at + len as u64 / 2, 50).unwrap();
        let size = Some(at + len as u64 / 3 * 2 + 1);
        fs.setattr(ino, &SetAttr { size, ..SetAttr::default() }).unwrap();
    }
    let left = || in_memory(|bytes| secrets.find(bytes).next().is_some());
    assert!(!left(), "contents are left in memory of an open store");
    store.lock_data().unwrap();
    store.close().unwrap();
    assert!(!left(), "contents are left in memory of a closed store");
    // The search is able to find some.
    let shown = Box::new(pattern(9_000_003, 10_000));
    assert!(left());
    wiped(*shown);
}
