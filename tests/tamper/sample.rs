//! Which of many cases a run tries.

use efscrypt::device::sim::Rng;

/// All of `cases`, or about `most` of them by the seed of the run.
pub fn sample<T>(mut cases: Vec<T>, most: usize, salt: u64) -> Vec<T> {
    let wish = std::env::var("EFSCRYPT_TAMPER").unwrap_or_default();
    if wish != "all" && cases.len() > most {
        let seed = wish.parse().unwrap_or(1);
        Rng::of(seed, salt).shuffle(&mut cases);
        cases.truncate(most);
    }
    cases
}
