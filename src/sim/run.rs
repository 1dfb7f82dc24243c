//! Runs: how stories come about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::caller::{COMMON, Place};
use super::clock;
use super::model::Model;
use super::operation::Operation;
use super::rig::Rig;
use super::story::{Player, Stage, Story, Trust};
use super::workload::Workload;
use crate::device::MemoryDevice;
use crate::device::sim::{FaultPlan, SimDevice};
use crate::error::{Error, Result};
use crate::fs::{FileSystem, NewAttr, ROOT_INO};

/// How a run is made.
#[derive(Clone)]
pub(super) struct Setting {
    pub seed: u64,
    /// Bytes that the device grows to.
    pub capacity: u64,
    pub trust: Trust,
    /// What goes wrong once the store is made, or from the start.
    pub faults: Option<FaultPlan>,
    pub early: bool,
    pub work: Work,
}

/// What the callers of a run do.
#[derive(Clone)]
pub(super) enum Work {
    /// So many operations of each of so many callers, by the seed.
    Made { callers: usize, operations: usize },
    /// These operations of one caller.
    Listed(Vec<Operation>),
}

/// A run that showed a mistake by itself, before any crash.
#[derive(Debug)]
pub(super) struct Flaw {
    pub what: String,
    pub operations: Vec<Operation>,
}

impl Flaw {
    fn early(what: impl ToString) -> Flaw {
        Flaw { what: what.to_string(), operations: Vec::new() }
    }
}

impl Setting {
    /// Runs it.
    pub fn run(&self, rig: &Rig) -> Result<Story, Flaw> {
        match self.work {
            Work::Made { callers: 2.., .. } => self.run_together(rig),
            _ => self.run_alone(rig),
        }
    }

    fn device(&self) -> Arc<SimDevice> {
        let base = MemoryDevice::limited(self.capacity);
        let plan = self.faults.clone().filter(|_| self.early);
        Arc::new(SimDevice::recording(base, plan.unwrap_or(FaultPlan::new(self.seed))))
    }

    /// From now on things go wrong.
    fn begin(&self, device: &SimDevice) {
        if let Some(faults) = self.faults.as_ref().filter(|_| !self.early) {
            device.set_plan(faults.clone());
        }
    }

    /// The story of a store that was not made, if its device is to blame.
    fn unmade(&self, device: &SimDevice, error: &Error) -> Result<Story, Flaw> {
        if !self.early || !self.trust.allows(error.kind()) {
            return Err(Flaw::early(error));
        }
        let stage = Stage::new(device, self.trust, 0);
        Ok(self.story(&stage, Vec::new(), u64::MAX, u64::MAX))
    }

    fn run_alone(&self, rig: &Rig) -> Result<Story, Flaw> {
        let device = self.device();
        let top = rig.layered(device.clone());
        clock::set(0);
        let number = self.seed.wrapping_mul(1_000);
        let made = rig.create(Arc::clone(&top), number).and_then(|fs| {
            let created = device.steps();
            // Of a log with one record a lying device may lose all.
            fs.engine().checkpoint()?;
            let model = Model::new(&fs)?;
            Ok((fs, created, model))
        });
        let (mut fs, created, model) = match made {
            Ok(made) => made,
            Err(error) => return self.unmade(&device, &error),
        };
        let ready = device.steps();
        let stage = Stage::new(&device, self.trust, 1);
        let mut player = Player::new(&stage, 0, model);
        stage.acknowledge(vec![0]);
        self.begin(&device);
        let mut script = Script::new(self, 0);
        let mut opened = number;
        while let Some(operation) = script.next(&player.model) {
            let step = if operation == Operation::Reopen {
                opened += 1;
                let least = stage.least();
                let step = device.steps();
                let again = Rig::close(fs).and_then(|()| rig.open(Arc::clone(&top), opened));
                match again {
                    Ok(again) => fs = again,
                    Err(error) if self.trust.allows(error.kind()) => {
                        return Ok(self.story(&stage, vec![player], created, ready));
                    }
                    Err(error) => return Err(script.flaw(format!("reopening: {error}"))),
                }
                player.restart(&operation, step);
                stage.acknowledge(least);
                Ok(true)
            } else {
                player.play(&fs, &operation)
            };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(what) => return Err(script.flaw(what)),
            }
        }
        device.set_plan(FaultPlan::new(0));
        if self.trust != Trust::Lying {
            player.model.compare(&fs).map_err(|what| script.flaw(what))?;
        }
        Ok(self.story(&stage, vec![player], created, ready))
    }

    /// Callers in threads of their own, each in a directory of its own, and in one for all.
    fn run_together(&self, rig: &Rig) -> Result<Story, Flaw> {
        let Work::Made { callers, .. } = self.work else { return Err(Flaw::early("no callers")) };
        let device = self.device();
        clock::set(0);
        let number = self.seed.wrapping_mul(1_000);
        let fs = rig.create(rig.layered(device.clone()), number).map_err(Flaw::early)?;
        let created = device.steps();
        let places = places(&fs, callers).map_err(Flaw::early)?;
        let ready = device.steps();
        let stage = Stage::new(&device, self.trust, callers);
        let models: Result<Vec<Model>> =
            places.into_iter().map(|place| Model::at(&fs, place)).collect();
        let models = models.map_err(Flaw::early)?;
        stage.acknowledge(vec![0; callers]);
        self.begin(&device);
        let stop = AtomicBool::new(false);
        let work = |(number, model): (usize, Model)| {
            let (stage, fs, stop) = (&stage, &fs, &stop);
            move || {
                let mut player = Player::new(stage, number, model);
                let mut script = Script::new(self, number);
                while let Some(operation) = script.next(&player.model) {
                    match player.play(fs, &operation) {
                        Err(what) => {
                            stop.store(true, Ordering::Relaxed);
                            return Err(script.flaw(format!("caller {number}: {what}")));
                        }
                        Ok(true) if !stop.load(Ordering::Relaxed) => {}
                        Ok(_) => break,
                    }
                }
                Ok((player, script))
            }
        };
        let players: Result<Vec<(Player<'_>, Script)>, Flaw> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                models.into_iter().enumerate().map(work).map(|work| scope.spawn(work)).collect();
            let ends = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Flaw::early("a caller panicked")))
            });
            ends.collect()
        });
        device.set_plan(FaultPlan::new(0));
        let mut ended = Vec::new();
        for (player, mut script) in players? {
            if self.trust != Trust::Lying {
                player.model.compare(&fs).map_err(|what| script.flaw(what))?;
            }
            ended.push(player);
        }
        Ok(self.story(&stage, ended, created, ready))
    }

    fn story(
        &self,
        stage: &Stage<'_>,
        players: Vec<Player<'_>>,
        created: u64,
        ready: u64,
    ) -> Story {
        let mut acks = std::mem::take(&mut *stage.acks.lock());
        acks.sort_by_key(|ack| ack.step);
        Story {
            seed: self.seed,
            trust: self.trust,
            recording: stage.device.take_recording(),
            reads: stage.device.counters().reads,
            created,
            ready,
            callers: players.into_iter().map(|player| player.history).collect(),
            acks,
        }
    }
}

