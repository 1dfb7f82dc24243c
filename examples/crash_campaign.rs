//! Runs random operations on simulated devices, with crashes at every step, and shows what is wrong
//! as a short list of operations.
//!
//! `cargo run --release --features sim --example crash_campaign -- --states 1000000 --seeds 1000`
//!
//! Prints a line at most once a second. The exit status is 1 where something is wrong, 2 for
//! arguments that it does not know.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use efscrypt::sim::{Campaign, Crash, Report};

const USAGE: &str = "\
usage: crash_campaign [--states N] [--seeds N] [--from SEED] [--jobs N] [--callers N]
                      [--operations N] [--faults N]
       crash_campaign --seed SEED [--fault N] [--step STEP --crash SEED]
                      [--callers N] [--operations N]

  --states N      crash states in all (100000)
  --seeds N       runs over which they are spread (one for each 1000 states)
  --from SEED     the first run's seed (1)
  --jobs N        threads (1)
  --callers N     callers of each fourth run; 1 for none at once (3)
  --operations N  operations of each caller (48)
  --faults N      runs of each seed in which the device goes wrong once (4)
  --seed, --fault, --step, --crash   one run again, as a failure prints it";

/// The arguments, by name.
struct Arguments(Vec<(String, u64)>);

impl Arguments {
    fn parse() -> Option<Arguments> {
        let known = [
            "--states",
            "--seeds",
            "--from",
            "--jobs",
            "--callers",
            "--operations",
            "--faults",
            "--seed",
            "--fault",
            "--step",
            "--crash",
        ];
        let (mut found, mut given) = (Vec::new(), std::env::args().skip(1));
        while let Some(name) = given.next() {
            let number = given.next()?.replace('_', "").parse().ok()?;
            known.contains(&&name[..]).then(|| found.push((name, number)))?;
        }
        Some(Arguments(found))
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, number)| *number)
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let get = |name, default| arguments.get(name).unwrap_or(default);
    let states = get("--states", 100_000);
    let campaign = Campaign::new()
        .states(states)
        .seeds(get("--from", 1), get("--seeds", states.div_ceil(1_000)))
        .jobs(get("--jobs", 1) as usize)
        .callers(get("--callers", 3) as usize)
        .operations(get("--operations", 48) as usize)
        .faults(get("--faults", 4));
    let step = arguments.get("--step").zip(arguments.get("--crash"));
    let crash = step.map(|(step, seed)| Crash { step, seed });
    let failure = match arguments.get("--seed") {
        Some(seed) => campaign.replay(seed, arguments.get("--fault"), crash),
        None => run(&campaign, states),
    };
    match failure {
        Ok(None) => {
            println!("nothing is wrong");
            ExitCode::SUCCESS
        }
        Ok(Some(failure)) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(campaign: &Campaign, states: u64) -> efscrypt::Result<Option<efscrypt::sim::Failure>> {
    let begun = Instant::now();
    let last = Mutex::new(begun);
    let line = |report: &Report| {
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{} of {states} states ({} in a recovery, {} amid an operation); {} seeds, {} \
             operations ({} full); {} faults ({} noticed); {seconds:.0} s, {:.0} states/s",
            report.states,
            report.recoveries,
            report.parts,
            report.seeds,
            report.operations,
            report.full,
            report.faults,
            report.noticed,
            report.states as f64 / seconds,
        );
        let _ = std::io::stdout().flush();
    };
    let report = campaign.run(&|report| {
        if let Ok(mut last) = last.lock()
            && last.elapsed() >= Duration::from_secs(1)
        {
            *last = Instant::now();
            line(report);
        }
    })?;
    line(&report);
    Ok(report.failure)
}
