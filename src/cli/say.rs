//! What a program says on standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static PROGRAM: OnceLock<&str> = OnceLock::new();
static JSON: AtomicBool = AtomicBool::new(false);

/// Sets the program's name, once, before anything is said; and whether failures are said in JSON.
pub fn begin(program: &'static str, json: bool) {
    let _first_counts = PROGRAM.set(program);
    JSON.store(json, Ordering::Relaxed);
}

/// Whether failures are said in JSON.
pub fn in_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Text with what a terminal obeys instead of showing it escaped. Names come from strangers.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |shown, c| shown.extend(c.escape_default()))
}

/// A line of JSON in which nothing is left that a terminal obeys: such characters stand in strings
/// only, and those may have any character escaped.
pub fn json_visible(line: &str) -> Cow<'_, str> {
    escaped(line, |shown, c| shown.push_str(&format!("\\u{:04x}", c as u32)))
}

/// Control characters, and those that turn the direction of a line around.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_obeyed(c) {
            true => escape(&mut shown, c),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Says something, on one line. Nobody may be there to hear it.
pub fn say(text: &str) {
    let program = PROGRAM.get().copied().unwrap_or("efscrypt");
    let _ = writeln!(io::stderr().lock(), "{program}: {}", visible(text));
}

/// Says what to do about what was said before.
pub fn advise(hint: &str) {
    let _ = writeln!(io::stderr().lock(), "  {hint}");
}

/// Says a line of JSON.
pub(super) fn say_json(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", json_visible(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_obeyed() {
        for (text, expected) in [
            ("plain, \u{e9}", "plain, \u{e9}"),
            ("a\nb\t\x1b[2J\x07", "a\\nb\\t\\u{1b}[2J\\u{7}"),
            ("\u{9b}1m \u{202e}gpj.exe", "\\u{9b}1m \\u{202e}gpj.exe"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
