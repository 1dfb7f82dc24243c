//! `efscrypt check`: everything in a store, verified.

use std::sync::Arc;

use clap::Args;
use efscrypt::check::{CheckReport, check};
use serde::Serialize;

use crate::exit::{CONTENTS_DAMAGED, Failure, METADATA_DAMAGED, SPACE_LOST};
use crate::output;
use crate::store::{Access, StoreArgs};
use crate::transfer::{Monitor, Reader, default_workers, walk};

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Leave out the contents of files; needs no data key
    #[arg(long)]
    metadata_only: bool,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
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
    /// Files and links whose contents were read; absent where they were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<ContentsView>,
}

/// What was found in contents, in JSON.
#[derive(Clone, Copy, Serialize)]
struct ContentsView {
    files: u64,
    bytes: u64,
    /// Those with damaged contents.
    damaged: u64,
    /// Those that could not be read for another reason, and directories.
    failed: u64,
}

/// Runs `efscrypt check`.
pub fn run(args: CheckArgs) -> Result<(), Failure> {
    let store = args.store.open(match args.metadata_only {
        true => Access::WriteMetadata,
        false => Access::Write,
    })?;
    let fs = store.file_system();
    let monitor = Monitor::new("checking", args.quiet);
    let report = monitor.watch(|| {}, || check(fs));
    let report = report.map_err(|error| args.store.failure("check", error))?;
    let contents = match args.metadata_only {
        true => None,
        false => {
            let reader = Arc::new(Reader::new(fs, &monitor));
            monitor.watch(|| {}, || walk(&reader, reader.root(), default_workers()))?;
            let (summary, damaged) = (monitor.summary(), reader.damaged_contents());
            Some(ContentsView {
                files: summary.files + summary.symlinks,
                bytes: summary.bytes,
                damaged,
                failed: summary.failed - damaged,
            })
        }
    };
    let view = CheckView::new(&report, contents);
    match args.json {
        true => output::json(&view)?,
        false => output::text(&view.text())?,
    }
    view.verdict(&args.store)
}

impl CheckView {
    fn new(report: &CheckReport, contents: Option<ContentsView>) -> CheckView {
        let structure = &report.structure;
        let nodes = structure.damaged.iter().map(ToString::to_string);
        let others = report.findings.iter().map(ToString::to_string);
        let sound = contents.is_none_or(|contents| contents.damaged + contents.failed == 0);
        CheckView {
            clean: report.is_clean() && sound,
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
            contents,
        }
    }

    fn text(&self) -> String {
        let mut lines = self.findings.clone();
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
            "{} inodes, {} names, {} rows in {} nodes, {} in use",
            self.inodes,
            self.entries,
            self.rows,
            self.nodes,
            output::bytes(self.units * 4096),
        ));
        lines.push(match self.contents {
            None => "contents were left out".to_owned(),
            Some(contents) => {
                format!("{} files, {} of contents", contents.files, output::bytes(contents.bytes))
            }
        });
        lines.push(if self.clean { "clean" } else { "NOT CLEAN" }.to_owned());
        lines.join("\n")
    }

    /// The worst that was found, as a failure.
    fn verdict(&self, store: &StoreArgs) -> Result<(), Failure> {
        let (damaged, failed) =
            self.contents.map_or((0, 0), |contents| (contents.damaged, contents.failed));
        let structure = self.units_unrecorded + self.units_shared + failed;
        let (why, code, hint) = if !self.findings.is_empty() || structure > 0 {
            (
                "names, attributes or structure are damaged",
                METADATA_DAMAGED,
                "export what can be read, and put the rest back from a backup",
            )
        } else if damaged > 0 {
            (
                "contents are damaged",
                CONTENTS_DAMAGED,
                "put back from a backup what the messages above name; all else is sound",
            )
        } else if self.units_lost > 0 {
            (
                "space is lost, and nothing else is wrong",
                SPACE_LOST,
                "export to a new store to get the space back",
            )
        } else {
            return Ok(());
        };
        let doing = format!("store {} is not clean", store.path().display());
        Err(Failure::of_code(doing, why, code).with_hint(hint))
    }
}
