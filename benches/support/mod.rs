//! What the benchmarks of a store against plain files have in common: a place on a disk, a store
//! with keys, and rounds of both sides in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use efscrypt::device::FileDevice;
use efscrypt::fs::{CreateMode, FileSystem, NewAttr, ROOT_INO};
use efscrypt::keys::{KeyProvider, LocalKms, Passphrase, Unlock};
use efscrypt::{Providers, Store, StoreOptions};

/// Bytes of a large call.
pub const CALL: usize = 1 << 20;

/// What both sides work with.
pub struct Bed {
    pub dir: PathBuf,
    pub providers: Providers,
    /// Bytes that no file system can compress.
    pub noise: Vec<u8>,
}

impl Bed {
    pub fn new(dir: &Path) -> Bed {
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
    pub fn store(&self) -> Store {
        let path = self.dir.join("store.efs");
        let _ = fs::remove_file(&path);
        let device = Arc::new(FileDevice::create(&path).unwrap());
        let key = "alias/bench";
        let providers = self.providers.clone();
        Store::create(device, providers, key, key, StoreOptions::default()).unwrap()
    }
}

/// A line of the table: its name, its rounds, and what measures it.
pub type Case = (&'static str, usize, fn(&Bed, &str, usize));

/// Runs the cases whose name starts as the first argument says: all without one. Works in
/// `EFSCRYPT_BENCH_DIR`, by default in the build's own folder.
pub fn run(sides: [&str; 2], cases: &[Case]) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let base = std::env::var_os("EFSCRYPT_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let place = tempfile::tempdir_in(base).unwrap();
    let bed = Bed::new(place.path());
    let [ours, theirs] = sides;
    println!("{:<36}{ours:>12}{theirs:>12}{:>9}{:>18}", "", "ratio", "lowest-highest");
    for (name, rounds, case) in cases.iter().filter(|(name, ..)| name.starts_with(&wanted)) {
        case(&bed, name, *rounds);
    }
}

/// Runs both sides `rounds` times in turns, and prints a line.
pub fn compare(
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
        "{name:<36}{:>12}{:>12}{:>9.2}{:>18}",
        time(ours[middle]),
        time(theirs[middle]),
        ratios[middle],
        format!("{:.2}-{:.2}", ratios[0], ratios[rounds - 1])
    );
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-5 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-1 => format!("{:.3} ms", s * 1e3),
        s => format!("{:.3} s", s),
    }
}

pub fn timed(work: impl FnOnce()) -> Duration {
    // What earlier work left for the disk is not this work's.
    rustix::fs::sync();
    let start = Instant::now();
    work();
    start.elapsed()
}

pub fn new_file(fs: &FileSystem, name: &[u8]) -> u64 {
    fs.create(ROOT_INO, name, &NewAttr::default(), CreateMode::Guarded).unwrap().attr.ino
}
