//! `efscrypt check --repair`: what can be rebuilt of a damaged store, shown, confirmed and written.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use efscrypt::check::{Note, Repair, RepairOptions, RepairReport};
use efscrypt::device::FileDevice;
use efscrypt::keys::KeyProvider;
use efscrypt::{Error, Providers};
use serde::Serialize;

use crate::check::CheckArgs;
use crate::exit::{CONTENTS_DAMAGED, Failure, METADATA_DAMAGED};
use crate::output;
use crate::transfer::Monitor;

/// What to do where the medium does not read what a repair needs.
const UNREAD_HINT: &str = "try again, or copy the store to another disk first; if it can never be \
                           read, --give-up-unreadable counts it as lost";

/// What a repair did or would do, in JSON.
#[derive(Serialize)]
struct RepairView {
    /// Whether anything is to be repaired.
    needed: bool,
    /// Whether it was.
    repaired: bool,
    /// What is wrong below names, attributes and contents.
    damage: Vec<String>,
    notes: Vec<NoteView>,
}

/// What becomes of a file, in JSON.
#[derive(Serialize)]
struct NoteView {
    /// Absent where it has none, or is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    inode: u64,
    /// Whether something is gone, or cannot be read.
    loss: bool,
    what: String,
}

impl RepairView {
    fn new(report: &RepairReport, repaired: bool) -> RepairView {
        RepairView {
            needed: report.needed,
            repaired,
            damage: report.damage.iter().map(ToString::to_string).collect(),
            notes: report.notes.iter().map(NoteView::new).collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let notes = self.notes.iter().map(|note| match (&note.path, note.inode) {
            (Some(path), _) => format!("{path}: {}", note.what),
            (None, 0) => note.what.clone(),
            (None, ino) => format!("inode {ino}: {}", note.what),
        });
        self.damage.iter().cloned().chain(notes).collect()
    }
}

impl NoteView {
    fn new(note: &Note) -> NoteView {
        NoteView {
            path: note.path.as_deref().map(|path| String::from_utf8_lossy(path).into_owned()),
            inode: note.ino,
            loss: note.what.is_loss(),
            what: note.what.to_string(),
        }
    }
}

/// Runs `efscrypt check --repair`; where it repaired, or there was nothing to repair, the check
/// follows.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let store = &args.store;
    let device = store.device(args.dry_run)?;
    let provider = store.provider()?;
    let repair = plan(args, device, &provider).map_err(|error| {
        let unread = matches!(error, Error::Io { .. });
        let failure = store.failure("repair", error);
        match unread {
            true => failure.with_hint(UNREAD_HINT),
            false => failure,
        }
    })?;
    let view = RepairView::new(repair.report(), false);
    let lines = view.lines();
    if !args.json && !lines.is_empty() {
        output::lines(&lines)?;
    }
    if !view.needed {
        let damaged = repair.report().has_damaged_contents();
        // Its device is locked.
        drop(repair);
        finish(args, &view, "nothing to repair", None)?;
        crate::check::verify(args, Some(provider), false)?;
        return if damaged { Err(contents_damaged(args)) } else { Ok(()) };
    }
    if repair.report().is_older() && !args.accept_older && !args.dry_run {
        let doing = format!("cannot repair store {}", store.path().display());
        let why = "it would go back to an older state, which stands above; nothing was written";
        let hint = "a newer copy of its first MiB, or a newer backup of its header, may save more; \
                    --accept-older goes back";
        return Err(Failure::of_code(doing, why, METADATA_DAMAGED).with_hint(hint));
    }
    if args.dry_run {
        return finish(args, &view, "nothing was written", Some(METADATA_DAMAGED));
    }
    if !args.yes {
        if args.json {
            // Who is asked must see what for; the object comes once it is decided.
            lines.iter().for_each(|line| output::say(line));
        }
        confirm()?;
    }
    let lossy = repair.report().is_lossy();
    let monitor = Monitor::new("repairing", args.quiet);
    let report = monitor.watch(|| {}, || repair.commit());
    let report = report.map_err(|error| store.failure("repair", error))?;
    let view = RepairView::new(&report, true);
    if args.json {
        output::json(&view)?;
    }
    if !args.quiet {
        let lost =
            if lossy { "; what is lost, or may be, stands above" } else { "; nothing is lost" };
        output::say(&format!("store {} is repaired{lost}", store.path().display()));
    }
    if let Some(error) = &report.unfinished {
        output::say(&format!("the superblocks could not all be written anew: {error}"));
        output::say("run `efscrypt check --repair` again if the store does not open");
    }
    crate::check::verify(args, Some(provider), !args.json)
}

/// Works out a repair.
fn plan(
    args: &CheckArgs,
    device: FileDevice,
    provider: &Arc<dyn KeyProvider>,
) -> Result<Repair, Error> {
    let mut options = args.store.options().map_err(|_| Error::InvalidArgument("--context"))?;
    options.engine.read_only = true;
    let providers = Providers::same(Arc::clone(provider));
    let monitor = Monitor::new("reading", args.quiet);
    let wanted = RepairOptions {
        contents: !args.metadata_only,
        give_up_unreadable: args.give_up_unreadable,
        accept_older: args.accept_older,
    };
    monitor.watch(|| {}, || Repair::plan(Arc::new(device), &providers, &options, wanted))
}

/// Shows what is damaged of a store that does not open, as far as that can be found out.
pub fn explain(
    args: &CheckArgs,
    provider: &Arc<dyn KeyProvider>,
    error: Error,
) -> Result<(), Failure> {
    let store = &args.store;
    let device = store.device(true)?;
    let Ok(repair) = plan(args, device, provider) else { return Err(store.failure("open", error)) };
    if !repair.report().needed {
        return Err(store.failure("open", error));
    }
    let view = RepairView::new(repair.report(), false);
    match args.json {
        true => output::json(&view)?,
        false => output::lines(&view.lines())?,
    }
    let doing = format!("store {} does not open: {error}", store.path().display());
    let why = "what is damaged stands above";
    let hint = "`efscrypt check --repair` does what can be done; keep a copy of the store before";
    Err(Failure::of_code(doing, why, METADATA_DAMAGED).with_hint(hint))
}

fn finish(
    args: &CheckArgs,
    view: &RepairView,
    said: &str,
    code: Option<u8>,
) -> Result<(), Failure> {
    match args.json {
        true => output::json(view)?,
        false => output::lines(&[said])?,
    }
    let Some(code) = code else { return Ok(()) };
    let doing = format!("store {} is not clean", args.store.path().display());
    let failure = Failure::of_code(doing, "it can be repaired as stands above", code);
    Err(failure.with_hint("run it without --dry-run to repair it"))
}

fn contents_damaged(args: &CheckArgs) -> Failure {
    let doing = format!("store {} is not clean", args.store.path().display());
    let failure = Failure::of_code(doing, "contents are damaged", CONTENTS_DAMAGED);
    failure.with_hint("put back from a backup what the messages above name")
}

/// Asks on the terminal.
fn confirm() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let why = "give --yes, or --dry-run to see what would be done";
        return Err(Failure::usage("cannot ask whether to repair", why));
    }
    let _ = write!(io::stderr(), "Write this repair to the store? It cannot be undone. [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::usage("the store is not repaired", "nothing was written")),
    }
}
