//! Monitor: what was done so far, what failed, and the line on the terminal that shows it.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;
use crate::output;

/// Between two draws of the line.
const DRAW: Duration = Duration::from_millis(100);
/// Between two calls of what is tended meanwhile.
const TEND: Duration = Duration::from_secs(5);

/// Something that is counted.
#[derive(Clone, Copy)]
pub enum Count {
    Files,
    Directories,
    Symlinks,
    /// Pipes, sockets and device nodes.
    Special,
    /// Names beyond the first of an inode.
    HardLinks,
    /// Those of all the others, but for directories, that were there already.
    Unchanged,
    /// Those that took the place of something else.
    Replaced,
    /// Those of which the destination does not keep everything, as a message says of each.
    Incomplete,
    /// Files with zeros for what could not be read.
    Damaged,
    /// Those that were left out, as a message says of each.
    LeftOut,
    /// Names of a copy that its source does not have.
    OnlyInCopy,
    /// Bytes of contents of what was copied, or verified.
    Bytes,
    /// Bytes of contents that went by so far, of what fails later, too.
    Moved,
    /// Bytes of contents that were read to see whether they have to be copied.
    Compared,
}

const COUNTS: usize = 14;

/// Progress of work by many threads.
pub struct Monitor {
    counts: [AtomicU64; COUNTS],
    failures: AtomicU64,
    /// Exit code of the first failure.
    code: AtomicU8,
    stopped: AtomicBool,
    bar: ProgressBar,
    started: Instant,
}

/// What was done, in JSON.
#[derive(Serialize)]
pub struct Summary {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub special: u64,
    pub hard_links: u64,
    pub unchanged: u64,
    pub replaced: u64,
    pub incomplete: u64,
    pub damaged: u64,
    pub left_out: u64,
    pub only_in_copy: u64,
    pub bytes: u64,
    pub compared: u64,
    pub seconds: f64,
    pub failed: u64,
    /// Whether a failure ended all work, so that there is more that was not copied.
    pub stopped: bool,
}

impl Monitor {
    /// Shows a line that begins with `doing` where standard error is a terminal, unless `quiet`.
    pub fn new(doing: &str, quiet: bool) -> Monitor {
        let bar = match quiet || !io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            false => ProgressBar::new_spinner(),
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(doing.to_owned());
        Monitor {
            counts: Default::default(),
            failures: AtomicU64::new(0),
            code: AtomicU8::new(0),
            stopped: AtomicBool::new(false),
            bar,
            started: Instant::now(),
        }
    }

