//! A story: what a run did to its device, and what must be found after a crash at each step.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::caller::{Caller, Done, Place};
use super::clock;
use super::model::Model;
use super::operation::Operation;
use super::plan::{Edit, Plan};
use super::survey::Survey;
use crate::device::sim::{FaultPlan, Op, Recording, SimDevice};
use crate::error::{Error, ErrorKind};
use crate::fs::FileSystem;

/// What the device may do to the operations of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything works, and there is room for everything.
    Sound,
    /// There may be no space.
    Full,
    /// Operations may fail, and say so.
    Failing,
    /// Operations may fail, and reads may return other bytes once.
    Rotting,
    /// Operations may fail, and what was said to be written need not be.
    Lying,
}

impl Trust {
    /// Whether an operation may fail so, whatever it should do.
    pub fn allows(self, kind: ErrorKind) -> bool {
        use ErrorKind as K;
        match kind {
            K::NoSpace => self != Trust::Sound,
            K::Io | K::Poisoned => !matches!(self, Trust::Sound | Trust::Full),
            K::Corrupt => matches!(self, Trust::Rotting | Trust::Lying),
            // The owner unit was not written, and another's is found in its place.
            K::TakenOver => self == Trust::Lying,
            _ => false,
        }
    }
}

/// A run: a recorded device, and what each caller did and was told.
pub(super) struct Story {
    pub seed: u64,
    pub trust: Trust,
    pub recording: Recording,
    /// Reads of the device.
    pub reads: u64,
    /// From this step on there is a store.
    pub created: u64,
    /// From this step on the callers are at work.
    pub ready: u64,
    pub callers: Vec<History>,
    pub acks: Vec<Ack>,
}

/// An acknowledgement: by this step these states of each caller, or later ones, are durable.
pub(super) struct Ack {
    pub step: u64,
    pub least: Vec<usize>,
}

/// What one caller did.
pub(super) struct History {
    pub place: Place,
    /// What the caller saw before it did anything.
    pub start: Model,
    pub played: Vec<Played>,
    pub states: Vec<State>,
    /// Operations that failed, or stopped short, for what the device did.
    pub suffered: u64,
    /// The last operation failed, and nobody could look how far it had come.
    pub open_end: bool,
}

/// An operation as it went.
pub(super) struct Played {
    pub operation: Operation,
    /// When it began and ended, in the order of all callers.
    pub began: u64,
    pub ended: u64,
    /// It had not begun before this step.
    pub step: u64,
    /// The highest change number in its answer.
    pub newest: u64,
    /// What it answered, and through how many states it went; `None` where it did nothing.
    pub effect: Option<(Done, usize)>,
}

/// A state that a crash may leave.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub digest: u64,
    /// How many operations had begun.
    pub begun: usize,
    /// No crash before this step leaves it.
    pub step: u64,
}

impl Story {
    /// How many operations of a kind the device saw in steps from one on to another.
    pub fn count(&self, op: Op, steps: std::ops::Range<u64>) -> u64 {
        let steps = steps.filter_map(|step| self.recording.step(step));
        match op {
            Op::Read => self.reads,
            _ => steps.filter(|step| step.0 == op).count() as u64,
        }
    }

    /// What the callers had begun before a step, in order: for who cannot run it again.
    pub fn tell(&self, step: u64) -> String {
        let mut told = Vec::new();
        for (number, history) in self.callers.iter().enumerate() {
            let begun = history.played.iter().filter(|played| played.step <= step);
            told.extend(begun.map(|played| (played.began, number, &played.operation)));
        }
        told.sort_by_key(|(began, ..)| *began);
        let lines = told
            .iter()
            .map(|(_, number, operation)| format!("\n    caller {number}: {operation:?}"));
        lines.collect()
    }
}

impl History {
    fn new(start: Model, step: u64) -> History {
        let state = State { digest: start.digest(), begun: 0, step };
        let place = start.place;
        History {
            place,
            start,
            played: Vec::new(),
            states: vec![state],
            suffered: 0,
            open_end: false,
        }
    }

    /// Operations after which something was another than before.
    pub fn changes(&self) -> u64 {
        let (mut changes, mut last) = (0, (0, self.states[0].digest));
        for state in &self.states {
            let changed = state.digest != last.1 && state.begun != last.0;
            changes += u64::from(changed);
            last = (if changed { state.begun } else { last.0 }, state.digest);
        }
        changes
    }

    /// Whether a state is one between two transactions of an operation.
    pub fn is_part(&self, state: usize) -> bool {
        let next = self.states.get(state + 1);
        next.is_some_and(|next| next.begun == self.states[state].begun)
    }

