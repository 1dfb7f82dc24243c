//! Faults: runs in which one operation of the device goes wrong.

use super::judge::{Crash, Depth};
use super::run::{Setting, Work};
use super::story::{Story, Trust};
use crate::device::sim::{Counters, Failure, FaultPlan, Op, Repeat, Rng, Rot};

/// One thing that the device does wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub kind: Kind,
    pub phase: Phase,
    /// At which operation of its kind.
    pub nth: u64,
    pub seed: u64,
}

/// When something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Creation,
    Work,
    /// The opening after a crash.
    Recovery,
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
    FailedDiscard,
    TransientRot,
    LastingRot,
    LostWrite,
    MisdirectedWrite,
}

const KINDS: [Kind; 13] = [
    Kind::FailedWrite,
    Kind::FailedWriteForGood,
    Kind::FullWrite,
    Kind::ShortWrite,
    Kind::FailedFlush,
    Kind::FailedRead,
    Kind::FullAllocate,
    Kind::FailedAllocate,
    Kind::FailedDiscard,
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
        let mut dice = Rng::of(seed, 0xfa);
        let (phase, steps) = match dice.below(8) {
            0 => (Phase::Creation, 0..story.created),
            1 | 2 => (Phase::Recovery, 0..0),
            _ => (Phase::Work, story.ready..story.recording.steps()),
        };
        let count = story.count(kind.op(), steps).max(1);
        Fault { kind, phase, nth: dice.below(count), seed }
    }

    /// How the run is made.
    pub fn setting(&self, like: &Setting) -> Setting {
        let trust = match self.kind {
            Kind::LastingRot | Kind::LostWrite | Kind::MisdirectedWrite => Trust::Lying,
            Kind::TransientRot => Trust::Rotting,
            _ => Trust::Failing,
        };
        match self.phase {
            Phase::Recovery => like.clone(),
            phase => {
                let early = phase == Phase::Creation;
                let work = match like.work {
                    Work::Made { operations, .. } if early => Work::Made { callers: 1, operations },
                    _ => like.work.clone(),
                };
                let faults = Some(self.plan(self.nth));
                Setting { trust, faults, early, work, ..like.clone() }
            }
        }
    }

    /// Whether a recovery may come to another end by it. The last record of the log cannot be
    /// told from one that was never written whole when its bytes are read wrong.
    pub fn lies_to_recovery(&self) -> bool {
        use Kind as K;
        matches!(self.kind, K::TransientRot | K::LastingRot | K::LostWrite | K::MisdirectedWrite)
    }

    /// The plan in which it strikes at one of so many operations.
    pub fn plan_among(&self, counters: &Counters) -> FaultPlan {
        let count = match self.kind.op() {
            Op::Read => counters.reads,
            Op::Write => counters.writes,
            Op::Flush => counters.flushes,
            Op::Allocate => counters.allocates,
            Op::Discard => counters.discards,
        };
        self.plan(Rng::of(self.seed, 0xfc).below(count.max(1)))
    }

    fn plan(&self, nth: u64) -> FaultPlan {
        let plan = FaultPlan::new(self.seed);
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
            Kind::FailedDiscard => fail(Op::Discard, Failure::Io),
            Kind::TransientRot => plan.rot_read(nth, 3, Rot::Transient),
            Kind::LastingRot => plan.rot_read(nth, 3, Rot::Lasting),
            Kind::LostWrite => plan.lose_write(nth),
            Kind::MisdirectedWrite => plan.misdirect_write(nth),
        }
    }

    /// The crashes that are tried after it: at the end, and anywhere.
    pub fn crashes(&self, story: &Story) -> impl Iterator<Item = (Crash, Depth)> {
        let (steps, seed) = (story.recording.steps(), self.seed);
        let first = story.ready.min(steps);
        let mut dice = Rng::of(seed, 0xfb);
        (0..CRASHES).map(move |number| {
            let step = match number {
                0 | 1 => steps,
                _ => first + dice.below(steps - first + 1),
            };
            let operations = if number == 1 { 4 } else { 0 };
            let depth = Depth { operations, ..Depth::default() };
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
            Kind::FailedDiscard => Op::Discard,
            _ => Op::Write,
        }
    }
}
