//! Shrinking: from a run that fails to a short list of operations that fails.
//!
//! Fewer operations move the steps of the device, so each shorter list is tried with crashes at
//! all of its steps.

use super::campaign::{guarded, guarded_text, operations};
use super::failure::Failure;
use super::judge::{Crash, Depth, Judge};
use super::operation::Operation;
use super::rig::Rig;
use super::run::{Setting, Work};

/// Tries lists of operations.
pub(super) struct Shrinker<'a> {
    rig: &'a Rig,
    setting: Setting,
    /// The crash that is tried first.
    crash: Option<Crash>,
    /// Crash states that may still be tried.
    left: u64,
    /// Crashes at each step.
    variants: u64,
}

impl<'a> Shrinker<'a> {
    /// Of the run of a setting with listed operations.
    pub fn new(
        rig: &'a Rig,
        setting: Setting,
        crash: Option<Crash>,
        left: u64,
        variants: u64,
    ) -> Shrinker<'a> {
        Shrinker { rig, setting, crash, left, variants }
    }

    /// What is wrong with the operations of the setting.
    pub fn failure(&mut self) -> Option<Failure> {
        match &self.setting.work {
            Work::Listed(operations) => self.fails(&operations.clone()),
            Work::Made { .. } => None,
        }
    }

    /// A failure with fewer and smaller operations; the same where none is found.
    pub fn shrink(&mut self, failure: Failure) -> Failure {
        let (crash, fault) = (failure.crash, failure.fault.clone());
        Failure { crash, fault, ..self.shrunk(failure) }
    }

    fn shrunk(&mut self, mut failure: Failure) -> Failure {
        // First the same list: where it does not fail, seeds decide more than operations do.
        match self.fails(&failure.operations) {
            Some(again) => failure = again,
            None => return failure,
        }
        let mut chunk = failure.operations.len().div_ceil(2);
        while chunk > 0 && self.left > 0 {
            let (mut at, mut removed) = (0, false);
            while at < failure.operations.len() && self.left > 0 {
                let mut fewer = failure.operations.clone();
                fewer.drain(at..(at + chunk).min(failure.operations.len()));
                match self.fails(&fewer) {
                    Some(smaller) => (failure, removed) = (smaller, true),
                    None => at += chunk,
                }
            }
            if !removed || chunk > 1 {
                chunk /= 2;
            }
        }
        let mut at = 0;
        while at < failure.operations.len() && self.left > 0 {
            let simpler = failure.operations[at].simpler();
            let smaller = simpler.into_iter().find_map(|operation| {
                let mut operations = failure.operations.clone();
                operations[at] = operation;
                self.fails(&operations)
            });
            match smaller {
                Some(smaller) => failure = smaller,
                None => at += 1,
            }
        }
        failure
    }

    /// How the operations fail, if they do.
    fn fails(&mut self, list: &[Operation]) -> Option<Failure> {
        let work = Work::Listed(list.to_vec());
        let setting = Setting { work, ..self.setting.clone() };
        let failure = |crash, what, operations| Failure {
            seed: setting.seed,
            crash,
            fault: None,
            what,
            operations,
            shrunk: crash,
            repeats: true,
        };
        let story = match guarded(|| setting.run(self.rig)) {
            Ok(story) => story,
            Err(flaw) => {
                self.left = self.left.saturating_sub(1);
                // Those after the one that showed it do not matter.
                let most =
                    if flaw.operations.is_empty() { list.len() } else { flaw.operations.len() };
                return Some(failure(None, flaw.what, list[..most.min(list.len())].to_vec()));
            }
        };
        let steps = story.recording.steps();
        let seeds = self.crash.map(|crash| crash.seed).into_iter().chain(0..self.variants);
        let seeds: Vec<u64> = seeds.collect();
        for step in (story.ready..=steps).rev() {
            for &seed in &seeds {
                if self.left == 0 {
                    return None;
                }
                self.left -= 1;
                let crash = Crash { step, seed };
                let judge = Judge { rig: self.rig, story: &story };
                let depth = Depth { recoveries: 1, operations: 2, read_only: true };
                if let Err(what) = guarded_text(|| judge.crash(crash, depth)) {
                    return Some(failure(Some(crash), what, operations(&story)));
                }
            }
        }
        None
    }
}
