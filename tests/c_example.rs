//! C programs, compiled against the header and the shared library, as C11 and as C++17, and run:
//! the example, one that uses every verb, and a caller that does everything wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The shared library that cargo built beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    // The library of this very build stands among the dependencies.
    for folder in [profile.join("deps"), profile.to_owned()] {
        if folder.join("libefscrypt.so").exists() {
            return folder;
        }
    }
    panic!("libefscrypt.so was not built beside {}", test.display());
}

/// Compiles a program of the package.
fn compile(compiler: &str, flags: &[&str], source: &str, out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = library();
    let status = Command::new(compiler)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg(root.join(source))
        .arg("-o")
        .arg(out)
        .arg("-L")
        .arg(&library)
        .arg("-lefscrypt")
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .status()
        .unwrap();
    assert!(status.success(), "{compiler} refused {source} or the header");
}

/// Runs a program, as C and as C++, each in a directory of its own, and returns what it printed.
fn run(source: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let mut printed = Vec::new();
    for (n, (compiler, flags)) in
        [("cc", &["-std=c11"][..]), ("c++", &["-std=c++17", "-x", "c++"])].into_iter().enumerate()
    {
        let program = place.path().join(format!("program{n}"));
        compile(compiler, flags, source, &program);
        let work = place.path().join(format!("work{n}"));
        std::fs::create_dir(&work).unwrap();
        let output =
            Command::new(&program).arg(&work).env("LD_LIBRARY_PATH", library()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        printed.push(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    printed
}

#[test]
fn quickstart_compiles_without_warnings_and_runs() {
    for text in run("examples/c/quickstart.c") {
        assert!(text.contains("read back 22 bytes"), "{text}");
    }
}

#[test]
fn every_verb_works_from_c() {
    for text in run("tests/c/verbs.c") {
        assert!(text.ends_with("all verbs work\n"), "{text}");
    }
}

#[test]
fn a_careless_caller_gets_a_status_and_nothing_else() {
    for text in run("tests/c/careless.c") {
        assert!(text.ends_with("all refused\n"), "{text}");
    }
}
