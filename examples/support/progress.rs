//! Says how far long work is, on standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// One line that is renewed on a terminal, else one more line now and then.
pub struct Progress {
    next: Instant,
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub fn new() -> Progress {
        let terminal = stderr().is_terminal();
        Progress { next: Instant::now() + Duration::from_secs(1), terminal, shown: false }
    }

    /// Shows the text, unless another was shown a moment ago.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_secs(if self.terminal { 1 } else { 5 });
        self.shown = true;
        if self.terminal {
            eprint!("\r\x1b[K{}", text());
        } else {
            eprintln!("{}", text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// A number with a comma at every third digit.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