    pub fn add(&self, what: Count, n: u64) {
        self.counts[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// Says what failed. Everything else goes on, unless nothing else can succeed either.
    pub fn failed(&self, failure: Failure) {
        // Each thread meets the same end; it is told once.
        let stopped = if failure.is_final() {
            self.stopped.swap(true, Ordering::Relaxed)
        } else {
            self.has_stopped()
        };
        if stopped {
            return;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.tell(&failure);
    }

    /// Says what a copy lacks, which is one all the same.
    pub fn incomplete(&self, failure: Failure) {
        if !self.has_stopped() {
            self.add(Count::Incomplete, 1);
            self.tell(&failure);
        }
    }

    fn tell(&self, failure: &Failure) {
        let code = failure.code();
        let _ = self.code.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        self.bar.suspend(|| failure.print());
    }

    /// Says that something is left out, which is no failure.
    pub fn left_out(&self, path: &Path, why: &str) {
        self.add(Count::LeftOut, 1);
        self.bar.suspend(|| output::say(&format!("{} is left out: {why}", path.display())));
    }

    /// Says that a copy has fewer rights than its source, because of what is not copied.
    pub fn less(&self, path: &Path, what: &str) {
        self.bar.suspend(|| {
            let path = path.display();
            output::say(&format!("{path}: {what} is not copied: it gets fewer permissions"));
        });
    }

    /// Shows how far it is.
    pub fn show(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        self.bar.tick();
    }

    /// Ends all work.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether something failed that ends all work.
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread of its own, while this one shows progress and calls `tend` every
    /// few seconds.
    pub fn watch<R: Send>(&self, tend: impl Fn(), work: impl FnOnce() -> R + Send) -> R {
        let (done, wait) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let _done = done;
                work()
            });
            let mut last = Instant::now();
            while wait.recv_timeout(DRAW) == Err(RecvTimeoutError::Timeout) {
                self.draw();
                if last.elapsed() >= TEND {
                    tend();
                    last = Instant::now();
                }
            }
            self.bar.finish_and_clear();
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn draw(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let (bytes, seconds) = (self.get(Count::Moved), self.seconds());
        let message = format!(
            "{}, {}, {}/s,",
            output::count(self.get(Count::Files), "file"),
            output::bytes(bytes),
            output::bytes((bytes as f64 / seconds) as u64),
        );
        self.bar.set_message(message);
        self.bar.tick();
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64().max(1e-6)
    }

    /// What was done so far.
    pub fn summary(&self) -> Summary {
        Summary {
            files: self.get(Count::Files),
            directories: self.get(Count::Directories),
            symlinks: self.get(Count::Symlinks),
            special: self.get(Count::Special),
            hard_links: self.get(Count::HardLinks),
            unchanged: self.get(Count::Unchanged),
            replaced: self.get(Count::Replaced),
            incomplete: self.get(Count::Incomplete),
            damaged: self.get(Count::Damaged),
            left_out: self.get(Count::LeftOut),
            only_in_copy: self.get(Count::OnlyInCopy),
            bytes: self.get(Count::Bytes),
            compared: self.get(Count::Compared),
            seconds: self.seconds(),
            failed: self.failures.load(Ordering::Relaxed),
            stopped: self.has_stopped(),
        }
    }

    /// Fails where something failed, with the code of the first.
    pub fn verdict(&self, doing: &str, hint: &'static str) -> Result<(), Failure> {
        let failed = self.failures.load(Ordering::Relaxed);
        let code = self.code.load(Ordering::Relaxed);
        match (failed, self.get(Count::Incomplete)) {
            (0, 0) => Ok(()),
            (0, n) => {
                let why = format!("{} incomplete", output::count(n, "thing"));
                Err(Failure::of_code(doing, &why, code))
            }
            (n, _) => {
                Err(Failure::of_code(doing, &output::count(n, "failure"), code).with_hint(hint))
            }
        }
    }
}

impl Summary {
    /// One line: `copied 12 files, 1.5 MiB, in 0.2 s (7.5 MiB/s); 2 directories, 9 unchanged`.
    pub fn line(&self, done: &str) -> String {
        let rate = output::bytes((self.bytes as f64 / self.seconds) as u64);
        let rate = if self.bytes > 0 { format!(" ({rate}/s)") } else { String::new() };
        let mut line = format!(
            "{done} {}, {}, in {:.1} s{rate}; {}",
            output::count(self.files, "file"),
            output::bytes(self.bytes),
            self.seconds,
            output::count(self.directories, "directory"),
        );
        for (n, what) in [
            (self.symlinks, "symbolic link"),
            (self.special, "special file"),
            (self.hard_links, "hard link"),
        ] {
            if n > 0 {
                line += &format!(", {}", output::count(n, what));
            }
        }
        for (n, what) in [
            (self.replaced, "replaced"),
            (self.unchanged, "unchanged"),
            (self.incomplete, "INCOMPLETE"),
            (self.damaged, "DAMAGED"),
            (self.left_out, "left out"),
            (self.only_in_copy, "only in the copy"),
            (self.failed, "FAILED"),
        ] {
            if n > 0 {
                line += &format!(", {n} {what}");
            }
        }
        if self.stopped {
            line += ", STOPPED before all was done";
        }
        if self.compared > 0 {
            line += &format!(", {} compared", output::bytes(self.compared));
        }
        line
    }
}
