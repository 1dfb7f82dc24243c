//! Access control lists on the way into a store and out again: kept as they are, and never more
//! rights than the source gave where they are not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use efscrypt::fs::{Acl, AclEntry, AclKind, AclTag, NewAttr};
use rustix::fs::XattrFlags;

use crate::bench::{Bench, failure};
use crate::tree::set_mode;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// `user::rw-`, a user with these rights, `group::` and `other::` with these, `mask::rw-`.
fn list(user: u8, group: u8, other: u8) -> Acl {
    let entry = |tag, perm| AclEntry { tag, perm };
    let entries = vec![
        entry(AclTag::UserObj, 6),
        entry(AclTag::User(60_001), user),
        entry(AclTag::GroupObj, group),
        entry(AclTag::Mask, 6),
        entry(AclTag::Other, other),
    ];
    Acl::new(entries).unwrap()
}

fn set(path: &Path, name: &str, list: &Acl) -> bool {
    match rustix::fs::setxattr(path, name, &list.to_xattr(), XattrFlags::empty()) {
        Ok(()) => true,
        Err(rustix::io::Errno::OPNOTSUPP) => {
            eprintln!("NOT CHECKED: the file system has no access control lists");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 65_536];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A directory `in` with files, of which `f` has a list; `None` where there are none.
fn source(bench: &Bench) -> Option<()> {
    fs::create_dir_all(bench.path("in/d")).unwrap();
    for name in ["in/f", "in/large", "in/plain", "in/d/below"] {
        fs::write(bench.path(name), vec![7; if name == "in/large" { 9_000 } else { 5 }]).unwrap();
        set_mode(&bench.path(name), 0o664);
    }
    let there = set(&bench.path("in/f"), ACCESS, &list(6, 0, 4))
        && set(&bench.path("in/large"), ACCESS, &list(0, 4, 6))
        && set(&bench.path("in/d"), ACCESS, &list(7, 5, 5))
        && set(&bench.path("in/d"), DEFAULT, &list(7, 7, 0));
    set_mode(&bench.path("in/f"), 0o2664);
    set_mode(&bench.path("in/d"), 0o765);
    there.then_some(())
}

#[test]
fn lists_are_kept_both_ways() {
    let bench = Bench::with_store();
    let Some(()) = source(&bench) else { return };
    bench.ok(&["import", "s", "in", "--verify"]);
    let again = bench.json(&["import", "s", "in", "--verify"]);
    assert_eq!(again["unchanged"], 4, "{again}");
    bench.ok(&["export", "s", "out", "--verify"]);
    for name in ["f", "large", "plain", "d", "d/below"] {
        let (from, to) = (bench.path("in").join(name), bench.path("out").join(name));
        assert_eq!(mode(&to), mode(&from), "{name}");
        for list in [ACCESS, DEFAULT] {
            assert_eq!(get(&to, list), get(&from, list), "{name}");
        }
    }
    let shown = bench.ok(&["ls", "-l", "s"]);
    let line = |name: &str| shown.lines().find(|line| line.ends_with(name)).unwrap().to_owned();
    assert!(line(" f").starts_with("-rw-rwSr--+ "), "{shown}");
    assert!(line(" plain").starts_with("-rw-rw-r--  "), "{shown}");
    assert!(line(" d").starts_with("drw"), "{shown}");
    // A list that goes in the source goes in the store, and the other way round.
    rustix::fs::removexattr(bench.path("in/f"), ACCESS).unwrap();
    set_mode(&bench.path("in/f"), 0o640);
    assert!(set(&bench.path("in/plain"), ACCESS, &list(4, 0, 0)));
    bench.ok(&["import", "s", "in", "--verify"]);
    bench.ok(&["export", "s", "out", "--overwrite", "--verify"]);
    assert_eq!((get(&bench.path("out/f"), ACCESS), mode(&bench.path("out/f"))), (None, 0o640));
    assert_eq!(get(&bench.path("out/plain"), ACCESS), Some(list(4, 0, 0).to_xattr()));
}

#[test]
fn without_lists_nobody_gets_more() {
    let bench = Bench::with_store();
    let Some(()) = source(&bench) else { return };
    let output = bench.command(&["import", "s", "in", "--no-xattrs", "--verify"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("in/f: its access control list") && !said.contains("plain"), "{said}");
    let store = bench.open("s");
    let fs = store.file_system();
    let found = |path: &[u8]| fs.at(path).unwrap();
    // `f`: the group had nothing. `large`: a user was denied who would be one of the others now.
    for (path, mode) in [(&b"f"[..], 0o2604), (b"large", 0o600), (b"plain", 0o664), (b"d", 0o744)] {
        assert_eq!(found(path).mode, mode, "{}", String::from_utf8_lossy(path));
        assert!(fs.list_xattrs(found(path).ino).unwrap().is_empty());
    }
    store.close().unwrap();
    // With them, and then without again: the list of the store goes, and no right comes.
    bench.ok(&["import", "s", "in"]);
    bench.ok(&["export", "s", "out", "--verify"]);
    bench.ok(&["export", "s", "bare", "--no-xattrs", "--verify"]);
    bench.ok(&["export", "s", "out", "--overwrite", "--no-xattrs", "--verify"]);
    bench.ok(&["import", "s", "in", "--no-xattrs", "--verify"]);
    for out in ["out", "bare"] {
        for (name, want) in [("f", 0o2604), ("large", 0o600), ("plain", 0o664)] {
            let path = bench.path(out).join(name);
            // Who is not root gives no set-group-ID bit away.
            assert_eq!(mode(&path) & !0o2000, want & !0o2000, "{out}/{name}");
            assert_eq!(get(&path, ACCESS), None, "{out}/{name}");
        }
    }
    let store = bench.open("s");
    let fs = store.file_system();
    let f = fs.at(b"f").unwrap();
    assert_eq!((f.mode, fs.get_acl(f.ino, AclKind::Access).unwrap()), (0o2604, None));
    store.close().unwrap();
}

#[test]
fn a_directory_of_the_destination_gives_nothing_to_what_is_copied() {
    let bench = Bench::with_store();
    let Some(()) = source(&bench) else { return };
    rustix::fs::removexattr(bench.path("in/d"), DEFAULT).unwrap();
    let store = bench.open("s");
    let fs = store.file_system();
    let to = fs.mkdir_all(b"to", &NewAttr { mode: 0o755, ..NewAttr::default() }).unwrap().ino;
    fs.set_acl(to, AclKind::Default, Some(&list(7, 7, 7))).unwrap();
    store.close().unwrap();
    fs::create_dir_all(bench.path("out")).unwrap();
    assert!(set(&bench.path("out"), DEFAULT, &list(7, 7, 7)));
    for more in [&[][..], &["--no-xattrs"]] {
        bench.ok(&[&["import", "s", "in", "/to", "--verify"], more].concat());
        let (from, all) = (["--from", "/to"], ["--overwrite", "--verify"]);
        bench.ok(&[&["export", "s", "out"], &from[..], &all, more].concat());
        let store = bench.open("s");
        let fs = store.file_system();
        for name in ["plain", "d/below"] {
            let attr = fs.at(format!("to/{name}").as_bytes()).unwrap();
            assert_eq!((attr.mode, fs.list_xattrs(attr.ino).unwrap().len()), (0o664, 0), "{name}");
            let path = bench.path("out").join(name);
            assert_eq!((mode(&path), get(&path, ACCESS)), (0o664, None), "{name}");
        }
        store.close().unwrap();
    }
}

#[test]
fn a_destination_without_lists_gets_no_more_rights() {
    let bench = Bench::with_store();
    let Some(()) = source(&bench) else { return };
    bench.ok(&["import", "s", "in"]);
    let place = bench.path("ram");
    fs::create_dir(&place).unwrap();
    let mounted = Command::new("mount").args(["-t", "ramfs", "none"]).arg(&place).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT CHECKED: only root can mount a file system without lists");
        return;
    }
    let (code, said) = failure(bench.command(&["export", "s", "ram/out"]).output().unwrap());
    let modes = ["f", "large", "plain", "d"].map(|name| mode(&place.join("out").join(name)));
    let contents = fs::read(place.join("out/f")).unwrap();
    let gone = Command::new("umount").arg("-l").arg(&place).status().unwrap();
    assert!(gone.success());
    assert_eq!(code, 97, "{said}");
    assert!(said.contains("fewer permissions") && said.contains("out/f"), "{said}");
    assert_eq!(modes, [0o2604, 0o600, 0o664, 0o744]);
    assert_eq!(contents, [7; 5]);
}

#[test]
fn a_list_that_no_store_takes_is_told_and_leaves_the_owner_alone() {
    let bench = Bench::with_store();
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/f"), "text").unwrap();
    let mut value = 2u32.to_le_bytes().to_vec();
    let mut entry = |tag: u16, perm: u16, id: u32| {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    };
    entry(1, 6, u32::MAX);
    (0..600).for_each(|n| entry(2, 6, n));
    [(4, 6), (16, 6), (32, 6)].iter().for_each(|(tag, perm)| entry(*tag, *perm, u32::MAX));
    // Few file systems take one that long.
    if rustix::fs::setxattr(bench.path("in/f"), ACCESS, &value, XattrFlags::empty()).is_err() {
        eprintln!("NOT CHECKED: the file system takes no list of that length");
        return;
    }
    let (code, said) = bench.fail(&["import", "s", "in"]);
    assert_eq!(code, 97, "{said}");
    assert!(said.contains("511 entries") && said.contains("in/f"), "{said}");
    let store = bench.open("s");
    assert_eq!(store.file_system().at(b"f").unwrap().mode, 0o600);
    store.close().unwrap();
    assert_eq!(fs::metadata(bench.path("in/f")).unwrap().mode() & 0o777, 0o666);
}
