//! The judge: opens what a crash left, and says whether it may be so.

use std::fmt::Write as _;
use std::sync::Arc;

use super::caller::Caller;
use super::clock;
use super::faults::Fault;
use super::rig::Rig;
use super::story::{History, Story, Trust};
use super::survey::Survey;
use super::workload::Workload;
use crate::check::check;
use crate::device::sim::{FaultPlan, Rng, SimDevice};
use crate::device::{Device, MemoryDevice};
use crate::error::{Error, ErrorKind};
use crate::fs::FileSystem;

/// One crash of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// The step in flight.
    pub step: u64,
    /// What becomes of unsynced steps.
    pub seed: u64,
}

/// What is tried beside opening, checking and comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Depth {
    /// Crashes of the recovery.
    pub recoveries: u64,
    /// Operations afterwards, before another opening.
    pub operations: usize,
    /// Whether it is opened read-only too.
    pub read_only: bool,
}

/// What a judgement tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tried {
    /// Crash states.
    pub states: u64,
    /// Those that held a store.
    pub opened: u64,
    /// Those of them that are crashes of a recovery.
    pub recoveries: u64,
    /// Those that held a part of an operation.
    pub parts: u64,
}

/// Operations that are tried after a crash happen at this moment and later.
const AFTERWARDS: u64 = 1 << 30;

pub(super) struct Judge<'a> {
    pub rig: &'a Rig,
    pub story: &'a Story,
}

