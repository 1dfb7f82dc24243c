//! The sector cipher against its peers, in one process and one thread.
//!
//! Every contestant runs once in each round, so that whatever else the machine does hits all of
//! them; figures are medians over the rounds, and ratios are medians of the ratio within a round.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cipher_peers::{Contestant, contestants};
use crate::median;

/// Rounds of every case; each contestant runs once in a round.
const ROUNDS: usize = 31;
/// How long one contestant runs in one round.
const SLICE: Duration = Duration::from_millis(4);

/// Bytes of a call, and of a unit in it.
const CASES: [(usize, usize); 4] =
    [(4096, 4096), (64 * 1024, 512), (64 * 1024, 4096), (64 * 1024, 64 * 1024)];

/// Prints all cases.
pub fn run() {
    println!(
        "{:<28}{:>8}{:>10}{:>10}{:>9}{:>9}",
        "", "unit", "ns/call", "GB/s", "/aws-lc", "/openssl"
    );
    for (call, unit) in CASES {
        for encrypt in [true, false] {
            let direction = if encrypt { "encrypt" } else { "decrypt" };
            println!("{direction}, {call} bytes a call, units of {unit}");
            report(call, unit, encrypt);
        }
    }
}

/// Runs one case and prints a line for each contestant.
fn report(call: usize, unit: usize, encrypt: bool) {
    let mut contestants: Vec<_> = contestants().into_iter().filter(|c| c.takes(unit)).collect();
    let mut buf = vec![0x5au8; call];
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    for _ in 0..ROUNDS {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            times.push(time(contestant.as_mut(), &mut buf, unit, encrypt));
        }
    }
    let of = |name: &str| contestants.iter().position(|c| c.name() == name);
    let (aws, ssl) = (of("aws-lc"), of("openssl"));
    for (index, contestant) in contestants.iter().enumerate() {
        let ns = median(times[index].clone());
        let ratio = |peer: Option<usize>| {
            let Some(peer) = peer else { return f64::NAN };
            median(times[peer].iter().zip(&times[index]).map(|(p, t)| p / t).collect())
        };
        println!(
            "  {:<26}{:>8}{:>10.0}{:>10.2}{:>9.2}{:>9.2}",
            contestant.name(),
            unit,
            ns,
            call as f64 / ns,
            ratio(aws),
            ratio(ssl)
        );
    }
}

/// Nanoseconds of one call.
fn time(contestant: &mut dyn Contestant, buf: &mut [u8], unit: usize, encrypt: bool) -> f64 {
    let mut calls = 0u32;
    let start = Instant::now();
    loop {
        for _ in 0..16 {
            contestant.run(black_box(buf), unit, u128::from(calls), encrypt);
            calls += 1;
        }
        let elapsed = start.elapsed();
        if elapsed >= SLICE {
            return elapsed.as_nanos() as f64 / f64::from(calls);
        }
    }
}
