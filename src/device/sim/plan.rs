//! Which operations of a simulated device go wrong, and how.

use std::io;

use rustix::io::Errno;

/// An operation of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `read_at`: the only one that is not a step.
    Read,
    /// `write_at` or `write_many`: one request either way.
    Write,
    /// `flush`.
    Flush,
    /// `allocate`.
    Allocate,
    /// `discard`.
    Discard,
}

/// How many kinds of operation there are.
pub(super) const OPS: usize = 5;

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The n-th operation of its kind alone.
    Once,
    /// The n-th and every later one.
    Sticky,
}

/// What a failed operation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    NoSpace,
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        match self {
            Failure::Io => Errno::IO.into(),
            Failure::NoSpace => Errno::NOSPC.into(),
        }
    }
}

/// Whether rotten bits are on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// Only this read sees them.
    Transient,
    /// Every later read sees them, until the bytes are written again.
    Lasting,
}

/// What goes wrong on a simulated device, and when: pure data, so that printing a plan is
/// enough to run it again.
///
/// Operations of each kind count from 0, from when the plan was set; the n of each method is
/// such a number. Where two faults fit one operation the one added first strikes.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    seed: u64,
    stop_at: Option<u64>,
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    op: Op,
    nth: u64,
    repeat: Repeat,
    effect: Effect,
}

/// What a fault does to its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Fail(Failure),
    /// Of the unsynced steps those that begin in this range are gone, the others durable.
    Drop {
        from: u64,
        to: u64,
    },
    Short,
    Lose,
    Misdirect,
    Rot {
        bits: u32,
        rot: Rot,
    },
    Lie,
}

impl FaultPlan {
    /// A plan without faults. The seed decides what the device and the faults leave open: the
    /// length of a short write, the target of a misdirected one, the bits that rot, what is left
    /// of a discarded range.
    pub fn new(seed: u64) -> FaultPlan {
        FaultPlan { seed, ..FaultPlan::default() }
    }

    /// The power goes off during this step (write, flush, allocation or discard): it and every
    /// later operation of any kind fail with `EIO`.
    pub fn stop_at(mut self, step: u64) -> FaultPlan {
        self.stop_at = Some(step);
        self
    }

    /// The operation fails. A failed write, allocation or discard changes nothing. A failed
    /// flush settles the fate of all writes before it, by the seed, as in a crash: reads still
    /// see them, later flushes succeed, and they may be gone all the same.
    pub fn fail(self, op: Op, nth: u64, failure: Failure, repeat: Repeat) -> FaultPlan {
        self.with(op, nth, repeat, Effect::Fail(failure))
    }

    /// The flush fails with `EIO`: of the steps before it those that begin in the range of bytes
    /// are not durable and never will be, and all others are. Reads still see everything, and
    /// later flushes succeed: so Linux does with pages that it could not write. See
    /// [`Device::drop_cache`](crate::device::Device::drop_cache).
    pub fn drop_at_flush(self, nth: u64, range: std::ops::Range<u64>) -> FaultPlan {
        self.with(Op::Flush, nth, Repeat::Once, Effect::Drop { from: range.start, to: range.end })
    }

    /// The write fails with `EIO` after some of its bytes, from the first on, were written.
    pub fn short_write(self, nth: u64) -> FaultPlan {
        self.with(Op::Write, nth, Repeat::Once, Effect::Short)
    }

    /// The write returns well and never happens.
    pub fn lose_write(self, nth: u64) -> FaultPlan {
        self.with(Op::Write, nth, Repeat::Once, Effect::Lose)
    }

    /// The write returns well and lands at another offset of the same alignment inside the
    /// device; on a device without room for that it is lost.
    pub fn misdirect_write(self, nth: u64) -> FaultPlan {
        self.with(Op::Write, nth, Repeat::Once, Effect::Misdirect)
    }

    /// The read returns well with `bits` of its bits flipped (fewer where it is shorter).
    pub fn rot_read(self, nth: u64, bits: u32, rot: Rot) -> FaultPlan {
        self.with(Op::Read, nth, Repeat::Once, Effect::Rot { bits, rot })
    }

    /// The flush returns well and makes nothing durable. A crash test over a store on such a
    /// device must fail: that shows that the test can.
    pub fn skip_flush(self, nth: u64, repeat: Repeat) -> FaultPlan {
        self.with(Op::Flush, nth, repeat, Effect::Lie)
    }

    fn with(mut self, op: Op, nth: u64, repeat: Repeat, effect: Effect) -> FaultPlan {
        self.faults.push(Fault { op, nth, repeat, effect });
        self
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn stops_at(&self, step: u64) -> bool {
        self.stop_at == Some(step)
    }

    /// What happens to the n-th operation of this kind.
    pub(super) fn effect(&self, op: Op, nth: u64) -> Option<Effect> {
        let strikes = |fault: &&Fault| {
            fault.op == op
                && match fault.repeat {
                    Repeat::Once => fault.nth == nth,
                    Repeat::Sticky => fault.nth <= nth,
                }
        };
        self.faults.iter().find(strikes).map(|fault| fault.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_by_kind_number_and_order() {
        let plan = FaultPlan::new(0)
            .fail(Op::Write, 3, Failure::Io, Repeat::Once)
            .fail(Op::Write, 2, Failure::NoSpace, Repeat::Sticky)
            .skip_flush(0, Repeat::Once);
        let writes: Vec<_> = (0..5).map(|n| plan.effect(Op::Write, n)).collect();
        let full = Some(Effect::Fail(Failure::NoSpace));
        assert_eq!(writes, [None, None, full, Some(Effect::Fail(Failure::Io)), full]);
        assert_eq!(plan.effect(Op::Flush, 0), Some(Effect::Lie));
        assert_eq!(plan.effect(Op::Flush, 1), None);
        assert_eq!(plan.effect(Op::Read, 3), None);
    }
}