impl Judge<'_> {
    /// Judges a crash.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn crash(&self, crash: Crash, depth: Depth) -> Result<Tried, String> {
        let story = self.story;
        let mut tried = Tried { states: 1, ..Tried::default() };
        let image = story.recording.crash_image(crash.step, crash.seed);
        let recorded = (depth.recoveries > 0)
            .then(|| Arc::new(SimDevice::recording(image.snapshot(), FaultPlan::new(0))));
        let device: Arc<dyn Device> = match &recorded {
            Some(recorded) => recorded.clone(),
            None => Arc::new(image),
        };
        let number = Rng::of(crash.seed, crash.step).next_u64();
        let Some(fs) = self.open(device.clone(), number, crash.step)? else { return Ok(tried) };
        tried.opened += 1;
        let Some(found) = self.look(&fs)? else { return Ok(tried) };
        if crash.step < story.ready {
            return Ok(tried);
        }
        let states = self.find(&found, crash.step)?;
        let mut together = self.story.callers.iter().zip(&states);
        tried.parts += u64::from(together.any(|(history, state)| history.is_part(*state)));
        if depth.read_only {
            self.read_only(crash, number, &found)?;
        }
        let recovery = recorded.map(|recorded| recorded.take_recording());
        if let Some(recovery) = recovery {
            let mut dice = Rng::of(crash.seed, !crash.step);
            for _ in 0..depth.recoveries {
                let (step, seed) = (dice.below(recovery.steps() + 1), dice.next_u64());
                let image = recovery.crash_image(step, seed);
                let again = |what: String| {
                    format!("{what}\nafter a second crash, of recovery: step {step}, seed {seed}")
                };
                self.second(image, seed, &found).map_err(again)?;
                (tried.states, tried.recoveries) = (tried.states + 1, tried.recoveries + 1);
            }
        }
        if let ([history], [state]) = (&story.callers[..], &states[..]) {
            let (rig, step) = (self.rig, crash.step);
            let after = Afterwards { rig, history, state: *state, step, number };
            after.go_on(fs, device, depth.operations)?;
        }
        Ok(tried)
    }

    /// Opens a store; `None` where there need not be one.
    fn open(
        &self,
        device: Arc<dyn Device>,
        number: u64,
        step: u64,
    ) -> Result<Option<FileSystem>, String> {
        use ErrorKind as K;
        clock::set(0);
        match self.rig.open(device, number) {
            Ok(fs) => Ok(Some(fs)),
            Err(error)
                if step < self.story.created
                    && matches!(error.kind(), K::NotAStore | K::Corrupt | K::Truncated) =>
            {
                Ok(None)
            }
            Err(error) if self.excused(&error) => Ok(None),
            Err(error) => Err(format!("it does not open: {error}")),
        }
    }

    /// Whether a failure is what a lying device deserves.
    fn excused(&self, error: &Error) -> bool {
        self.story.trust == Trust::Lying
            && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::TakenOver)
    }

    /// Checks the structure, and reads everything of each caller. `None` where the device lied and
    /// that was noticed.
    fn look(&self, fs: &FileSystem) -> Result<Option<Vec<Survey>>, String> {
        match check(fs) {
            Ok(report) if report.is_clean() || self.story.trust == Trust::Lying => {}
            Ok(report) => return Err(format!("the check finds: {report:?}")),
            Err(error) if self.excused(&error) => return Ok(None),
            Err(error) => return Err(format!("the check ends with: {error}")),
        }
        let mut found = Vec::new();
        for history in &self.story.callers {
            match Survey::of(fs, history.place) {
                Ok(survey) => found.push(survey),
                Err((error, _)) if self.excused(&error) => return Ok(None),
                // Before the callers' directories were there.
                Err((Error::Stale, _)) => return Ok(Some(Vec::new())),
                Err((error, path)) => return Err(format!("{path} cannot be read: {error}")),
            }
        }
        Ok(Some(found))
    }

    /// The states of the callers that were found: each at or after the last acknowledgement, all
    /// together a prefix of what happened.
    fn find(&self, found: &[Survey], step: u64) -> Result<Vec<usize>, String> {
        let story = self.story;
        let acked = story.acks.iter().take_while(|ack| ack.step <= step);
        let mut ranges = Vec::new();
        for (number, history) in story.callers.iter().enumerate() {
            let digest = found.get(number).map_or(0, |survey| survey.digest);
            let least = acked.clone().map(|ack| ack.least[number]).max().unwrap_or(0);
            let least = if story.trust == Trust::Lying { 0 } else { least };
            let fits = |at: &usize| {
                let state = &history.states[*at];
                state.digest == digest && state.step <= step
            };
            let mut fitting = (least..history.states.len()).filter(fits);
            match fitting.next() {
                Some(first) => ranges.push((first, fitting.next_back().unwrap_or(first))),
                None if history.open_end => ranges.push((0, history.states.len() - 1)),
                None => return Err(self.explain(number, least, found, step)),
            }
        }
        self.check_cut(&ranges)?;
        Ok(ranges.into_iter().map(|(first, _)| first).collect())
    }

    /// Fails where an operation is there, and one that had ended before it began is not.
    fn check_cut(&self, ranges: &[(usize, usize)]) -> Result<(), String> {
        for (number, (history, (first, _))) in self.story.callers.iter().zip(ranges).enumerate() {
            let begun = history.states[*first].begun;
            let Some(last) = begun.checked_sub(1).and_then(|at| history.played.get(at)) else {
                continue;
            };
            for (other, (others, (_, most))) in self.story.callers.iter().zip(ranges).enumerate() {
                let missing = others.played.get(others.states[*most].begun);
                if let Some(missing) = missing.filter(|missing| missing.ended < last.began) {
                    return Err(format!(
                        "{:?} of caller {other} is gone, and {:?} of caller {number}, which began \
                         later, is there",
                        missing.operation, last.operation
                    ));
                }
            }
        }
        Ok(())
    }

    /// Says what was found instead of a state.
    fn explain(&self, number: usize, least: usize, found: &[Survey], step: u64) -> String {
        let history = &self.story.callers[number];
        let Some(found) = found.get(number) else { return "a caller's directory is gone".into() };
        let mut best: Option<(usize, Vec<String>)> = None;
        for at in (0..history.states.len()).rev() {
            let Ok(model) = history.model(at) else { break };
            let lines = model.differences(found);
            if best.as_ref().is_none_or(|(_, best)| lines.len() < best.len()) {
                best = Some((at, lines));
            }
        }
        let Some((at, lines)) = best else { return "nothing is known of the run".into() };
        let state = history.states[at];
        let acked = history.states[least].begun;
        let mut text = String::new();
        let late = if state.step > step { ", which had not begun" } else { "" };
        let lost = if at < least { ": acknowledged operations are lost" } else { "" };
        let _ = write!(
            text,
            "caller {number}: {acked} operations were acknowledged; what is there is like after \
             {}{late}{lost}",
            state.begun,
        );
        if let Some(played) = state.begun.checked_sub(1).and_then(|at| history.played.get(at)) {
            let _ = write!(text, "\n  the last: {:?}", played.operation);
        }
        for line in lines.iter().take(6) {
            let _ = write!(text, "\n  {line}");
        }
        text
    }

    /// Without writing anything, the same is found.
    fn read_only(&self, crash: Crash, number: u64, found: &[Survey]) -> Result<(), String> {
        let image = self.story.recording.crash_image(crash.step, crash.seed);
        let device = Arc::new(SimDevice::new(image, FaultPlan::new(0)));
        let fs = self.rig.open_read_only(device.clone(), number);
        let fs = fs.map_err(|error| format!("it does not open read-only: {error}"))?;
        for (again, found) in self.look(&fs)?.iter().flatten().zip(found) {
            if again.digest != found.digest {
                return Err("another state when it is opened read-only".to_owned());
            }
        }
        match device.steps() {
            0 => Ok(()),
            steps => Err(format!("{steps} steps of a store that was opened read-only")),
        }
    }

    /// A crash of the recovery leaves what the recovery had found.
    fn second(&self, image: MemoryDevice, number: u64, found: &[Survey]) -> Result<(), String> {
        let fs = self.open(Arc::new(image), number, self.story.created)?;
        let Some(again) = fs.as_ref().map(|fs| self.look(fs)).transpose()?.flatten() else {
            return Ok(());
        };
        for (again, found) in again.iter().zip(found) {
            if again.digest != found.digest && self.story.trust != Trust::Lying {
                return Err("another state than the first recovery found".to_owned());
            }
        }
        Ok(())
    }
}

