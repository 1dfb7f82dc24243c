//! Rules of the source tree that no compiler checks: which module may import which, how long
//! files and functions may be, what may not be written, which crates may not be depended on, and
//! that what the threat model promises is tested.
//!
//! Each rule is a function from a [`source::Source`] to findings, and has tests of its own that
//! show it failing. The tests below run all of them over the tree.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that it could not look")]

mod claims;
mod lock;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust sources below these directories of the package.
fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = dirs.iter().map(|dir| root().join(dir)).collect();
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn check(sources: &[Source], rule: fn(&Source) -> Vec<String>) {
    assert!(!sources.is_empty(), "no sources found");
    let findings: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Everything that is held to the rules of text.
const ALL: &[&str] = &["src", "tests", "examples", "benches"];

#[test]
fn imports_go_one_way() {
    check(&sources(&["src"]), rules::imports);
}

#[test]
fn the_crate_root_stays_out_of_reach_of_super() {
    check(&sources(&["src"]), rules::supers);
}

#[test]
fn modules_stand_in_layer_order() {
    let root: Vec<_> = sources(&["src"]).into_iter().filter(|s| s.path == "src/lib.rs").collect();
    check(&root, rules::module_order);
}

#[test]
fn the_format_does_no_io() {
    check(&sources(&["src"]), rules::format_without_io);
}

#[test]
fn unsafe_code_lives_where_it_is_allowed() {
    check(&sources(&["src"]), rules::unsafe_places);
}

#[test]
fn text_is_ascii_and_narrow() {
    check(&sources(ALL), rules::text);
}

#[test]
fn files_are_short() {
    check(&sources(ALL), rules::file_length);
}

#[test]
fn functions_are_short() {
    check(&sources(ALL), rules::function_length);
}

#[test]
fn banned_words_are_absent() {
    check(&sources(ALL), rules::banned);
}

#[test]
fn dependencies_do_no_networking() {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock = lock::Lock::parse(&text);
    let core = lock.reachable("efscrypt");
    assert!(core.contains("aes"), "the lock file was not understood");
    assert_eq!(lock::banned(&core), Vec::<String>::new());
    assert_eq!(lock.foreign(), Vec::<String>::new());

    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    for name in lock::BANNED {
        assert!(deny.contains(&format!("\"{name}\",")), "deny.toml does not ban {name}");
    }
}

#[test]
fn promises_name_tests_that_exist() {
    let document = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let claims = claims::claims(&document);
    assert!(claims.len() > 30, "the tables of promises were not understood");
    let mut findings = Vec::new();
    for claim in &claims {
        if claim.tests.is_empty() {
            findings.push(format!("docs/threat-model.md:{}: no test", claim.line));
        }
        for (path, name) in &claim.tests {
            let source = fs::read_to_string(root().join(path)).unwrap_or_default();
            if !claims::has_test(&source, name) {
                findings.push(format!("docs/threat-model.md:{}: no {path}::{name}", claim.line));
            }
        }
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
