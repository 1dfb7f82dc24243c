//! Names and pieces of contents that a thief would like to find, and a search for them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Result;
use super::progress::{Progress, grouped};
use super::secrets::{Secrets, WINDOW, is_telling};

/// Most that are kept; of more, some by chance.
const MOST: usize = 100_000;
/// Bytes of a store in memory at a time.
const PART: usize = 1 << 20;

/// One secret: a part of it, and whose it is.
struct Secret {
    part: [u8; WINDOW],
    what: &'static str,
    path: PathBuf,
}

/// A choice of secrets, whose size does not depend on how many were offered.
#[derive(Default)]
pub struct Sample {
    kept: Vec<Secret>,
    offered: u64,
    /// Names, targets and contents of which no part is telling.
    pub untold: u64,
}

impl Sample {
    /// Takes parts of what stands at a path: its beginning, its end, and some between.
    pub fn offer(&mut self, what: &'static str, path: &Path, bytes: &[u8]) {
        let last = bytes.len().saturating_sub(WINDOW);
        let mut places = vec![0, last / 3, last / 3 * 2, last];
        places.dedup();
        let parts = places.into_iter().map(|at| bytes.get(at..at + WINDOW));
        let mut any = false;
        for part in parts.flatten().filter(|part| is_telling(part)) {
            any = true;
            self.offered += 1;
            let part = part.try_into().expect("a part is a window");
            let secret = || Secret { part, what, path: path.to_owned() };
            if self.kept.len() < MOST {
                self.kept.push(secret());
                continue;
            }
            let place = self.dice();
            if let Some(old) = self.kept.get_mut(place) {
                *old = secret();
            }
        }
        self.untold += u64::from(!any);
    }

    /// A number below that of all that was offered, so that each has the same chance to be kept
    /// (Vitter's algorithm R; the number is SplitMix64's).
    fn dice(&self) -> usize {
        let mut mixed = self.offered.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % self.offered) as usize
    }

    /// Searches a store for what was kept. What also stands in an empty store is none of the
    /// tree's: the tree may hold a store, or a text about one.
    pub fn search(self, store: &Path, empty: &Path) -> Result<Theft> {
        let mut theft = Theft { searched: self.kept.len(), ..Theft::default() };
        (theft.untold, theft.offered) = (self.untold, self.offered);
        let mut secrets = Secrets::default();
        for (number, secret) in self.kept.iter().enumerate() {
            secrets.add(number, &secret.part);
        }
        let mut seen = HashSet::new();
        hits(empty, &secrets, |_, number| _ = seen.insert(number))?;
        theft.untold += seen.len() as u64;
        theft.bytes = hits(store, &secrets, |at, number| {
            if seen.insert(number) {
                theft.found += 1;
                if theft.places.len() < 10 {
                    let Secret { what, path, .. } = &self.kept[number];
                    theft.places.push(format!("byte {at} of store.efs: {what} of {path:?}"));
                }
            }
        })?;
        Ok(theft)
    }
}

/// What a search found.
#[derive(Default)]
pub struct Theft {
    /// Bytes of the store.
    pub bytes: u64,
    pub searched: usize,
    pub offered: u64,
    pub untold: u64,
    pub found: u64,
    /// The first of them, each at its first place.
    pub places: Vec<String>,
}

/// Calls `hit` for each place of a file where a secret stands; returns the length of the file.
/// Parts overlap, so none is missed between two.
fn hits(path: &Path, secrets: &Secrets, mut hit: impl FnMut(u64, usize)) -> Result<u64> {
    let (mut file, mut progress) = (File::open(path)?, Progress::new());
    let (mut part, mut at) = (Vec::with_capacity(PART + WINDOW), 0);
    loop {
        let new = (&mut file).take(PART as u64).read_to_end(&mut part)?;
        secrets.find(&part).for_each(|(place, number)| hit(at + place as u64, number));
        let over = part.len().saturating_sub(WINDOW - 1);
        part.drain(..over);
        at += over as u64;
        if new == 0 {
            return Ok(at + part.len() as u64);
        }
        progress.show(|| format!("searching ... {} bytes", grouped(at)));
    }
}
