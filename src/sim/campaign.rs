//! Campaigns: many runs by seeds, and many crashes of each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::failure::Failure;
use super::faults::{Fault, Phase};
use super::judge::{Crash, Depth, Judge, Tried};
use super::operation::Operation;
use super::rig::{Layer, Rig};
use super::run::{Flaw, Setting, Work};
use super::shrink::Shrinker;
use super::story::{Story, Trust};
use crate::device::Device;
use crate::device::sim::FaultPlan;
use crate::error::Result;

/// Bytes to which the device of a run grows. Every so many runs have one that becomes full: the
/// fixed parts and the reserve for deleting take nearly 6 MiB of it.
const ROOMY: u64 = 64 << 20;
const TIGHT: u64 = 6 << 20;
const TIGHT_STEP: u64 = 128 << 10;
const TIGHT_EVERY: u64 = 8;
/// Every so many runs have several callers.
const TOGETHER_EVERY: u64 = 4;
/// Of so many states one has its recovery cut short, and of as many one is worked with.
const DEEP_EVERY: u64 = 4;

/// Runs of random operations with crashes at every step. Made by [`Campaign::new`], changed by the
/// methods that follow it, and started by [`Campaign::run`].
#[derive(Clone)]
pub struct Campaign {
    from: u64,
    seeds: u64,
    states: u64,
    jobs: usize,
    callers: usize,
    operations: usize,
    faults: u64,
    layer: Option<Layer>,
    plan: Option<FaultPlan>,
    hasty: bool,
}

/// What a campaign has tried so far.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Runs.
    pub seeds: u64,
    /// Crash states.
    pub states: u64,
    /// Those of them that held a store: all but those of its creation.
    pub opened: u64,
    /// Those of them that are crashes of a recovery.
    pub recoveries: u64,
    /// Those of them that held a part of an operation that takes several transactions.
    pub parts: u64,
    /// Runs with a fault of the device.
    pub faults: u64,
    /// Those of them in which the fault made an operation fail.
    pub noticed: u64,
    /// Operations that were played.
    pub operations: u64,
    /// Those of them that changed something.
    pub changes: u64,
    /// Those of them that found no space.
    pub full: u64,
    /// The first thing that was wrong.
    pub failure: Option<Failure>,
}

impl Default for Campaign {
    fn default() -> Campaign {
        Campaign::new()
    }
}

impl Campaign {
    /// A campaign of a few seconds: 3,000 states over 12 seeds from 1 on.
    pub fn new() -> Campaign {
        Campaign {
            from: 1,
            seeds: 12,
            states: 3_000,
            jobs: 1,
            callers: 3,
            operations: 48,
            faults: 0,
            layer: None,
            plan: None,
            hasty: false,
        }
    }

    /// Which seeds: `count` from `first` on.
    pub fn seeds(mut self, first: u64, count: u64) -> Campaign {
        (self.from, self.seeds) = (first, count.max(1));
        self
    }

    /// How many crash states over all seeds.
    pub fn states(mut self, states: u64) -> Campaign {
        self.states = states;
        self
    }

    /// How many threads work on seeds.
    pub fn jobs(mut self, jobs: usize) -> Campaign {
        self.jobs = jobs.max(1);
        self
    }

    /// How many callers each fourth run has, in threads of their own; below 2 all have one.
    pub fn callers(mut self, callers: usize) -> Campaign {
        self.callers = callers;
        self
    }

    /// How many operations each caller does.
    pub fn operations(mut self, operations: usize) -> Campaign {
        self.operations = operations;
        self
    }

    /// How many runs of each seed have one fault of the device: an operation that fails, is short,
    /// is lost or goes elsewhere, rot.
    pub fn faults(mut self, faults: u64) -> Campaign {
        self.faults = faults;
        self
    }

    /// What stands between the store and the simulated device: the device that is to be tested.
    pub fn layer(
        mut self,
        layer: impl Fn(Arc<dyn Device>) -> Arc<dyn Device> + Send + Sync + 'static,
    ) -> Campaign {
        self.layer = Some(Arc::new(layer));
        self
    }

    /// Has the device lie by a plan without the campaign making allowance for it: it must fail.
    /// The plan's numbers count from when the store is made.
    pub fn lie(mut self, plan: FaultPlan) -> Campaign {
        self.plan = Some(plan);
        self
    }

    /// Breaks the engine without the campaign making allowance for it: it must fail.
    #[doc(hidden)]
    pub fn reuse_at_once(mut self) -> Campaign {
        self.hasty = true;
        self
    }

