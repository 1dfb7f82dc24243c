//! The rules. Each takes a file and returns its findings.

use crate::source::{Source, body, words};

/// The layers. A module imports from lower layers only, never from its own: those in one layer
/// do not know each other.
const LAYERS: &[(&str, u8)] = &[
    ("error", 0),
    ("limits", 0),
    ("secret", 0),
    ("cpu", 1),
    ("host", 1),
    ("crypto", 2),
    ("format", 2),
    ("device", 3),
    ("keys", 3),
    ("block", 4),
    ("tree", 5),
    ("txn", 6),
    ("fs", 7),
    ("store", 8),
    ("jobs", 8),
    ("check", 9),
    ("cli", 10),
    ("ffi", 10),
    ("sim", 10),
    ("bin", 10),
];

/// Modules that import from fewer layers than lie below them: the highest one they may.
const CEILINGS: &[(&str, u8)] = &[("format", 0), ("device", 0)];

/// What every module may take from the crate root: the names of `error`.
const ROOT_NAMES: &[&str] = &["Error", "ErrorKind", "Object", "Result"];

/// Where `unsafe` may be written: the CPU's instructions, the kernels, the key arena, one call of
/// the system, C.
const UNSAFE_PLACES: &[&str] = &[
    "src/cpu",
    "src/crypto/x86/",
    "src/crypto/xts/",
    "src/crypto/polyval/",
    "src/crypto/siv512",
    "src/crypto/unit512",
    "src/crypto/arena",
    "src/device/discard",
    "src/device/writeback",
    "src/ffi/",
];

const MAX_COLUMNS: usize = 100;
const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_TEST_LINES: usize = 120;

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|row| row.0 == module).map(|row| row.1)
}

/// The top-level module that a file belongs to.
fn module(source: &Source) -> &str {
    let inside = source.path.strip_prefix("src/").unwrap_or(&source.path);
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Imports and paths through `crate::` lead to lower layers.
pub fn imports(source: &Source) -> Vec<String> {
    let own = module(source);
    // A program is a crate of its own, on top of the library: its `crate::` is itself.
    if matches!(own, "lib" | "bin") {
        return Vec::new();
    }
    let Some(own_layer) = layer(own) else {
        return vec![source.finding(0, "this module has no layer")];
    };
    let ceiling = CEILINGS.iter().find(|row| row.0 == own).map(|row| row.1);
    let mut findings = Vec::new();
    for at in words(&source.code, "crate") {
        let Some(path) = source.code[at + 5..].strip_prefix("::") else { continue };
        for name in first_names(path) {
            let allowed = match layer(name) {
                _ if name == own || ROOT_NAMES.contains(&name) => true,
                Some(layer) => layer < own_layer && ceiling.is_none_or(|most| layer <= most),
                None => false,
            };
            if !allowed {
                findings.push(source.finding(at, &format!("{own} must not import crate::{name}")));
            }
        }
    }
    findings
}

/// The first name of a path, or of each path of a group.
fn first_names(path: &str) -> Vec<&str> {
    let name = |text: &'_ str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let Some(group) = path.strip_prefix('{') else {
        return vec![&path[..name(path).unwrap_or(path.len())]];
    };
    let (mut names, mut depth, mut expected) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if expected && !c.is_whitespace() => {
                let rest = &group[at..];
                names.push(&rest[..name(rest).unwrap_or(rest.len())]);
                expected = false;
            }
            _ => {}
        }
    }
    names
}

/// No chain of `super` climbs to the crate root, where it would pass by [`imports`].
pub fn supers(source: &Source) -> Vec<String> {
    let chains = words(&source.code, "super").filter(|at| !source.code[..*at].ends_with("super::"));
    chains
        .filter(|at| {
            let rest = source.code[*at..].split("::");
            rest.take_while(|name| *name == "super").count() >= source.depth(*at)
        })
        .map(|at| source.finding(at, "name the crate root as crate::"))
        .collect()
}

/// The modules of the crate root are declared lowest layer first.
pub fn module_order(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let mut highest = 0;
    for at in words(&source.code, "mod") {
        let name = source.code[at + 3..].trim_start();
        let Some(layer) = name.split(';').next().and_then(layer) else { continue };
        if layer < highest {
            findings.push(source.finding(at, "declared above a module of a lower layer"));
        }
        highest = highest.max(layer);
    }
    findings
}