impl Judge<'_> {
    /// Judges an opening after a crash in which something goes wrong: it fails or works, and the
    /// next opening finds what one without the fault does.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn faulty_recovery(&self, crash: Crash, fault: &Fault) -> Result<(), String> {
        let image = self.story.recording.crash_image(crash.step, crash.seed);
        if crash.step < self.story.ready {
            return Ok(());
        }
        let number = Rng::of(crash.seed, crash.step).next_u64();
        let sound = Arc::new(SimDevice::new(image.snapshot(), FaultPlan::new(0)));
        let Some(fs) = self.open(sound.clone(), number, crash.step)? else { return Ok(()) };
        let plan = fault.plan_among(&sound.counters());
        drop(fs);
        let device = Arc::new(SimDevice::new(image, plan));
        match self.rig.open(device.clone(), number) {
            Ok(fs) => drop(fs),
            Err(error) if Trust::Lying.allows(error.kind()) => {}
            Err(error) => return Err(format!("a recovery that meets {fault:?}: {error}")),
        }
        let image = device.crash_image(fault.seed);
        let again = match fault.lies_to_recovery() {
            true => self.any_state(image, fault.seed),
            // Perhaps an older state: a newer superblock, never acknowledged, was not read.
            false => self.acknowledged(image, fault.seed, crash.step),
        };
        again.map_err(|what| format!("{what}\nafter a recovery that met {fault:?}"))
    }
}

impl Judge<'_> {
    /// Whether an image holds what is due after a crash at a step.
    fn acknowledged(&self, image: MemoryDevice, number: u64, step: u64) -> Result<(), String> {
        let fs = self.open(Arc::new(image), number, step)?;
        let found = fs.as_ref().map(|fs| self.look(fs)).transpose()?.flatten();
        found.map_or(Ok(()), |found| self.find(&found, step).map(|_| ()))
    }

    /// Whether an image holds states of the callers, however old, or what it lacks is noticed.
    fn any_state(&self, image: MemoryDevice, number: u64) -> Result<(), String> {
        let noticed = |error: &Error| matches!(error.kind(), ErrorKind::Corrupt);
        let fs = match self.rig.open(Arc::new(image), number) {
            Ok(fs) => fs,
            Err(error) if noticed(&error) => return Ok(()),
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        for history in &self.story.callers {
            match Survey::of(&fs, history.place) {
                Ok(found) if history.states.iter().any(|state| state.digest == found.digest) => {}
                Ok(_) => return Err("a state that never was".to_owned()),
                Err((error, _)) if noticed(&error) => {}
                Err((error, path)) => return Err(format!("{path} cannot be read: {error}")),
            }
        }
        Ok(())
    }
}

/// What comes after a crash.
struct Afterwards<'a> {
    rig: &'a Rig,
    history: &'a History,
    state: usize,
    step: u64,
    number: u64,
}

impl Afterwards<'_> {
    /// Works with what was found, and opens it once more.
    fn go_on(
        &self,
        fs: FileSystem,
        device: Arc<dyn Device>,
        operations: usize,
    ) -> Result<(), String> {
        if operations == 0 || self.history.open_end {
            return Ok(());
        }
        let mut model = self.history.model(self.state)?;
        model.restart();
        model.forget_changes();
        let newest;
        (model.used, newest) = self.history.given_out(self.step);
        let mut workload = Workload::of(self.number, 1, false);
        let mut caller = Caller::new();
        for now in AFTERWARDS..AFTERWARDS + operations as u64 {
            let operation = workload.next(&model);
            clock::set(now);
            let answer = caller.apply(&fs, &operation);
            if matches!(&answer, Err(Error::NoSpace)) {
                return Ok(());
            }
            let known = model.used.len();
            model
                .take(&operation, clock::time(now), &answer)
                .map_err(|what| format!("{operation:?} after the crash: {what}"))?;
            let done = answer.unwrap_or_default();
            let made = done.made.filter(|_| model.used.len() > known);
            let changed = done.after.iter().filter(|attr| attr.ctime == clock::time(now));
            let numbers = changed.map(|attr| attr.change).chain(made.map(|made| made.generation));
            if numbers.min().is_some_and(|number| number <= newest) {
                return Err(format!("{operation:?} after the crash: an old number comes again"));
            }
        }
        fs.sync().map_err(|error| format!("a sync after the crash: {error}"))?;
        drop(fs);
        let fs = self.rig.open(device, !self.number);
        let fs = fs.map_err(|error| format!("it does not open a second time: {error}"))?;
        model.restart();
        model.compare(&fs).map_err(|what| format!("at the second opening: {what}"))
    }
}