    /// Inode numbers that were given out before a step, and the highest change number.
    pub fn given_out(&self, step: u64) -> (BTreeSet<u64>, u64) {
        let played = || self.played.iter().filter(move |played| played.step <= step);
        let made = played().filter_map(|played| played.effect.as_ref()?.0.made);
        let newest = played().map(|played| played.newest).max();
        (made.map(|made| made.ino).collect(), newest.unwrap_or(0))
    }

    /// The model in a state.
    pub fn model(&self, state: usize) -> Result<Model, String> {
        let (mut model, mut at) = (self.start.clone(), 0);
        for played in &self.played {
            if at == state {
                break;
            }
            let Some((done, states)) = &played.effect else {
                at += 1;
                continue;
            };
            let plan = model.expect(&played.operation).map_err(|kind| format!("{kind:?}"))?;
            let most = (*states).min(state - at);
            let mut gone = 0;
            model.perform(&plan, clock::time(played.began), done, |_| {
                gone += 1;
                gone < most
            })?;
            at += most;
        }
        Ok(model)
    }
}

/// What all callers of a run have in common.
pub(super) struct Stage<'a> {
    pub device: &'a SimDevice,
    pub trust: Trust,
    /// The step at which it began.
    first: u64,
    /// Counts beginnings and ends of operations.
    ticks: AtomicU64,
    /// The last state of each caller that is finished.
    finished: Vec<AtomicUsize>,
    pub acks: Mutex<Vec<Ack>>,
}

impl<'a> Stage<'a> {
    pub fn new(device: &'a SimDevice, trust: Trust, callers: usize) -> Stage<'a> {
        let finished = (0..callers).map(|_| AtomicUsize::new(0)).collect();
        let (first, ticks) = (device.steps(), AtomicU64::new(1));
        Stage { device, trust, first, ticks, finished, acks: Mutex::default() }
    }

    /// What has been finished so far.
    pub fn least(&self) -> Vec<usize> {
        self.finished.iter().map(|states| states.load(Ordering::SeqCst)).collect()
    }

    /// Everything that had been finished is durable by now.
    pub fn acknowledge(&self, least: Vec<usize>) {
        self.acks.lock().push(Ack { step: self.device.steps(), least });
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }
}

/// A caller with its model: plays operations, and says when the file system was wrong.
pub(super) struct Player<'a> {
    stage: &'a Stage<'a>,
    number: usize,
    caller: Caller,
    pub model: Model,
    pub history: History,
    /// The cause, once a change was refused for it.
    poison: Option<String>,
    /// Something failed after which nothing may be changed.
    doomed: bool,
}