/// `format` is bytes only.
pub fn format_without_io(source: &Source) -> Vec<String> {
    if module(source) != "format" {
        return Vec::new();
    }
    ["std::fs", "std::io", "std::net", "std::os", "rustix"]
        .into_iter()
        .flat_map(|name| words(&source.code, name).map(move |at| (at, name)))
        .filter(|(at, _)| !source.is_test(*at))
        .map(|(at, name)| source.finding(at, &format!("format must not use {name}")))
        .collect()
}

/// `unsafe`, and permission to write it, in the listed places only.
pub fn unsafe_places(source: &Source) -> Vec<String> {
    if UNSAFE_PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let keyword = words(&source.code, "unsafe");
    let permission = words(&source.code, "unsafe_code").filter(|at| {
        let before = source.code[..*at].trim_end();
        before.ends_with("allow(") || before.ends_with("expect(") || before.ends_with("warn(")
    });
    keyword.chain(permission).map(|at| source.finding(at, "unsafe is not allowed here")).collect()
}

/// ASCII, at most 100 columns, no tabs, no space at the end of a line.
pub fn text(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut find = |what: String| {
            findings.push(format!("{}:{}: {what}", source.path, index + 1));
        };
        if let Some(other) = line.chars().find(|c| !matches!(c, ' '..='~')) {
            find(format!("character U+{:04X}", u32::from(other)));
        }
        let columns = line.chars().count();
        if columns > MAX_COLUMNS {
            find(format!("{columns} columns, at most {MAX_COLUMNS}"));
        }
        if line.ends_with(' ') {
            find("space at the end of the line".to_owned());
        }
    }
    findings
}

pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    vec![source.finding(0, &format!("{lines} lines, at most {MAX_FILE_LINES}"))]
}

/// From the `fn` to the closing brace, both counted.
pub fn function_length(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for at in words(&source.code, "fn") {
        let named = source.code[at + 2..].trim_start().starts_with(|c: char| c.is_alphabetic());
        let Some(body) = body(&source.code, at).filter(|_| named) else { continue };
        let lines = source.line(body.end) - source.line(at) + 1;
        let most = if source.is_test(at) { MAX_TEST_LINES } else { MAX_FUNCTION_LINES };
        if lines > most {
            findings
                .push(source.finding(at, &format!("function of {lines} lines, at most {most}")));
        }
    }
    findings
}

/// Notes to self, stubs, switched-off tests and lints, and prints outside of programs.
pub fn banned(source: &Source) -> Vec<String> {
    // Spelled in parts, so that this file passes its own rule.
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let code = ["dbg!", "todo!", "unimplemented!", "#[ignore", "allow(dead_code"];
    let prints = ["print!", "println!", "eprint!", "eprintln!"];
    let program = source.path.starts_with("src/bin/") || !source.path.starts_with("src/");

    let noted = notes.into_iter().flat_map(|word| found(&source.text, word));
    let coded = code.into_iter().flat_map(|word| found(&source.code, word));
    let printed = prints
        .into_iter()
        .flat_map(|word| found(&source.code, word))
        .filter(|(at, _)| !program && !source.is_test(*at));
    noted
        .chain(coded)
        .chain(printed)
        .map(|(at, word)| source.finding(at, &format!("{word} is not allowed")))
        .collect()
}

