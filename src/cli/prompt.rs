//! The passphrase prompt. Whatever ends or stops the program meanwhile leaves the terminal as it
//! was.
//!
//! Signals are held back from this thread while the terminal shows nothing, and read where the
//! terminal is read: no handler is installed, and what the program was told to ignore stays so.
//! Programs ask before they start threads: a signal that another thread takes is not held back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Bytes that are wiped on every way out.
pub(super) type Line = Zeroizing<Vec<u8>>;

/// Longest line that a terminal gives, bytes.
const MAX_LINE: usize = 4096;

/// What ends or stops a program that does not expect it.
const SIGNALS: [Signal; 5] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGTSTP];

/// Why nobody was asked, or nobody answered.
pub(super) enum Unasked {
    /// There is no terminal.
    NoTerminal,
    /// The terminal ended, or failed.
    Failed(io::Error),
}

/// Asks on the terminal, which does not show the answer.
pub(super) fn ask(prompt: &str) -> Result<Line, Unasked> {
    let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut tty = tty.map_err(|_| Unasked::NoTerminal)?;
    loop {
        match ask_once(&mut tty, prompt).map_err(Unasked::Failed)? {
            Answer::Line(line) => return Ok(line),
            // Everything is as it was before: the program ends, stops, or does not care.
            Answer::Interrupted(signal) => raise(signal).map_err(|e| Unasked::Failed(e.into()))?,
        }
    }
}

enum Answer {
    Line(Line),
    Interrupted(Signal),
}

fn ask_once(tty: &mut File, prompt: &str) -> io::Result<Answer> {
    let held = Held::new()?;
    let quiet = Quiet::new(tty)?;
    tty.write_all(prompt.as_bytes())?;
    let answer = read_line(tty, &held.signals);
    // The terminal first: what was held back may end the program.
    drop(quiet);
    let _ = tty.write_all(b"\n");
    drop(held);
    answer
}

fn read_line(tty: &mut File, signals: &SignalFd) -> io::Result<Answer> {
    let mut buffer = Zeroizing::new([0; MAX_LINE]);
    let mut len = 0;
    loop {
        let readable = {
            let mut both = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(tty.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                polled => polled?,
            };
            both.map(|one| one.any().unwrap_or(false))
        };
        if readable[0] {
            let info = signals.read_signal()?;
            let signal = info.and_then(|info| Signal::try_from(info.ssi_signo as i32).ok());
            if let Some(signal) = signal {
                return Ok(Answer::Interrupted(signal));
            }
        }
        if !readable[1] {
            continue;
        }
        let read = match tty.read(&mut buffer[len..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        len += read;
        let ended = buffer[..len].ends_with(b"\n");
        if ended || read == 0 || len == MAX_LINE {
            if read == 0 && len == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was typed"));
            }
            let line = &buffer[..len - usize::from(ended)];
            return Ok(Answer::Line(Zeroizing::new(line.to_vec())));
        }
    }
}

/// Signals held back from this thread.
struct Held {
    signals: SignalFd,
    before: SigSet,
}

impl Held {
    fn new() -> io::Result<Held> {
        let set: SigSet = SIGNALS.into_iter().collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&set, flags)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Held { signals, before })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// A terminal that does not show what is typed.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File) -> io::Result<Quiet> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ICANON | LocalFlags::ISIG);
        let tty = tty.try_clone()?;
        tcsetattr(&tty, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Quiet { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}