/// Makes the directories of callers, durably.
fn places(fs: &FileSystem, callers: usize) -> Result<Vec<Place>> {
    let dir = NewAttr { mode: 0o755, ..NewAttr::default() };
    let common = fs.mkdir(ROOT_INO, COMMON.as_bytes(), &dir)?.attr.ino;
    let mut places = Vec::new();
    for number in 0..callers {
        let home = fs.mkdir(ROOT_INO, format!("c{number}").as_bytes(), &dir)?.attr.ino;
        places.push(Place { home, common: Some((common, number)) });
    }
    fs.engine().checkpoint()?;
    Ok(places)
}

/// The operations of one caller, as they are needed.
struct Script {
    made: Option<Workload>,
    left: usize,
    listed: std::vec::IntoIter<Operation>,
    so_far: Vec<Operation>,
}

impl Script {
    fn new(setting: &Setting, number: usize) -> Script {
        let (made, left, listed) = match &setting.work {
            Work::Made { callers, operations } => {
                let mut made = Workload::of(setting.seed, number as u64, *callers < 2);
                if setting.trust == Trust::Full {
                    made = made.greedy();
                }
                (Some(made), *operations, Vec::new())
            }
            Work::Listed(operations) => (None, 0, operations.clone()),
        };
        Script { made, left, listed: listed.into_iter(), so_far: Vec::new() }
    }

    fn next(&mut self, model: &Model) -> Option<Operation> {
        let next = match &mut self.made {
            Some(made) => {
                self.left = self.left.checked_sub(1)?;
                made.next(model)
            }
            None => self.listed.next()?,
        };
        self.so_far.push(next.clone());
        Some(next)
    }

    fn flaw(&mut self, what: String) -> Flaw {
        Flaw { what, operations: std::mem::take(&mut self.so_far) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure replays by its seed alone: the same steps, the same bytes.
    #[test]
    fn a_seed_gives_the_same_run() {
        let rig = Rig::new(None, false).unwrap();
        for seed in 0..24 {
            let setting = Setting {
                seed,
                capacity: if seed % 3 == 0 { 7 << 20 } else { 32 << 20 },
                trust: Trust::Full,
                faults: None,
                early: false,
                work: Work::Made { callers: 1, operations: 60 },
            };
            let [first, second] =
                [(); 2].map(|()| setting.run(&rig).unwrap_or_else(|flaw| panic!("{flaw:?}")));
            let steps = first.recording.steps();
            assert_eq!(steps, second.recording.steps(), "seed {seed}");
            for step in 0..=steps {
                let (one, other) = (first.recording.step(step), second.recording.step(step));
                assert_eq!(one, other, "seed {seed}, step {step}");
            }
            let images = [first, second].map(|story| story.recording.crash_image(steps, 1));
            assert!(images[0].to_vec() == images[1].to_vec(), "seed {seed}");
        }
    }
}