/// Where a word that may begin and end with signs stands in the text.
fn found<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    words(text, word).map(move |at| (at, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many findings a rule has in a file of that path and text.
    fn count(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn imports_can_fail() {
        let upward = [
            ("src/block/cache.rs", "use crate::tree::Cursor;"),
            ("src/block/cache.rs", "fn f() { crate::fs::open(); }"),
            ("src/block/cache.rs", "use crate::{error::Error, txn::{Edit, List}};"),
            ("src/format/node.rs", "use crate::crypto::Tag;"),
            ("src/format/node.rs", "use crate::cpu::Token;"),
            ("src/device/file.rs", "use crate::crypto::Tag;"),
            ("src/device/file.rs", "use crate::keys::Domain;"),
            ("src/keys/local.rs", "use crate::device::Device;"),
            ("src/jobs/mod.rs", "use crate::check::Scrub;"),
            ("src/error.rs", "use crate::limits::UNIT;"),
            ("src/cpu.rs", "pub(crate) use crate::crypto::Suite;"),
            ("src/block/mod.rs", "#[cfg(test)] mod tests { use crate::fs::File; }"),
            ("src/block/mod.rs", "use crate::FileDevice;"),
            ("src/block/mod.rs", "use crate::*;"),
            ("src/novel/mod.rs", "fn f() {}"),
        ];
        for (path, text) in upward {
            assert_eq!(count(imports, path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn imports_can_pass() {
        let downward = [
            ("src/block/cache.rs", "use crate::{crypto, device::{Device, FileDevice}, limits};"),
            ("src/block/cache.rs", "use crate::{Error, Result}; use crate::block::seal;"),
            ("src/block/cache.rs", "// use crate::tree\nfn f() { g(\"crate::tree\") }"),
            ("src/crypto/xts/mod.rs", "use crate::cpu::Token;"),
            ("src/device/sim/crash.rs", "use crate::device::image::Image; pub(crate) fn f() {}"),
            ("src/lib.rs", "pub use crate::fs::File;"),
            ("src/bin/efscrypt.rs", "use efscrypt::fs::File;"),
        ];
        for (path, text) in downward {
            assert_eq!(count(imports, path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn supers_can_fail() {
        assert_eq!(count(supers, "src/error.rs", "use super::limits;"), 1);
        assert_eq!(count(supers, "src/format/mod.rs", "use super::keys;"), 1);
        assert_eq!(count(supers, "src/format/node.rs", "use super::super::keys;"), 1);
        assert_eq!(count(supers, "src/format/node.rs", "mod a { use super::super::super::b; }"), 1);
        assert_eq!(count(supers, "src/format/node.rs", "mod a { use super::super::b; }"), 0);
        assert_eq!(count(supers, "src/format/node.rs", "use super::pointer; pub(super) fn f()"), 0);
    }

    #[test]
    fn module_order_can_fail() {
        assert_eq!(count(module_order, "src/lib.rs", "mod error; mod device; mod cpu;"), 1);
        assert_eq!(count(module_order, "src/lib.rs", "mod error; mod cpu; mod device;"), 0);
    }

    #[test]
    fn format_without_io_can_fail() {
        let path = "src/format/node.rs";
        assert_eq!(count(format_without_io, path, "use std::io; fn f() { std::fs::read() }"), 2);
        assert_eq!(count(format_without_io, path, "#[cfg(test)] mod tests { use std::fs; }"), 0);
        assert_eq!(count(format_without_io, "src/device/file.rs", "use std::io;"), 0);
    }

    #[test]
    fn unsafe_places_can_fail() {
        let allow = "#![allow(unsafe_code)]";
        for text in [allow, "#[expect(unsafe_code)]", "fn f() { unsafe { g() } }"] {
            assert_eq!(count(unsafe_places, "src/tree/mod.rs", text), 1);
            assert_eq!(count(unsafe_places, "src/device/file.rs", text), 1);
            assert_eq!(count(unsafe_places, "src/crypto/xts/vaes512.rs", text), 0);
        }
        assert_eq!(count(unsafe_places, "src/tree/mod.rs", "#![forbid(unsafe_code)]"), 0);
    }

    #[test]
    fn text_can_fail() {
        let wide = "x".repeat(101);
        for line in ["caf\u{e9}", "\tindented", "space ", &wide] {
            assert_eq!(count(text, "src/error.rs", line), 1, "{line:?}");
        }
        assert_eq!(count(text, "src/error.rs", &"x".repeat(100)), 0);
    }

    #[test]
    fn lengths_can_fail() {
        assert_eq!(count(file_length, "src/error.rs", &"\n".repeat(801)), 1);
        assert_eq!(count(file_length, "src/error.rs", &"\n".repeat(800)), 0);

        let function = |lines: usize| format!("fn f() {{{}}}\nfn g();", "\n".repeat(lines - 1));
        let test = |lines: usize| format!("#[cfg(test)] mod tests {{ {} }}", function(lines));
        assert_eq!(count(function_length, "src/error.rs", &function(71)), 1);
        assert_eq!(count(function_length, "src/error.rs", &function(70)), 0);
        assert_eq!(count(function_length, "src/error.rs", &test(121)), 1);
        assert_eq!(count(function_length, "src/error.rs", &test(120)), 0);
        assert_eq!(count(function_length, "src/error.rs", "let f: fn() = g; {\n}"), 0);
    }

    #[test]
    fn banned_can_fail() {
        let note = concat!("// TO", "DO: later");
        for text in [note, "todo!()", "dbg!(x)", "#[ignore]", "println!()", "f(); eprintln!()"] {
            assert_eq!(count(banned, "src/error.rs", text), 1, "{text}");
        }
        assert_eq!(count(banned, "src/bin/efscrypt.rs", "println!()"), 0);
        assert_eq!(count(banned, "src/bin/efscrypt.rs", "dbg!()"), 1);
        assert_eq!(count(banned, "src/error.rs", "\"println!\" writeln!()"), 0);
        assert_eq!(count(banned, "src/error.rs", "#[allow(dead_code)] fn f() {}"), 1);
    }
}