impl<'a> Player<'a> {
    pub fn new(stage: &'a Stage<'a>, number: usize, model: Model) -> Player<'a> {
        let caller = Caller::at(model.place);
        let history = History::new(model.clone(), stage.first);
        Player { stage, number, caller, model, history, poison: None, doomed: false }
    }

    /// Plays an operation; `false` where nothing can be known after it.
    ///
    /// # Errors
    /// What was wrong.
    pub fn play(&mut self, fs: &FileSystem, operation: &Operation) -> Result<bool, String> {
        let (step, least) = (self.stage.device.steps(), self.stage.least());
        let began = self.stage.tick();
        clock::set(began);
        let plan = self.model.expect(operation);
        let nothing = match operation {
            Operation::Fsync { of: on } | Operation::Commit { file: on } => {
                self.model.on(on) == Ok(None)
            }
            _ => false,
        };
        let answer = self.caller.apply(fs, operation);
        let ended = self.stage.tick();
        let operation_ = operation.clone();
        let mut played =
            Played { operation: operation_, began, ended, step, newest: 0, effect: None };
        let mut known = true;
        match (plan, answer) {
            (Ok(plan), Ok(done)) => {
                self.check_health(&plan)?;
                let states = self.perform(&plan, &played, &done, step, |_| true)?;
                self.model.compare_answer(&done)?;
                let wanted = plan.bytes.as_ref().map_or(0, Vec::len);
                self.history.suffered += u64::from(done.len.is_some_and(|len| len < wanted));
                played.newest = done.after.iter().map(|attr| attr.change).max().unwrap_or(0);
                played.effect = Some((Done { after: Vec::new(), ..done }, states));
                if operation.acknowledges() && !nothing {
                    let mut least = least;
                    least[self.number] = self.history.states.len() - 1;
                    self.stage.acknowledge(least);
                }
            }
            (Err(want), Err(error)) if error.kind() == want => self.same(step),
            (plan, Err(error)) if self.stage.trust.allows(error.kind()) => {
                self.suffer(operation, &error)?;
                known = self.adopt(fs, plan.ok(), &mut played, step)?;
            }
            (Ok(_), Err(error)) => return Err(format!("failed, and must not: {error}")),
            (Err(want), Err(error)) => return Err(format!("failed with {error}, not {want:?}")),
            (Err(want), Ok(_)) => return Err(format!("succeeded, and must fail with {want:?}")),
        }
        self.history.played.push(played);
        let last = self.history.states.len() - 1;
        self.stage.finished[self.number].store(last, Ordering::SeqCst);
        Ok(known)
    }

    /// A state in which nothing changed.
    fn same(&mut self, step: u64) {
        let begun = self.history.played.len() + 1;
        self.history.states.push(State { digest: self.model.digest(), begun, step });
    }

    fn perform(
        &mut self,
        plan: &Plan,
        played: &Played,
        done: &Done,
        step: u64,
        mut state: impl FnMut(u64) -> bool,
    ) -> Result<usize, String> {
        let (states, begun) = (&mut self.history.states, self.history.played.len() + 1);
        let before = states.len();
        self.model.perform(plan, clock::time(played.began), done, |model| {
            states.push(State { digest: model.digest(), begun, step });
            state(model.digest())
        })?;
        Ok(self.history.states.len() - before)
    }

    /// Fails where an operation worked that must be refused.
    fn check_health(&self, plan: &Plan) -> Result<(), String> {
        use Edit as E;
        let memory =
            |edit: &E| matches!(edit, E::Find(_) | E::Open { .. } | E::Close(_) | E::CloseAll);
        let changes = plan.edit.as_ref().is_some_and(|edit| !memory(edit)) || plan.has_parts();
        match (self.doomed, changes) {
            (true, true) => Err("changed a store that is poisoned".to_owned()),
            _ => Ok(()),
        }
    }

    /// Takes note of a failure, and repairs the device, so that what is there can be looked at.
    fn suffer(&mut self, operation: &Operation, error: &Error) -> Result<(), String> {
        self.history.suffered += 1;
        if self.stage.trust != Trust::Full {
            self.stage.device.set_plan(FaultPlan::new(0));
        }
        if let Error::Poisoned(cause) = error {
            let first = self.poison.get_or_insert_with(|| cause.to_string());
            if *first != **cause {
                return Err(format!("poisoned by {cause:?}, and before by {first:?}"));
            }
        }
        self.doomed |= error.kind() == ErrorKind::Poisoned;
        // What it wrote may be lost: nobody may believe otherwise later.
        let syncs = matches!(operation, Operation::Sync);
        self.doomed |= syncs && error.kind() == ErrorKind::Io;
        Ok(())
    }

    /// After a failure: finds out how far the operation came. It must be one of its states, or
    /// nothing.
    fn adopt(
        &mut self,
        fs: &FileSystem,
        plan: Option<Plan>,
        played: &mut Played,
        step: u64,
    ) -> Result<bool, String> {
        let found = Survey::of(fs, self.history.place);
        let lying = self.stage.trust == Trust::Lying;
        let found = match found {
            Ok(found) => found,
            Err(_) if lying => {
                (self.history.open_end, _) = (true, self.same(step));
                return Ok(false);
            }
            Err((error, path)) => return Err(format!("{path} cannot be read any more: {error}")),
        };
        if found.digest == self.model.digest() {
            self.same(step);
            return Ok(true);
        }
        // One that is to be durable may have happened, and not be durable.
        let durable = matches!(played.operation, Operation::Durably(_));
        let plan = plan.filter(|plan| durable || plan.has_parts());
        let plan = plan.ok_or("failed, and changed something all the same")?;
        let made = played.operation.change().makes();
        let made = made.and_then(|path| self.caller.find(fs, path).ok());
        let made = made.and_then(|ino| fs.getattr(ino).ok());
        let done = Done { made, ..Done::default() };
        let mut reached = false;
        let states = self.perform(&plan, played, &done, step, |digest| {
            reached = digest == found.digest;
            !reached
        })?;
        if !reached {
            let differences = self.model.differences(&found).join("\n");
            return Err(format!("failed, and left what is no part of it:\n{differences}"));
        }
        played.effect = Some((done, states));
        Ok(true)
    }

    /// The store was opened again: nothing is open any more.
    pub fn restart(&mut self, operation: &Operation, step: u64) {
        let (began, ended) = (self.stage.tick(), self.stage.tick());
        let effect = Some((Done::default(), 1));
        self.caller = Caller::at(self.model.place);
        self.model.restart();
        self.same(step);
        let operation = operation.clone();
        self.history.played.push(Played { operation, began, ended, step, newest: 0, effect });
        let last = self.history.states.len() - 1;
        self.stage.finished[self.number].store(last, Ordering::SeqCst);
    }
}
