//! `efscrypt check`: everything in a store, verified.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use efscrypt::Error;
use efscrypt::check::{CheckOptions, CheckReport, Fact, check_with};
use efscrypt::keys::KeyProvider;
use serde::Serialize;

use crate::exit::{CONTENTS_DAMAGED, Failure, METADATA_DAMAGED, SPACE_LOST, UNREAD};
use crate::keyless;
use crate::output;
use crate::repair;
use crate::store::{Access, StoreArgs};
use crate::transfer::{Monitor, Reader, default_workers, walk};

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// Leave out the contents of files; needs no data key
    #[arg(long)]
    pub metadata_only: bool,

    /// Rebuild what can be rebuilt, after showing what that is
    #[arg(long, conflicts_with = "keyless")]
    repair: bool,

    /// Show what a repair would do, and write nothing
    #[arg(long, requires = "repair")]
    pub dry_run: bool,

    /// Repair without asking
    #[arg(long, requires = "repair", conflicts_with = "dry_run")]
    pub yes: bool,

    /// Count what the disk does not read as lost, for good
    #[arg(long, requires = "repair")]
    pub give_up_unreadable: bool,

    /// Go back to an older state where a repair finds that newer ones were lost
    #[arg(long, requires = "repair")]
    pub accept_older: bool,

    /// Verify what shows without a key: superblocks, wrapped keys, and the checksum of every node
    #[arg(long, conflicts_with = "metadata_only")]
    keyless: bool,

    /// Memory for the check itself, beside --cache, MiB: what does not fit is checked in parts,
    /// each of which reads all metadata again (default: 250 bytes for each inode)
    #[arg(long, value_name = "MIB", conflicts_with_all = ["repair", "keyless"],
        value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    memory: Option<u32>,

    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was found, in JSON.
#[derive(Serialize)]
struct CheckView {
    clean: bool,
    nodes: u64,
    rows: u64,
    inodes: u64,
    directories: u64,
    entries: u64,
    /// Inodes without a name that wait to be freed.
    orphans: u64,
    /// Units of 4 KiB that something owns.
    units: u64,
    /// Units in use that nothing owns: lost until they are freed.
    units_lost: u64,
    /// Units that something owns and the space map calls free.
    units_unrecorded: u64,
    /// Units with two owners.
    units_shared: u64,
    /// What is wrong with names, attributes and structure.
    findings: Vec<String>,
    /// The same in words and numbers that do not change.
    facts: Vec<FactView>,
    /// Contents that a repair found lost.
    lost: Vec<String>,
    /// Files and links whose contents were read; absent where they were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<ContentsView>,
}

/// A finding in JSON: `{"kind": "links", "ino": 7, "stored": 2, "found": 1}`.
#[derive(Serialize)]
struct FactView {
    kind: &'static str,
    #[serde(flatten)]
    numbers: BTreeMap<&'static str, u64>,
}

impl From<Fact> for FactView {
    fn from(fact: Fact) -> FactView {
        FactView { kind: fact.kind, numbers: fact.numbers.into_iter().collect() }
    }
}

/// What was found in contents, in JSON.
#[derive(Clone, Copy, Default, Serialize)]
struct ContentsView {
    files: u64,
    bytes: u64,
    /// Those with damaged contents.
    damaged: u64,
    /// Those, and directories, that could not be read, so that it is not known what they are.
    unread: u64,
    /// Those, and directories, with damaged names or attributes.
    failed: u64,
}

/// Runs `efscrypt check`.
pub fn run(args: CheckArgs) -> Result<(), Failure> {
    if args.keyless {
        return keyless::run(&args.store, args.quiet, args.json);
    }
    if args.repair {
        return repair::run(&args);
    }
    verify(&args, None, true)
}

