//! Crashes at every step: what comes back is exactly a prefix, at or after the last
//! acknowledgement, and no space is lost.
//!
//! `EFSCRYPT_CRASH_STATES` sets how many states are tried; a few thousand by default.

use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, Recording, Repeat, SimDevice};
use efscrypt::device::{Device, MemoryDevice};

use crate::model::{Workload, create, open, open_read_only, verify};

const POOL: u64 = 8 << 20;

/// What a workload did, and what it was told.
struct Story {
    recording: Recording,
    work: Workload,
    /// Step by which a number of transactions was acknowledged.
    acks: Vec<(u64, u64)>,
}

impl Story {
    /// Transactions that were acknowledged before a step.
    fn acked(&self, step: u64) -> u64 {
        self.acks.iter().take_while(|(at, _)| *at <= step).map(|(_, n)| *n).last().unwrap_or(0)
    }
}

/// Runs a workload; `None` where the plan stopped it before the store was made.
fn run(seed: u64, plan: FaultPlan) -> Option<Story> {
    let device = Arc::new(SimDevice::recording(MemoryDevice::limited(POOL), plan));
    let mut work = Workload::new(seed);
    let mut acks = Vec::new();
    let engine = create(device.clone(), seed).ok()?;
    acks.push((device.steps(), 0));
    let mut dice = efscrypt::device::sim::Rng::of(seed, 1);
    for _ in 0..60 {
        let Ok(lsn) = work.step(&engine) else { break };
        let done = match dice.below(8) {
            0 => engine.checkpoint(),
            1..=3 => engine.sync(lsn),
            _ => continue,
        };
        match done {
            Ok(()) => acks.push((device.steps(), work.history.len() as u64 - 1)),
            Err(_) => break,
        }
    }
    drop(engine);
    Some(Story { recording: device.take_recording(), work, acks })
}

