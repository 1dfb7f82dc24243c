//! What the command prints: tables for people, JSON for programs, dates in UTC.

use std::io::{self, Write};

use efscrypt::cli::say::json_visible;
pub use efscrypt::cli::say::{advise, say, visible};
use efscrypt::keys::{KeyDescription, KeyState};
use serde::Serialize;

use crate::exit::Failure;

/// A key in JSON. Dates are seconds since 1970-01-01 00:00:00 UTC.
#[derive(Serialize)]
pub struct KeyView<'a> {
    id: &'a str,
    aliases: &'a [String],
    state: &'static str,
    /// Present for a key pending deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion: Option<u64>,
    version: u32,
    created: u64,
    rotated: u64,
}

impl<'a> KeyView<'a> {
    /// Of a key.
    pub fn new(key: &'a KeyDescription) -> Self {
        KeyView {
            id: &key.id,
            aliases: &key.aliases,
            state: key.state.as_str(),
            deletion: deletion(key),
            version: key.version,
            created: key.created,
            rotated: key.rotated,
        }
    }
}

/// Prints a value as indented JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other).map_err(failed)?;
    let lines: Vec<_> = text.lines().map(json_visible).collect();
    write_out(&lines.join("\n")).map_err(failed)
}

/// A value as one line of JSON.
pub fn json_line(value: &impl Serialize) -> io::Result<String> {
    Ok(json_visible(&serde_json::to_string(value)?).into_owned())
}

/// Prints lines of text for people, in which nothing is left that a terminal obeys.
pub fn lines<S: AsRef<str>>(lines: &[S]) -> Result<(), Failure> {
    let shown: Vec<_> = lines.iter().map(|line| visible(line.as_ref())).collect();
    write_out(&shown.join("\n")).map_err(failed)
}

/// One key, a line for each of its properties.
pub fn key_block(key: &KeyDescription) -> Vec<String> {
    let mut lines = vec![format!("id        {}", key.id)];
    lines.extend(key.aliases.iter().map(|alias| format!("alias     {alias}")));
    lines.push(match deletion(key) {
        Some(at) => format!("state     {}, destroyed at {}", key.state, utc(at)),
        None => format!("state     {}", key.state),
    });
    lines.push(format!("version   {}, since {}", key.version, utc(key.rotated)));
    lines.push(format!("created   {}", utc(key.created)));
    lines
}

/// Keys, one a line, under a line of headings.
pub fn key_table(keys: &[KeyDescription]) -> Vec<String> {
    let row = |id: &str, state: &str, version: &str, created: &str, aliases: &str| {
        let row = format!("{id:<32}  {state:<16}  {version:>7}  {created:<20}  {aliases}");
        row.trim_end().to_owned()
    };
    let mut rows = vec![row("ID", "STATE", "VERSION", "CREATED", "ALIASES")];
    rows.extend(keys.iter().map(|key| {
        let version = key.version.to_string();
        row(&key.id, key.state.as_str(), &version, &utc(key.created), &key.aliases.join(" "))
    }));
    rows
}

/// Seconds since 1970, or before, as `2026-01-31T23:59:59Z`.
pub fn utc(seconds: impl Into<i128>) -> String {
    let seconds = seconds.into();
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin on 1 March put the leap day last; 719,468 days from 0000-03-01 to 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A number of bytes with a fitting unit: `512 B`, `1.5 KiB`, `12.0 MiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        // 1023.95 would be shown as 1024.0.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// A number of things: `1 file`, `2 directories`.
pub fn count(n: u64, what: &str) -> String {
    const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) if !stem.ends_with(VOWELS) => format!("{n} {stem}ies"),
        _ => format!("{n} {what}s"),
    }
}

fn deletion(key: &KeyDescription) -> Option<u64> {
    match key.state {
        KeyState::PendingDeletion { at } => Some(at),
        _ => None,
    }
}

/// A reader that went away, as `head` does, is no failure.
fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn failed(source: io::Error) -> Failure {
    Failure::file("cannot write to standard output", &source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (size, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (12 << 20, "12.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn numbers_of_things() {
        assert_eq!(count(1, "directory"), "1 directory");
        assert_eq!(count(0, "directory"), "0 directories");
        assert_eq!(count(2, "hard link"), "2 hard links");
        assert_eq!((count(0, "key"), count(1, "key")), ("0 keys".into(), "1 key".into()));
    }

    #[test]
    fn a_terminal_is_not_obeyed() {
        let name = "\u{9b}1m \u{202e}\t\"";
        let line = json_line(&name).unwrap();
        assert_eq!(line, r#""\u009b1m \u202e\t\"""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), name);
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (-2_203_891_200, "1900-03-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (i64::MIN, "-292277022657-01-27T08:29:52Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
    }
}
