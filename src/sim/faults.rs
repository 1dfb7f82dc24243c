//! Faults: runs in which one operation of the device goes wrong.

use super::judge::{Crash, Depth};
use super::run::Setting;
use super::story::{Story, Trust};
use crate::device::sim::{Failure, FaultPlan, Op, Repeat, Rng, Rot};

/// One thing that the device does wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub kind: Kind,
    /// At which operation of its kind.
    pub nth: u64,
    seed: u64,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    FailedWrite,
    FailedWriteForGood,
    FullWrite,
    ShortWrite,
    FailedFlush,
    FailedRead,
    FullAllocate,
    FailedAllocate,
    TransientRot,
    LastingRot,
    LostWrite,
    MisdirectedWrite,
}

const KINDS: [Kind; 12] = [
    Kind::FailedWrite,
    Kind::FailedWriteForGood,
    Kind::FullWrite,
    Kind::ShortWrite,
    Kind::FailedFlush,
    Kind::FailedRead,
    Kind::FullAllocate,
    Kind::FailedAllocate,
    Kind::TransientRot,
    Kind::LastingRot,
    Kind::LostWrite,
    Kind::MisdirectedWrite,
];

/// Crashes of each run.
const CRASHES: u64 = 6;

impl Fault {
    /// The fault of a number in a run like this one.
    pub fn new(story: &Story, number: u64) -> Fault {
        let seed = story.seed.wrapping_mul(1_000_003).wrapping_add(number);
        let kind = KINDS[(story.seed.wrapping_add(number) % KINDS.len() as u64) as usize];
        let count = story.count(kind.op());
        Fault { kind, nth: Rng::of(seed, 0xfa).below(count.max(1)), seed }
    }

    /// How the run is made.
    pub fn setting(&self, like: &Setting) -> Setting {
        let trust = match self.kind {
            Kind::LastingRot | Kind::LostWrite | Kind::MisdirectedWrite => Trust::Lying,
            Kind::TransientRot => Trust::Rotting,
            _ => Trust::Failing,
        };
        Setting { trust, faults: Some(self.plan()), ..like.clone() }
    }

    fn plan(&self) -> FaultPlan {
        let (plan, nth) = (FaultPlan::new(self.seed), self.nth);
        let fail = |op, failure| plan.clone().fail(op, nth, failure, Repeat::Once);
        match self.kind {
            Kind::FailedWrite => fail(Op::Write, Failure::Io),
            Kind::FailedWriteForGood => plan.fail(Op::Write, nth, Failure::Io, Repeat::Sticky),
            Kind::FullWrite => fail(Op::Write, Failure::NoSpace),
            Kind::ShortWrite => plan.short_write(nth),
            Kind::FailedFlush => fail(Op::Flush, Failure::Io),
            Kind::FailedRead => fail(Op::Read, Failure::Io),
            Kind::FullAllocate => fail(Op::Allocate, Failure::NoSpace),
            Kind::FailedAllocate => fail(Op::Allocate, Failure::Io),
            Kind::TransientRot => plan.rot_read(nth, 3, Rot::Transient),
            Kind::LastingRot => plan.rot_read(nth, 3, Rot::Lasting),
            Kind::LostWrite => plan.lose_write(nth),
            Kind::MisdirectedWrite => plan.misdirect_write(nth),
        }
    }

    /// The crashes that are tried after it: at the end, and anywhere.
    pub fn crashes(&self, story: &Story) -> impl Iterator<Item = (Crash, Depth)> {
        let (steps, first, seed) = (story.recording.steps(), story.ready, self.seed);
        let mut dice = Rng::of(seed, 0xfb);
        (0..CRASHES).map(move |number| {
            let step = match number {
                0 | 1 => steps,
                _ => first + dice.below(steps - first + 1),
            };
            let depth = Depth { recoveries: 0, operations: if number == 1 { 4 } else { 0 } };
            (Crash { step, seed: seed.wrapping_add(number) }, depth)
        })
    }
}

impl Kind {
    fn op(self) -> Op {
        match self {
            Kind::FailedFlush => Op::Flush,
            Kind::FailedRead | Kind::TransientRot | Kind::LastingRot => Op::Read,
            Kind::FullAllocate | Kind::FailedAllocate => Op::Allocate,
            _ => Op::Write,
        }
    }
}
