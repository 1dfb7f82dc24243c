//! The C example, compiled against the header and the shared library, as C11 and as C++17, and run.

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

fn compile(compiler: &str, flags: &[&str], out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = library();
    let status = Command::new(compiler)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg(root.join("examples/c/quickstart.c"))
        .arg("-o")
        .arg(out)
        .arg("-L")
        .arg(&library)
        .arg("-lefscrypt")
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .status()
        .unwrap();
    assert!(status.success(), "{compiler} refused the example or the header");
}

#[test]
fn quickstart_compiles_without_warnings_and_runs() {
    let place = tempfile::tempdir().unwrap();
    for (n, (compiler, flags)) in
        [("cc", &["-std=c11"][..]), ("c++", &["-std=c++17", "-x", "c++"])].into_iter().enumerate()
    {
        let program = place.path().join(format!("quickstart{n}"));
        compile(compiler, flags, &program);
        let work = place.path().join(format!("work{n}"));
        std::fs::create_dir(&work).unwrap();
        let output =
            Command::new(&program).arg(&work).env("LD_LIBRARY_PATH", library()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("read back 22 bytes"), "{text}");
    }
}