    /// Runs it, until something is wrong. `progress` is called after each run, by any thread.
    ///
    /// # Errors
    /// Where there is no memory for keys. What is found wrong is part of the report.
    pub fn run(&self, progress: &(dyn Fn(&Report) + Sync)) -> Result<Report> {
        let report = Mutex::new(Report::default());
        let next = AtomicU64::new(0);
        let rigs: Result<Vec<Rig>> = (0..self.jobs).map(|_| self.rig()).collect();
        std::thread::scope(|scope| {
            for rig in rigs? {
                let (report, next) = (&report, &next);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds || report.lock().failure.is_some() {
                            break;
                        }
                        let failure = self.seed(&rig, self.from + seed, report);
                        let mut report = report.lock();
                        if report.failure.is_none() {
                            report.failure = failure;
                        }
                        progress(&report);
                    }
                });
            }
            Ok::<(), crate::error::Error>(())
        })?;
        Ok(report.into_inner())
    }

    /// Does one run again, with one of its faults or none, and judges one crash of it or none.
    ///
    /// # Errors
    /// Where there is no memory for keys.
    pub fn replay(
        &self,
        seed: u64,
        fault: Option<u64>,
        crash: Option<Crash>,
    ) -> Result<Option<Failure>> {
        let rig = self.rig()?;
        let mut setting = self.setting(seed);
        let mut story = guarded(|| setting.run(&rig));
        let (mut what, mut recovery) = (None, None);
        if let (Some(number), Ok(sound)) = (fault, &story) {
            let fault = Fault::new(sound, number);
            setting = fault.setting(&setting);
            story = guarded(|| setting.run(&rig));
            what = Some((number, format!("{fault:?}")));
            recovery = Some(fault).filter(|fault| fault.phase == Phase::Recovery);
        }
        let (flaw, crash) = match (story, crash) {
            (Err(flaw), _) => (flaw, None),
            (Ok(_), None) => return Ok(None),
            (Ok(story), Some(crash)) => {
                let depth = Depth { recoveries: 4, operations: 4, read_only: true };
                let judge = Judge { rig: &rig, story: &story };
                let fault = recovery.as_ref();
                let judged = guarded_text(|| match fault {
                    Some(fault) => judge.faulty_recovery(crash, fault),
                    None => judge.crash(crash, depth).map(|_| ()),
                });
                let Err(what) = judged else {
                    return Ok(None);
                };
                (flaw_of(&story, what, crash), Some(crash))
            }
        };
        Ok(Some(self.failed(&rig, &setting, flaw, (what, crash))))
    }

    /// Runs operations of one caller, with crashes at every step, each by so many seeds: what a
    /// shrunk failure is put into as a test.
    ///
    /// # Errors
    /// Where there is no memory for keys.
    pub fn check(&self, operations: Vec<Operation>, variants: u64) -> Result<Option<Failure>> {
        let rig = self.rig()?;
        let setting = Setting { work: Work::Listed(operations), ..self.setting(self.from) };
        Ok(Shrinker::new(&rig, setting, None, u64::MAX, variants).failure())
    }

    fn rig(&self) -> Result<Rig> {
        Rig::new(self.layer.clone(), self.hasty)
    }

    /// How the run of a seed is made.
    fn setting(&self, seed: u64) -> Setting {
        let tight = seed % TIGHT_EVERY == TIGHT_EVERY - 2;
        let together = self.callers > 1 && seed % TOGETHER_EVERY == TOGETHER_EVERY - 1;
        let callers = if together { self.callers } else { 1 };
        let operations = if tight { self.operations * 3 } else { self.operations };
        Setting {
            seed,
            capacity: if tight { TIGHT + seed / TIGHT_EVERY % 3 * TIGHT_STEP } else { ROOMY },
            trust: if tight { Trust::Full } else { Trust::Sound },
            faults: self.plan.clone(),
            early: false,
            work: Work::Made { callers, operations },
        }
    }

    /// All crashes and faults of one seed.
    fn seed(&self, rig: &Rig, seed: u64, report: &Mutex<Report>) -> Option<Failure> {
        let setting = self.setting(seed);
        let story = match guarded(|| setting.run(rig)) {
            Ok(story) => story,
            Err(flaw) => return Some(self.failed(rig, &setting, flaw, (None, None))),
        };
        let mut tried = Tried::default();
        let mut wrong = None;
        for (crash, depth) in crashes(&story, (self.states / self.seeds).max(1)) {
            let judge = Judge { rig, story: &story };
            match guarded_text(|| judge.crash(crash, depth)) {
                Ok(more) => tried.add(more),
                Err(what) => {
                    wrong = Some((crash, what));
                    break;
                }
            }
        }
        {
            let mut report = report.lock();
            report.seeds += 1;
            report.states += tried.states;
            report.opened += tried.opened;
            report.recoveries += tried.recoveries;
            report.parts += tried.parts;
            for history in &story.callers {
                report.operations += history.played.len() as u64;
                report.changes += history.changes();
                report.full += history.suffered;
            }
        }
        if let Some((crash, what)) = wrong {
            let flaw = flaw_of(&story, what, crash);
            return Some(self.failed(rig, &setting, flaw, (None, Some(crash))));
        }
        for number in 0..self.faults {
            let fault = Fault::new(&story, number);
            let faulty = self.faulty(rig, &setting, (number, fault));
            let mut report = report.lock();
            report.faults += 1;
            match faulty {
                Ok(noticed) => report.noticed += u64::from(noticed),
                Err(failure) => return Some(*failure),
            }
        }
        None
    }

    /// A run with a fault, and crashes after it. Returns whether an operation failed for it.
    fn faulty(
        &self,
        rig: &Rig,
        setting: &Setting,
        (number, fault): (u64, Fault),
    ) -> Result<bool, Box<Failure>> {
        let setting = fault.setting(setting);
        let what = Some((number, format!("{fault:?}")));
        let failed =
            |flaw, crash| Err(Box::new(self.failed(rig, &setting, flaw, (what.clone(), crash))));
        let story = match guarded(|| setting.run(rig)) {
            Ok(story) => story,
            Err(flaw) => return failed(flaw, None),
        };
        for (crash, depth) in fault.crashes(&story) {
            let judge = Judge { rig, story: &story };
            let judged = guarded_text(|| match fault.phase {
                Phase::Recovery => judge.faulty_recovery(crash, &fault),
                _ => judge.crash(crash, depth).map(|_| ()),
            });
            if let Err(what) = judged {
                return failed(flaw_of(&story, what, crash), Some(crash));
            }
        }
        let unmade = story.callers.is_empty();
        Ok(unmade || story.callers.iter().any(|history| history.suffered > 0))
    }

    /// Makes a failure of a flaw, shrunk where that is possible.
    fn failed(
        &self,
        rig: &Rig,
        setting: &Setting,
        flaw: Flaw,
        (fault, crash): (Option<(u64, String)>, Option<Crash>),
    ) -> Failure {
        let repeats = !matches!(setting.work, Work::Made { callers: 2.., .. });
        let Flaw { what, operations } = flaw;
        let (seed, shrunk) = (setting.seed, None);
        let failure = Failure { seed, crash, fault, what, operations, shrunk, repeats };
        if !repeats || failure.operations.is_empty() {
            return failure;
        }
        let setting = Setting { work: Work::Listed(failure.operations.clone()), ..setting.clone() };
        Shrinker::new(rig, setting, crash, SHRINK_STATES, 3).shrink(failure)
    }
}

