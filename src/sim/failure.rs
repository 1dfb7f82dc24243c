//! A failure: what a campaign found, and how to see it again.

use std::fmt;

use super::judge::Crash;
use super::operation::Operation;

/// What went wrong in a run or after a crash of it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// The crash after which it showed; `None` where the run itself went wrong.
    pub crash: Option<Crash>,
    /// The number of the fault that was part of it, and what the device did wrong.
    pub fault: Option<(u64, String)>,
    /// What is wrong, in words.
    pub what: String,
    /// The operations of the run; shrunk, where that was possible.
    pub operations: Vec<Operation>,
    /// The crash after which it shows with these operations, where they are not the run's.
    pub shrunk: Option<Crash>,
    /// Whether the seed alone gives the same run: not with several callers at once.
    pub repeats: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay with --seed {}", self.seed)?;
        if let Some((number, _)) = &self.fault {
            write!(f, " --fault {number}")?;
        }
        if let Some(Crash { step, seed }) = self.crash {
            write!(f, " --step {step} --crash {seed}")?;
        }
        if let Some((_, fault)) = &self.fault {
            write!(f, "\n{fault}")?;
        }
        write!(f, "\n{}", self.what)?;
        if !self.operations.is_empty() {
            write!(f, "\noperations")?;
            if let Some(Crash { step, seed }) = self.shrunk {
                write!(f, ", with a crash at step {step} by seed {seed}")?;
            }
            write!(f, ":")?;
            for operation in &self.operations {
                write!(f, "\n    {operation:?},")?;
            }
        }
        if !self.repeats {
            write!(f, "\nseveral callers were at work: their order is another one next time")?;
        }
        Ok(())
    }
}
