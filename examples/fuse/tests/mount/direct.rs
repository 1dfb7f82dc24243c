//! Writes around the page cache, beside programs that read through it.

use std::process::Command;

use crate::bed::Bed;

/// What a program does that writes directly, and looks at the file in every other way.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suites/lib/direct.c");

#[test]
fn direct_writes_are_seen_by_all() {
    let Some(bed) = Bed::new() else { return };
    let program = bed.path("direct");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
    let Ok(compiled) = compiler.arg(&program).arg(PROGRAM).status() else {
        eprintln!("NOT CHECKED: no cc");
        return;
    };
    assert!(compiled.success());
    for (seed, args) in [&[][..], &["--write-back", "--allow-other"]].iter().enumerate() {
        let mounted = bed.mount(args);
        let mut direct = Command::new(&program);
        direct.arg(mounted.root()).args(["3", &seed.to_string()]);
        let output = direct.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}{failed}");
        mounted.end();
        bed.check();
    }
}