/// States that shrinking one failure tries.
const SHRINK_STATES: u64 = 30_000;

impl Tried {
    fn add(&mut self, more: Tried) {
        self.states += more.states;
        self.opened += more.opened;
        self.recoveries += more.recoveries;
        self.parts += more.parts;
    }
}

/// The crashes of a story, `most` in all or a little more: each step once, and then again by other
/// seeds; the steps of the creation only once.
fn crashes(story: &Story, most: u64) -> impl Iterator<Item = (Crash, Depth)> {
    let steps = story.recording.steps();
    let stride = (steps / most).max(1);
    let first = (story.seed % stride..=steps).step_by(stride as usize);
    let again = (1..)
        .flat_map(move |variant: u64| (story.created..=steps).map(move |step| (step, variant)));
    let all = first.map(|step| (step, 0)).chain(again);
    let mut left = most;
    let seed = story.seed;
    all.map_while(move |(step, variant)| {
        let depth = match (step + variant + seed) % DEEP_EVERY {
            0 => Depth { recoveries: 1, ..Depth::default() },
            1 => Depth { operations: 3, ..Depth::default() },
            2 => Depth { read_only: true, ..Depth::default() },
            _ => Depth::default(),
        };
        left = left.checked_sub(1 + depth.recoveries)?;
        Some((Crash { step, seed: seed * 100_000 + variant }, depth))
    })
}

/// What a crash showed, with what is known of it.
fn flaw_of(story: &Story, what: String, crash: Crash) -> Flaw {
    let mut what = format!("{what}\n{}", story.recording.describe(crash.step, crash.seed));
    if story.callers.len() > 1 {
        what.push_str(&story.tell(crash.step));
    }
    Flaw { what, operations: operations(story) }
}

/// The operations of a story's only caller.
pub(super) fn operations(story: &Story) -> Vec<Operation> {
    match &story.callers[..] {
        [history] => history.played.iter().map(|played| played.operation.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Runs what may panic: that is a flaw too.
pub(super) fn guarded(run: impl FnOnce() -> Result<Story, Flaw>) -> Result<Story, Flaw> {
    let result = catch_unwind(AssertUnwindSafe(run));
    result.unwrap_or_else(|panic| Err(Flaw { what: panic_text(&*panic), operations: Vec::new() }))
}

/// The same for a judgement.
pub(super) fn guarded_text<T>(judge: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a panic: {}", text.unwrap_or_default())
}
