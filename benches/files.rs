//! The file system of a store against plain files of the host, in one process and one thread.
//!
//! Each case runs both once in each round, in turns, and prints the median times and the median
//! of the ratio within a round: above 1 the store is faster. Run with `cargo bench --bench files
//! [-- PREFIX]` for the cases whose name starts so. Works in `EFSCRYPT_BENCH_DIR`, by default
//! the build's own folder, which should be on the disk that is meant; needs 3 GiB there.

#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not run")]

use std::ffi::CString;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efscrypt::device::FileDevice;
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, ROOT_INO};
use efscrypt::keys::{KeyProvider, LocalKms, Passphrase, Unlock};
use efscrypt::{Providers, Store, StoreOptions};

const BIG: u64 = 1 << 30;
const CALL: usize = 1 << 20;
const FILES: u32 = 100_000;
const SMALL: usize = 1024;

/// What both sides work with.
struct Bed {
    dir: PathBuf,
    providers: Providers,
    /// Bytes that no file system can compress.
    noise: Vec<u8>,
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let base = std::env::var_os("EFSCRYPT_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let place = tempfile::tempdir_in(base).unwrap();
    let bed = Bed::new(place.path());
    println!("{:<34}{:>12}{:>12}{:>9}{:>18}", "", "store", "plain", "ratio", "lowest-highest");
    type Case = (&'static str, usize, fn(&Bed, usize));
    let cases: [Case; 4] = [
        ("write 1 GiB by 1 MiB, commit", 5, write_big),
        ("read it again by 1 MiB", 9, read_big),
        ("lookup and getattr of a name", 15, stat),
        ("create 100,000 of 1 KiB, commit", 3, create_small),
    ];
    for (_, rounds, case) in cases.iter().filter(|(name, ..)| name.starts_with(&wanted)) {
        case(&bed, *rounds);
    }
}

impl Bed {
    fn new(dir: &Path) -> Bed {
        let unlock = Unlock::Passphrase(Passphrase::new(b"for measuring".to_vec()).unwrap());
        let kms = LocalKms::init(&dir.join("kms.json"), &unlock).unwrap();
        kms.create_key(Some("alias/bench")).unwrap();
        let provider: Arc<dyn KeyProvider> = Arc::new(kms);
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let noise = noise.take(CALL).collect();
        Bed { dir: dir.to_owned(), providers: Providers::same(provider), noise }
    }

    /// A new store in a new file.
    fn store(&self) -> Store {
        let path = self.dir.join("store.efs");
        let _ = fs::remove_file(&path);
        let device = Arc::new(FileDevice::create(&path).unwrap());
        let key = "alias/bench";
        let providers = self.providers.clone();
        Store::create(device, providers, key, key, StoreOptions::default()).unwrap()
    }
}

/// Runs both sides `rounds` times in turns, and prints a line.
fn compare(
    name: &str,
    rounds: usize,
    mut store: impl FnMut() -> Duration,
    mut plain: impl FnMut() -> Duration,
) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Who goes first alternates, so that neither always meets the other's dirty pages.
        let (a, b) = if round % 2 == 0 {
            let a = store();
            (a, plain())
        } else {
            let b = plain();
            (store(), b)
        };
        ours.push(a.as_secs_f64());
        theirs.push(b.as_secs_f64());
        ratios.push(b.as_secs_f64() / a.as_secs_f64());
    }
    for values in [&mut ours, &mut theirs, &mut ratios] {
        values.sort_by(f64::total_cmp);
    }
    let middle = rounds / 2;
    println!(
        "{name:<34}{:>12}{:>12}{:>9.2}{:>18}",
        time(ours[middle]),
        time(theirs[middle]),
        ratios[middle],
        format!("{:.2}-{:.2}", ratios[0], ratios[rounds - 1])
    );
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} ns", s * 1e9),
        s => format!("{:.3} s", s),
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    // What earlier work left for the disk is not this work's.
    rustix::fs::sync();
    let start = Instant::now();
    work();
    start.elapsed()
}

fn new_file(fs: &FileSystem, name: &[u8]) -> u64 {
    fs.create(ROOT_INO, name, &NewAttr::default(), CreateMode::Guarded).unwrap().attr.ino
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

fn write_big(bed: &Bed, rounds: usize) {
    let path = bed.dir.join("big");
    compare(
        "write 1 GiB by 1 MiB, commit",
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

fn read_big(bed: &Bed, rounds: usize) {
    let path = bed.dir.join("big");
    let store = bed.store();
    let fs = store.file_system();
    write_store(fs, &bed.noise);
    write_plain(&path, &bed.noise);
    let ino = fs.lookup(ROOT_INO, b"big").unwrap().ino;
    let file = File::open(&path).unwrap();
    let (mut ours, mut theirs) = (vec![0; CALL], vec![0; CALL]);
    compare(
        "read it again by 1 MiB",
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
fn stat(bed: &Bed, rounds: usize) {
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
        "lookup and getattr of a name",
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

fn create_small(bed: &Bed, rounds: usize) {
    let dir = bed.dir.join("small");
    let contents = &bed.noise[..SMALL];
    compare(
        "create 100,000 of 1 KiB, commit",
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
