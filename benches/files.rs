//! The file system of a store against plain files of the host, in one process and one thread.
//!
//! Each case runs both once in each round, in turns, and prints the median times and the median
//! of the ratio within a round: above 1 the store is faster. Run with `cargo bench --bench files
//! [-- PREFIX]` for the cases whose name starts so. Works in `EFSCRYPT_BENCH_DIR`, by default
//! the build's own folder, which should be on the disk that is meant; needs 3 GiB there.

#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not run")]

mod support;

use std::ffi::CString;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use efscrypt::fs::{FileSystem, ROOT_INO};
use support::{Bed, CALL, compare, new_file, run, timed};

const BIG: u64 = 1 << 30;
const FILES: u32 = 100_000;
const SMALL: usize = 1024;

fn main() {
    run(
        ["store", "plain"],
        &[
            ("write 1 GiB by 1 MiB, commit", 5, write_big),
            ("read it again by 1 MiB", 9, read_big),
            ("lookup and getattr of a name", 15, stat),
            ("create 100,000 of 1 KiB, commit", 3, create_small),
        ],
    );
}

fn write_store(fs: &FileSystem, noise: &[u8]) {
    let ino = new_file(fs, b"big");
    for at in (0..BIG).step_by(CALL) {
        assert_eq!(fs.write(ino, at, noise).unwrap().len, CALL);
    }
    fs.sync().unwrap();
}

fn write_plain(path: &Path, noise: &[u8]) {
    let mut file = File::create(path).unwrap();
    for _ in (0..BIG).step_by(CALL) {
        file.write_all(noise).unwrap();
    }
    file.sync_all().unwrap();
}

fn write_big(bed: &Bed, name: &str, rounds: usize) {
    let path = bed.dir.join("big");
    compare(
        name,
        rounds,
        || {
            let store = bed.store();
            let took = timed(|| write_store(store.file_system(), &bed.noise));
            store.close().unwrap();
            took
        },
        || {
            let _ = fs::remove_file(&path);
            timed(|| write_plain(&path, &bed.noise))
        },
    );
}

fn read_big(bed: &Bed, name: &str, rounds: usize) {
    let path = bed.dir.join("big");
    let store = bed.store();
    let fs = store.file_system();
    write_store(fs, &bed.noise);
    write_plain(&path, &bed.noise);
    let ino = fs.lookup(ROOT_INO, b"big").unwrap().ino;
    let file = File::open(&path).unwrap();
    let (mut ours, mut theirs) = (vec![0; CALL], vec![0; CALL]);
    compare(
        name,
        rounds,
        || {
            timed(|| {
                for at in (0..BIG).step_by(CALL) {
                    assert_eq!(fs.read(ino, at, black_box(&mut ours)).unwrap().len, CALL);
                }
            })
        },
        || {
            timed(|| {
                for at in (0..BIG).step_by(CALL) {
                    file.read_exact_at(black_box(&mut theirs), at).unwrap();
                }
            })
        },
    );
    assert!(ours == bed.noise && theirs == bed.noise);
}

/// Names of one directory, all of them in the caches of both sides.
fn stat(bed: &Bed, name: &str, rounds: usize) {
    const NAMES: usize = 1000;
    const CALLS: usize = 200_000;
    let names: Vec<String> = (0..NAMES).map(|n| format!("file-{n:06}.dat")).collect();
    let store = bed.store();
    let fs = store.file_system();
    let dir = bed.dir.join("names");
    fs::create_dir(&dir).unwrap();
    for name in &names {
        new_file(fs, name.as_bytes());
        File::create(dir.join(name)).unwrap();
    }
    let path = |name: &String| CString::new(dir.join(name).as_os_str().as_bytes()).unwrap();
    let paths: Vec<CString> = names.iter().map(path).collect();
    let each = |took: Duration| took / CALLS as u32;
    compare(
        name,
        rounds,
        || {
            each(timed(|| {
                for n in 0..CALLS {
                    let found = fs.lookup(ROOT_INO, names[n % NAMES].as_bytes()).unwrap();
                    black_box(fs.getattr(found.ino).unwrap());
                }
            }))
        },
        || {
            each(timed(|| {
                for n in 0..CALLS {
                    black_box(rustix::fs::stat(paths[n % NAMES].as_c_str()).unwrap());
                }
            }))
        },
    );
}

fn create_small(bed: &Bed, name: &str, rounds: usize) {
    let dir = bed.dir.join("small");
    let contents = &bed.noise[..SMALL];
    compare(
        name,
        rounds,
        || {
            let store = bed.store();
            let fs = store.file_system();
            let took = timed(|| {
                for n in 0..FILES {
                    let ino = new_file(fs, format!("file-{n:06}.dat").as_bytes());
                    assert_eq!(fs.write(ino, 0, contents).unwrap().len, SMALL);
                }
                fs.sync().unwrap();
            });
            store.close().unwrap();
            took
        },
        || {
            fs::create_dir(&dir).unwrap();
            let took = timed(|| {
                for n in 0..FILES {
                    let mut file = File::create(dir.join(format!("file-{n:06}.dat"))).unwrap();
                    file.write_all(contents).unwrap();
                }
                rustix::fs::sync();
            });
            fs::remove_dir_all(&dir).unwrap();
            took
        },
    );
}
