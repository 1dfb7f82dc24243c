//! Copy: what import and export have in common, from the arguments to the exit code.

use std::io;
use std::path::PathBuf;

use clap::Args;
use efscrypt::fs::FileSystem;

use crate::exit::Failure;
use crate::output;
use crate::transfer::{
    FilesCache, How, Monitor, Rights, Summary, Trouble, check_descriptor_paths, default_workers,
    raise_open_files,
};

/// How a tree is copied, and what is said about it.
#[derive(Args)]
pub struct CopyArgs {
    /// Compare the contents of all files of equal size, also where the times say they are the same
    #[arg(long)]
    checksum: bool,

    /// Leave out extended attributes and access control lists: none is set, removed or compared
    #[arg(long)]
    pub no_xattrs: bool,

    /// Read everything back and compare
    #[arg(long)]
    pub verify: bool,

    /// The directory in which is remembered what is the same already (default: efscrypt in the
    /// user's cache directory)
    #[arg(long, value_name = "DIR", env = "EFSCRYPT_FILES_CACHE", hide_env_values = true)]
    files_cache: Option<PathBuf>,

    /// Remember nothing, and compare the contents of all files of equal size and time
    #[arg(long)]
    no_files_cache: bool,

    /// Threads that copy (default: one for each core, 2 to 8)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// Show no progress and no summary
    #[arg(long, short)]
    quiet: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// How a copy ended.
pub struct Outcome<'a> {
    /// Whether what was copied survives a power cut.
    pub durable: Result<(), Failure>,
    /// Whether the source could be gone through.
    pub walked: Result<(), Failure>,
    pub copied: &'a Monitor,
    pub verified: Option<&'a Monitor>,
}

impl CopyArgs {
    /// Makes sure of what a copy needs of the machine.
    pub fn prepare(&self) -> Result<(), Failure> {
        raise_open_files();
        check_descriptor_paths().map_err(|e| {
            Failure::file("cannot use /proc/self/fd", &e)
                .with_hint("mount /proc: attributes are copied with its help")
        })
    }

    pub fn how(&self, rights: Rights) -> How {
        How { rights, checksum: self.checksum, overwrite: false, keep_damaged: false }
    }

    /// What earlier copies between this machine and a store left to know. It only saves time:
    /// nothing is lost where there is no place for it, unless somebody named one.
    pub fn files_cache(&self, store: &FileSystem) -> Result<FilesCache, Failure> {
        let named = self.files_cache.is_some();
        let dir = match (self.no_files_cache, &self.files_cache) {
            (true, _) => None,
            (false, Some(dir)) => Some(dir.clone()),
            (false, None) => user_cache(),
        };
        let Some(dir) = dir else { return Ok(FilesCache::none()) };
        match FilesCache::open(store, &dir) {
            Err(Trouble::Host(error)) if named && error.kind() != io::ErrorKind::WouldBlock => {
                let doing = format!("cannot use files cache {}", dir.display());
                Err(Failure::file(doing, &error)
                    .with_hint("name a directory that is yours alone, or give --no-files-cache"))
            }
            Err(Trouble::Host(_)) => Ok(FilesCache::none()),
            Err(trouble) => Err(trouble.at("cannot use the files cache")),
            Ok(cache) => Ok(cache),
        }
    }

    /// Shows progress as the arguments say.
    pub fn monitor(&self, doing: &str) -> Monitor {
        Monitor::new(doing, self.quiet)
    }

    pub fn workers(&self) -> usize {
        self.jobs.map_or_else(default_workers, usize::from)
    }

    /// Prints what was done.
    pub fn show(
        &self,
        done: &str,
        copied: &Summary,
        verified: Option<&Summary>,
    ) -> Result<(), Failure> {
        #[derive(serde::Serialize)]
        struct View<'a> {
            #[serde(flatten)]
            copied: &'a Summary,
            #[serde(skip_serializing_if = "Option::is_none")]
            verified: Option<&'a Summary>,
        }
        match (self.json, self.quiet) {
            (true, _) => output::json(&View { copied, verified }),
            (false, true) => Ok(()),
            (false, false) => {
                let mut lines = vec![copied.line(done)];
                lines.extend(verified.map(|verified| verified.line("verified")));
                output::lines(&lines)
            }
        }
    }
}

/// The directory for what a user's programs can do without.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Some(caches?.join("efscrypt"))
}

impl Outcome<'_> {
    /// The worst first: what was not made durable is not there, whatever else is said. `show`
    /// prints what was done, unless that is not true; where it fails, that matters least.
    pub fn verdict(
        self,
        show: impl FnOnce() -> Result<(), Failure>,
        doing: &str,
        hint: &'static str,
    ) -> Result<(), Failure> {
        self.durable?;
        let shown = show();
        self.walked?;
        self.copied.verdict(doing, hint)?;
        if let Some(verified) = self.verified {
            verified.verdict("cannot confirm the copy", "the messages above say what to do")?;
        }
        shown.map_err(|failure| failure.after("all was copied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: u8) -> Failure {
        Failure::of_code("doing", "why", code)
    }

    fn monitor(code: Option<u8>) -> Monitor {
        let monitor = Monitor::new("testing", true);
        code.into_iter().for_each(|code| monitor.failed(failed(code)));
        monitor
    }

    #[test]
    fn what_is_not_durable_comes_first_and_nothing_is_said_to_be_done() {
        let (copied, verified) = (monitor(Some(54)), monitor(Some(90)));
        let outcome = |durable, walked| Outcome {
            durable,
            walked,
            copied: &copied,
            verified: Some(&verified),
        };
        let mut shown = false;
        let verdict = outcome(Err(failed(31)), Err(failed(99))).verdict(
            || {
                shown = true;
                Ok(())
            },
            "x",
            "",
        );
        assert_eq!(verdict.map_err(|failure| failure.code()), Err(31));
        assert!(!shown);
        let verdict = outcome(Ok(()), Err(failed(99))).verdict(|| Ok(()), "x", "");
        assert_eq!(verdict.map_err(|failure| failure.code()), Err(99));
        for shown in [Ok(()), Err(failed(30))] {
            let verdict = outcome(Ok(()), Ok(())).verdict(|| shown, "x", "");
            assert_eq!(verdict.map_err(|failure| failure.code()), Err(54));
        }
        let copied = monitor(None);
        let done = Outcome { durable: Ok(()), walked: Ok(()), copied: &copied, verified: None };
        let verdict = done.verdict(|| Err(failed(30)), "x", "");
        assert_eq!(verdict.map_err(|failure| failure.code()), Err(96));
    }

    #[test]
    fn a_difference_is_a_failure_of_its_own() {
        let (copied, verified) = (monitor(None), monitor(Some(90)));
        let outcome =
            Outcome { durable: Ok(()), walked: Ok(()), copied: &copied, verified: Some(&verified) };
        let verdict = outcome.verdict(|| Ok(()), "x", "");
        assert_eq!(verdict.map_err(|failure| failure.code()), Err(90));
    }
}
