//! Set-ID bits, where somebody changes a file: as on the disk.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::bed::Bed;

const OWNER: u32 = 4_001;
const GROUP: u32 = 4_002;

/// Who changes the file, as options of `setpriv`.
const CALLERS: [(&str, &[&str]); 6] = [
    ("root", &[]),
    ("root without CAP_FSETID", &["--bounding-set=-fsetid", "--inh-caps=-fsetid"]),
    ("the owner, out of the group", &["--reuid=4001", "--regid=4001", "--clear-groups"]),
    ("the owner, also in the group", &["--reuid=4001", "--regid=4001", "--groups=4003,4002"]),
    ("somebody", &["--reuid=4009", "--regid=4009", "--clear-groups"]),
    ("somebody of the group", &["--reuid=4009", "--regid=4002", "--clear-groups"]),
];

/// What they do to it, as a command of a shell.
const CHANGES: [&str; 7] = [
    "printf x >> f",
    ": > f",
    "truncate -s 5 f",
    "truncate -s 9 f",
    "fallocate -l 20000 f",
    "fallocate -p -o 0 -l 4096 f",
    "chgrp 4001 f",
];

const MODES: [u32; 4] = [0o2666, 0o2676, 0o6646, 0o4777];

/// The mode of a file after a caller did something to it; `None` where that failed.
fn after(dir: &Path, caller: &[&str], change: &str, mode: u32) -> Option<u32> {
    let file = dir.join("f");
    let _none = fs::remove_file(&file);
    fs::write(&file, b"text\n").unwrap();
    chown(&file, Some(OWNER), Some(GROUP)).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(caller).args(["sh", "-c", change]).current_dir(dir);
    let output = command.output().unwrap();
    output.status.success().then(|| fs::metadata(&file).unwrap().mode() & 0o7777)
}

fn octal(mode: Option<u32>) -> String {
    mode.map_or("a failure".to_owned(), |mode| format!("{mode:o}"))
}

#[test]
fn set_id_bits_go_as_on_the_disk() {
    let Some(bed) = Bed::new() else { return };
    if Command::new("setpriv").arg("true").status().is_err() {
        eprintln!("NOT CHECKED: no setpriv");
        return;
    }
    let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    let disk = bed.path("disk");
    fs::create_dir(&disk).unwrap();
    open(&bed.path("."));
    open(&disk);
    let mut want = HashMap::new();
    let options = [(&["--allow-other"][..], true), (&["--allow-other", "--write-back"], false)];
    for (args, first) in options {
        let mounted = bed.mount(args);
        open(mounted.root());
        let mut differ = Vec::new();
        for (who, caller) in CALLERS {
            for change in CHANGES {
                let modes = if first { &MODES[..] } else { &MODES[..1] };
                for mode in modes {
                    let case = (who, change, *mode);
                    if first {
                        want.insert(case, after(&disk, caller, change, *mode));
                    }
                    let (have, want) = (after(mounted.root(), caller, change, *mode), want[&case]);
                    if have != want {
                        differ.push(format!("{case:?}: {}, not {}", octal(have), octal(want)));
                    }
                }
            }
        }
        assert!(differ.is_empty(), "{args:?}:\n{}", differ.join("\n"));
        mounted.end();
        bed.check();
    }
}