fn states() -> u64 {
    std::env::var("EFSCRYPT_CRASH_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(1500)
}

#[test]
fn every_crash_leaves_a_prefix() {
    let (mut left, mut seed, mut opened) = (states(), 0, 0u64);
    while left > 0 {
        seed += 1;
        let story = run(seed, FaultPlan::new(seed)).unwrap();
        let steps = story.recording.steps();
        let made = story.acks[0].0;
        for step in 0..=steps {
            if left == 0 {
                break;
            }
            left -= 1;
            let what = story.recording.describe(step, seed);
            let image = story.recording.crash_image(step, seed);
            // Recovery runs on a recorded device too: it may be cut short as well.
            let device = Arc::new(SimDevice::recording(image, FaultPlan::new(seed)));
            let engine = match open(device.clone(), seed) {
                Ok(engine) => engine,
                Err(error) => {
                    assert!(step < made, "{what}: {error}");
                    continue;
                }
            };
            opened += 1;
            let recovered = device.take_recording();
            let count = verify(&engine, &story.work.history, story.acked(step), &what);
            if step % 4 == 0 {
                // Without writing anything, the same is found.
                let device = Arc::new(SimDevice::new(
                    story.recording.crash_image(step, seed),
                    FaultPlan::new(seed),
                ));
                let engine = open_read_only(device.clone())
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let read = verify(&engine, &story.work.history, count, &what);
                assert_eq!((read, device.counters().writes), (count, 0), "{what}: read-only");
            }
            let again = (step * 31 + seed) % (recovered.steps() + 1);
            let image = recovered.crash_image(again, step);
            let engine = open(image, seed).unwrap_or_else(|error| panic!("{what}: {error}"));
            let twice = verify(&engine, &story.work.history, count, &what);
            assert_eq!(count, twice, "{what}: recovery cut short at {again}");
        }
    }
    assert!(opened * 2 > states(), "only {opened} of {} states held a store", states());
}

#[test]
fn work_goes_on_after_a_crash() {
    for seed in 0..40 {
        let story = run(seed, FaultPlan::new(seed)).unwrap();
        let made = story.acks[0].0;
        let step = made + (seed * 7919) % (story.recording.steps() - made + 1);
        let image = Arc::new(story.recording.crash_image(step, seed));
        let engine = open(Arc::clone(&image), seed).unwrap();
        let count = verify(&engine, &story.work.history, story.acked(step), "first");
        let mut work = story.work;
        work.history.truncate(count as usize + 1);
        for _ in 0..40 {
            let lsn = work.step(&engine).unwrap();
            engine.sync(lsn).unwrap();
        }
        drop(engine);
        let engine = open(image, seed + 1).unwrap();
        verify(&engine, &work.history, work.history.len() as u64 - 1, "second");
    }
}

/// The tests above can fail: a device that lies about one flush is found out.
#[test]
fn a_skipped_flush_is_caught() {
    let mut caught = 0;
    for seed in 0..30u64 {
        let lie = FaultPlan::new(seed).skip_flush(4 + seed % 12, Repeat::Sticky);
        let Some(story) = run(seed, lie) else { continue };
        for step in story.acks[0].0..=story.recording.steps() {
            let image = story.recording.crash_image(step, seed);
            let lost = std::panic::catch_unwind(|| {
                let engine = open(image, seed).unwrap();
                verify(&engine, &story.work.history, story.acked(step), "canary");
            });
            caught += u64::from(lost.is_err());
        }
    }
    assert!(caught > 30, "only {caught} states showed the lie");
}

#[test]
fn a_failing_device_never_costs_what_was_acknowledged() {
    use efscrypt::device::sim::{Failure, Op};
    for seed in 0..60u64 {
        for op in [Op::Write, Op::Flush, Op::Read, Op::Allocate] {
            let plan = FaultPlan::new(seed).fail(op, 3 + seed / 2, Failure::Io, Repeat::Once);
            let Some(story) = run(seed, plan) else { continue };
            let step = story.recording.steps();
            let image = story.recording.crash_image(step, seed);
            let what = format!("seed {seed}, failing {op:?}");
            let engine = open(image, seed).unwrap_or_else(|error| panic!("{what}: {error}"));
            verify(&engine, &story.work.history, story.acked(step), &what);
        }
    }
}

#[test]
fn opening_reads_little_whatever_the_size() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let engine = create(device.clone(), 1).unwrap();
    for n in 0..30_000u64 {
        let mut edits = efscrypt::txn::Edits::new();
        edits.put(1, &[&[1][..], &n.to_be_bytes()].concat(), &[5; 200]);
        engine.commit(&mut edits, efscrypt::txn::Class::Normal).unwrap();
    }
    engine.checkpoint().unwrap();
    drop(engine);
    let before = device.counters();
    let engine = open(device.clone(), 2).unwrap();
    let after = device.counters();
    assert!(after.reads - before.reads <= 64);
    assert!(after.bytes_read - before.bytes_read <= 1 << 20);
    assert!(device.len().unwrap() > 6 << 20);
    drop(engine);
}

/// What cannot be read just now is not what was never written.
#[test]
fn a_read_that_fails_in_a_recovery_loses_nothing() {
    use efscrypt::device::sim::{Failure, Op};
    let device = Arc::new(SimDevice::new(MemoryDevice::limited(POOL), FaultPlan::new(1)));
    let mut work = Workload::new(5);
    let engine = create(device.clone(), 5).unwrap();
    for _ in 0..20 {
        let lsn = work.step(&engine).unwrap();
        engine.sync(lsn).unwrap();
    }
    drop(engine);
    let image = device.durable_image();
    let most = work.history.len() as u64 - 1;
    for nth in 0.. {
        let plan = FaultPlan::new(1).fail(Op::Read, nth, Failure::Io, Repeat::Once);
        let device = Arc::new(SimDevice::new(image.snapshot(), plan));
        let opened = open(device.clone(), nth);
        let reads = device.counters().reads;
        drop(opened);
        let engine = open(device.durable_image(), nth + 1).unwrap();
        verify(&engine, &work.history, most, &format!("read {nth} of {reads} failed"));
        if reads <= nth {
            assert!(nth > 20, "only {nth} reads");
            break;
        }
    }
}