/// Verifies a store, with a key service that is open already or one that the arguments name, and
/// prints what was found with `print`.
pub fn verify(
    args: &CheckArgs,
    provider: Option<Arc<dyn KeyProvider>>,
    print: bool,
) -> Result<(), Failure> {
    // The store's file first: a wrong name costs nobody a passphrase.
    let device = args.store.device(true)?;
    let provider = provider.map_or_else(|| args.store.provider(), Ok)?;
    let access = if args.metadata_only { Access::Metadata } else { Access::Read };
    let store = match args.store.open_device(device, access, Arc::clone(&provider))? {
        Ok(store) => store,
        Err(error @ Error::Corrupt { .. }) => return repair::explain(args, &provider, error),
        Err(error) => return Err(args.store.failure("open", error)),
    };
    let fs = store.file_system();
    let monitor = Monitor::new("checking", args.quiet);
    let within = args.memory.map(|mib| CheckOptions::within((mib as usize) << 20));
    let report = monitor.watch(|| {}, || check_with(fs, within.unwrap_or_default()));
    let report = report.map_err(|error| args.store.failure("check", error))?;
    let contents = match args.metadata_only {
        true => None,
        false => {
            let reader = Arc::new(Reader::new(fs, &monitor));
            monitor.watch(|| {}, || walk(&reader, reader.root(), default_workers()))?;
            let (summary, losses) = (monitor.summary(), reader.losses());
            Some(ContentsView {
                files: summary.files + summary.symlinks,
                bytes: summary.bytes,
                damaged: losses.damaged,
                unread: losses.unread,
                failed: losses.failed,
            })
        }
    };
    let view = CheckView::new(&report, contents);
    match args.json {
        _ if !print => {}
        true => output::json(&view)?,
        false => output::lines(&view.lines())?,
    }
    view.verdict(&args.store)
}

impl ContentsView {
    fn is_sound(&self) -> bool {
        self.damaged + self.unread + self.failed == 0
    }
}

impl CheckView {
    fn new(report: &CheckReport, contents: Option<ContentsView>) -> CheckView {
        let structure = &report.structure;
        let nodes = structure.damaged.iter().map(ToString::to_string);
        let others = report.findings.iter().map(ToString::to_string);
        let facts = structure.damaged.iter().map(Fact::from);
        let facts = facts.chain(report.findings.iter().chain(&report.lost).map(Fact::from));
        let sound = contents.is_none_or(|contents| contents.is_sound());
        CheckView {
            clean: report.is_clean() && sound && report.lost.is_empty(),
            nodes: structure.nodes,
            rows: structure.rows,
            inodes: report.inodes,
            directories: report.directories,
            entries: report.entries,
            orphans: report.orphans,
            units: structure.owned,
            units_lost: structure.lost,
            units_unrecorded: structure.unrecorded,
            units_shared: structure.shared,
            findings: nodes.chain(others).collect(),
            facts: facts.map(FactView::from).collect(),
            lost: report.lost.iter().map(ToString::to_string).collect(),
            contents,
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = [&self.findings[..], &self.lost[..]].concat();
        for (units, what) in [
            (self.units_lost, "in use by nothing"),
            (self.units_unrecorded, "in use and recorded as free"),
            (self.units_shared, "in use twice"),
        ] {
            if units > 0 {
                lines.push(format!("{} are {what}", output::bytes(units * 4096)));
            }
        }
        lines.push(format!(
            "{}, {}, {} in {}, {} in use",
            output::count(self.inodes, "inode"),
            output::count(self.entries, "name"),
            output::count(self.rows, "row"),
            output::count(self.nodes, "node"),
            output::bytes(self.units * 4096),
        ));
        if self.orphans > 0 {
            lines.push(format!("{} waiting to be freed", output::count(self.orphans, "inode")));
        }
        lines.push(match self.contents {
            None => "contents were left out".to_owned(),
            Some(contents) => {
                let files = output::count(contents.files, "file");
                format!("{files} read, {}", output::bytes(contents.bytes))
            }
        });
        lines.push(if self.clean { "clean" } else { "NOT CLEAN" }.to_owned());
        lines
    }

    /// The worst that was found, as a failure.
    fn verdict(&self, store: &StoreArgs) -> Result<(), Failure> {
        let ContentsView { damaged, unread, failed, .. } = self.contents.unwrap_or_default();
        let structure = self.units_unrecorded + self.units_shared + failed;
        let (why, code, hint) = if !self.findings.is_empty() || structure > 0 {
            (
                "names, attributes or structure are damaged",
                METADATA_DAMAGED,
                "`efscrypt check --repair` rebuilds what can be; put the rest back from a backup",
            )
        } else if damaged > 0 || !self.lost.is_empty() {
            (
                "contents are damaged or lost",
                CONTENTS_DAMAGED,
                "put back from a backup what the messages above name",
            )
        } else if unread > 0 {
            (
                "not everything could be read, and what could is not damaged",
                UNREAD,
                "mend what the messages above say, then run the check again",
            )
        } else if self.units_lost > 0 {
            (
                "space is lost, and nothing else is wrong",
                SPACE_LOST,
                "`efscrypt check --repair` gets the space back",
            )
        } else {
            return Ok(());
        };
        let doing = format!("store {} is not clean", store.path().display());
        Err(Failure::of_code(doing, why, code).with_hint(hint))
    }
}
