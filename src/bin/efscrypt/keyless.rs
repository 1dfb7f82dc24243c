//! `efscrypt check --keyless`: what shows without any key.

use efscrypt::check::{KeylessKey, KeylessReport, check_keyless};
use efscrypt::keys::Domain;
use serde::Serialize;

use crate::exit::{Failure, METADATA_DAMAGED, SUSPECT};
use crate::output;
use crate::store::StoreArgs;
use crate::transfer::Monitor;

/// What was found, in JSON.
#[derive(Serialize)]
struct KeylessView {
    clean: bool,
    id: String,
    generation: u64,
    superblocks: u64,
    keys: Vec<KeyView>,
    nodes: u64,
    pages: u64,
    records: u64,
    /// First units of nodes and pages whose checksum does not fit.
    suspects: Vec<u64>,
    /// How many more of those, and of units that cannot be read, are not listed.
    unlisted: u64,
    findings: Vec<String>,
}

/// A wrapped key, in JSON.
#[derive(Serialize)]
struct KeyView {
    domain: &'static str,
    version: u32,
    provider: String,
    key_id: String,
}

/// Runs `efscrypt check --keyless`.
pub fn run(store: &StoreArgs, quiet: bool, json: bool) -> Result<(), Failure> {
    let failed = |verb| move |error| store.failure(verb, error);
    let device = store.device(true)?;
    let monitor = Monitor::new("checking", quiet);
    let report = monitor.watch(|| {}, || check_keyless(&device)).map_err(failed("check"))?;
    let view = KeylessView::new(report);
    match json {
        true => output::json(&view)?,
        false => output::lines(&view.lines())?,
    }
    view.verdict(store)
}

impl KeylessView {
    fn new(report: KeylessReport) -> KeylessView {
        KeylessView {
            clean: report.is_clean() && report.suspects.is_empty(),
            id: report.id.iter().map(|byte| format!("{byte:02x}")).collect(),
            generation: report.generation,
            superblocks: report.superblocks,
            nodes: report.nodes,
            pages: report.pages,
            records: report.records,
            findings: report.findings.iter().map(ToString::to_string).collect(),
            suspects: report.suspects,
            unlisted: report.unlisted,
            keys: report.keys.into_iter().map(KeyView::new).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.findings.clone();
        let suspect = |unit| format!("the block at unit {unit} is damaged, or a leftover");
        lines.extend(self.suspects.iter().map(suspect));
        if self.unlisted > 0 {
            lines.push(format!("{} more, not listed", output::count(self.unlisted, "such block")));
        }
        lines.push(format!("store {}, generation {}", self.id, self.generation));
        lines.extend(self.keys.iter().map(|key| {
            let KeyView { domain, version, provider, key_id } = key;
            format!("{domain} key, version {version}, wrapped by {provider} under {key_id}")
        }));
        lines.push(format!(
            "{}, {}, {}, {}",
            output::count(self.superblocks, "superblock"),
            output::count(self.nodes, "node"),
            output::count(self.pages, "space page"),
            output::count(self.records, "log record"),
        ));
        lines.push("names, attributes and contents were left out: they need keys".to_owned());
        lines.push(if self.clean { "clean" } else { "NOT CLEAN" }.to_owned());
        lines
    }

    fn verdict(&self, store: &StoreArgs) -> Result<(), Failure> {
        let (why, code) = if !self.findings.is_empty() {
            ("superblocks, wrapped keys or the device are damaged", METADATA_DAMAGED)
        } else if !self.suspects.is_empty() {
            ("blocks are damaged, or leftovers that are not in use", SUSPECT)
        } else {
            return Ok(());
        };
        let doing = format!("store {} is not clean", store.path().display());
        let hint = "run the check with the keys: it tells what is lost";
        Err(Failure::of_code(doing, why, code).with_hint(hint))
    }
}

impl KeyView {
    fn new(key: KeylessKey) -> KeyView {
        let domain = match key.domain {
            Domain::Meta => "metadata",
            Domain::Data => "contents",
        };
        let KeylessKey { version, provider, key_id, .. } = key;
        KeyView { domain, version, provider, key_id }
    }
}
