//! Access control lists through the mount, beside a file system of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::bed::{Bed, pattern};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A seeded source of small numbers.
struct Dice(Vec<u8>, usize);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.1 += 1;
        u32::from(self.0[self.1 % self.0.len()]) % bound
    }
}

/// A list as programs set it, mostly a valid one.
fn list(dice: &mut Dice) -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    let mut entry = |tag: u16, perm: u32, id: u32| {
        value.extend(tag.to_le_bytes());
        value.extend((perm as u16).to_le_bytes());
        value.extend(id.to_le_bytes());
    };
    let (users, groups) = (dice.below(3), dice.below(3));
    entry(1, dice.below(8), u32::MAX);
    (0..users).for_each(|n| entry(2, dice.below(8), 60_001 + n));
    entry(4, dice.below(8), u32::MAX);
    (0..groups).for_each(|n| entry(8, dice.below(8), 60_011 + n));
    if users + groups > 0 && dice.below(20) > 0 || dice.below(3) == 0 {
        // A mask of nothing is left out: there the kernel does not look at the list at all.
        entry(16, 1 + dice.below(7), u32::MAX);
    }
    entry(32, dice.below(8), u32::MAX);
    value
}

/// Mode, owner and group, and the attributes with their values.
type About = (u32, u32, u32, Vec<Vec<u8>>);

/// Everything below a directory; names that are listed can be read.
fn seen(root: &Path) -> BTreeMap<String, About> {
    let mut found = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    paths.extend(fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()));
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut names = vec![0; 4096];
        let len = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
        let mut names: Vec<&[u8]> = names[..len].split(|byte| *byte == 0).collect();
        names.sort_unstable();
        let value = |name: &[u8]| {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
            [name, &value[..len]].concat()
        };
        let values = names.iter().filter(|name| !name.is_empty()).map(|name| value(name));
        let about = (meta.mode(), meta.uid(), meta.gid(), values.collect());
        found.insert(path.strip_prefix(root).unwrap().display().to_string(), about);
    }
    found
}

/// What some users may do to everything in a directory.
fn granted(root: &Path) -> String {
    let script = "cd \"$0\" && for f in *; do for r in r w x; do \
                  test -$r \"$f\" && echo \"$f $r\"; done; done; true";
    let mut all = String::new();
    for (uid, gid, groups) in [
        ("60001", "60099", ""),
        ("60002", "60011", ""),
        ("60003", "60099", "60011,60012"),
        ("60004", "60098", "60012"),
        ("60005", "60005", "60006"),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--regid", gid]);
        match groups {
            "" => command.arg("--clear-groups"),
            groups => command.args(["--groups", groups]),
        };
        let output = command.args(["sh", "-c", script]).arg(root).output().unwrap();
        all += &format!("{uid}: {}", String::from_utf8(output.stdout).unwrap());
    }
    all
}

/// Does one and the same thing in a directory.
fn act(root: &Path, seed: u64) -> Result<(), Errno> {
    let mut dice = Dice(pattern(seed, 300), 0);
    let name = |dice: &mut Dice| root.join(format!("n{}", dice.below(6)));
    let path = name(&mut dice);
    let none = XattrFlags::empty();
    match dice.below(9) {
        0 | 1 => {
            let (umask, what) = (dice.below(8), dice.below(3));
            let make = ["mkdir -m 0777", "mkfifo", ": >"];
            let make = if what == 0 { "mkdir" } else { make[what as usize] };
            let script = format!("umask 0{umask}{umask}; [ -e \"$0\" ] || {make} \"$0\"");
            assert!(
                Command::new("sh").args(["-c", &script]).arg(&path).status().unwrap().success()
            );
            Ok(())
        }
        2 => rustix::fs::setxattr(root, DEFAULT, &list(&mut dice), none),
        3 => rustix::fs::setxattr(&path, ACCESS, &list(&mut dice), none),
        4 => rustix::fs::setxattr(&path, DEFAULT, &list(&mut dice), none),
        5 => {
            let mode = fs::Permissions::from_mode(dice.below(8) << 9 | dice.below(64) << 3 | 0o074);
            let _missing = fs::set_permissions(&path, mode);
            Ok(())
        }
        6 => {
            let (uid, gid) = (60_001 + dice.below(4), 60_011 + dice.below(3));
            let _missing = chown(&path, Some(uid), Some(gid));
            Ok(())
        }
        7 => rustix::fs::removexattr(&path, [ACCESS, DEFAULT][dice.below(2) as usize]),
        _ => {
            let to = name(&mut dice);
            let _other_kind = fs::rename(&path, to);
            Ok(())
        }
    }
}

#[test]
fn lists_are_those_of_a_file_system_of_the_machine() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&["--allow-other"]);
    let (ours, theirs) = (mounted.path("t"), bed.path("plain"));
    // Everybody may come here.
    for path in [bed.path(""), mounted.root().to_owned()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for root in [&ours, &theirs] {
        fs::create_dir(root).unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let first = list(&mut Dice(vec![1], 0));
    if rustix::fs::setxattr(&theirs, DEFAULT, &first, XattrFlags::empty()).is_err() {
        return eprintln!("NOT CHECKED: the file system beside has no access control lists");
    }
    rustix::fs::setxattr(&ours, DEFAULT, &first, XattrFlags::empty()).unwrap();
    for seed in 0..400 {
        let (have, want) = (act(&ours, seed), act(&theirs, seed));
        assert_eq!(have, want, "{seed}");
        assert_eq!(seen(&ours), seen(&theirs), "{seed}");
        if seed % 20 == 19 {
            assert_eq!(granted(&ours), granted(&theirs), "{seed}");
        }
    }
    let before = seen(&ours);
    mounted.end();
    bed.check();
    let mounted = bed.mount(&["--allow-other"]);
    assert_eq!(seen(&mounted.path("t")), before);
    assert_eq!(granted(&mounted.path("t")), granted(&theirs));
    mounted.end();
}

#[test]
fn what_is_listed_can_be_read() {
    let Some(bed) = Bed::new() else { return };
    let store = bed.store();
    let fs = store.file_system();
    let new = efscrypt::fs::NewAttr { mode: 0o644, ..Default::default() };
    let file = fs.create(1, b"f", &new, efscrypt::fs::CreateMode::Guarded).unwrap().attr.ino;
    let pipe = fs.mknod(1, b"p", efscrypt::fs::FileType::Fifo, 0, &new).unwrap().attr.ino;
    let link = fs.symlink(1, b"l", b"f", &new).unwrap().attr.ino;
    let names = ["user.a", "trusted.a", "security.a", "system.nfs4_acl", "system.richacl", "odd"];
    for ino in [file, pipe, link] {
        for name in names {
            let either = efscrypt::fs::XattrMode::Either;
            fs.set_xattr(ino, name.as_bytes(), b"value", either).unwrap();
        }
    }
    store.close().unwrap();
    let mounted = bed.mount(&[]);
    // It fails where a name that is listed cannot be read.
    let seen = seen(mounted.root());
    assert_eq!((seen["f"].3.len(), seen["p"].3.len(), seen["l"].3.len()), (3, 2, 2));
    mounted.end();
}
