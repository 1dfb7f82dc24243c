//! Whiteouts, and an overlay of file systems whose upper layer is a store.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, RenameFlags, getxattr, renameat_with};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::bed::{Bed, Mounted};

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

#[test]
fn renames_leave_whiteouts() {
    let Some(bed) = Bed::new() else { return };
    let mounted = bed.mount(&[]);
    let (a, b, c) = (mounted.path("a"), mounted.path("b"), mounted.path("c"));
    let rename = |from: &Path, to: &Path, flags| renameat_with(CWD, from, CWD, to, flags);
    let leave = RenameFlags::WHITEOUT;
    fs::write(&a, b"text").unwrap();
    assert_eq!(rename(&a, &b, leave | RenameFlags::EXCHANGE), Err(Errno::INVAL));
    rename(&a, &b, leave | RenameFlags::NOREPLACE).unwrap();
    assert!(is_whiteout(&a) && fs::read(&b).unwrap() == b"text");
    let stat = fs::symlink_metadata(&a).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.nlink()), (0, 0, 1));
    fs::write(&c, b"other").unwrap();
    assert_eq!(rename(&c, &b, leave | RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(rename(&mounted.path("none"), &b, leave), Err(Errno::NOENT));
    rename(&c, &b, leave).unwrap();
    assert!(is_whiteout(&c) && fs::read(&b).unwrap() == b"other");
    fs::create_dir_all(mounted.path("d/e")).unwrap();
    rename(&mounted.path("d/e"), &mounted.path("e"), leave).unwrap();
    assert!(is_whiteout(&mounted.path("d/e")) && mounted.path("e").is_dir());
    assert_eq!(fs::metadata(mounted.path("d")).unwrap().nlink(), 2);
    fs::hard_link(&b, mounted.path("twin")).unwrap();
    rename(&b, &mounted.path("twin"), leave).unwrap();
    assert!(!is_whiteout(&b), "two names of one file: nothing happens");
    mounted.end();
    bed.check();
    let mounted = bed.mount(&["--read-only"]);
    assert!(is_whiteout(&mounted.path("a")) && is_whiteout(&mounted.path("d/e")));
}

/// An overlay, unmounted when it is dropped.
struct Overlay<'m>(&'m Mounted);

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        let _gone = unmount(self.0.path("all"), UnmountFlags::DETACH);
    }
}

#[test]
fn a_store_is_the_upper_layer_of_an_overlay() {
    let Some(bed) = Bed::new() else { return };
    let lower = bed.path("lower");
    for dir in ["full/inner", "kept", "moved"] {
        fs::create_dir_all(lower.join(dir)).unwrap();
        fs::write(lower.join(dir).join("file"), dir).unwrap();
    }
    fs::write(lower.join("gone"), b"x").unwrap();
    fs::write(lower.join("changed"), b"old").unwrap();
    let mounted = bed.mount(&["--dev", "--allow-other"]);
    for dir in ["upper", "work", "all"] {
        fs::create_dir(mounted.path(dir)).unwrap();
    }
    let layers = format!(
        "redirect_dir=on,lowerdir={},upperdir={},workdir={}",
        lower.display(),
        mounted.path("upper").display(),
        mounted.path("work").display()
    );
    let layers = std::ffi::CString::new(layers).unwrap();
    let (all, none) = (mounted.path("all"), MountFlags::empty());
    let over = || mount("overlay", &all, "overlay", none, Some(layers.as_c_str()));
    if let Err(Errno::NODEV) = over() {
        eprintln!("NOT CHECKED: this kernel has no overlays");
        return mounted.end();
    }
    let overlay = Overlay(&mounted);
    let upper = mounted.path("upper");
    fs::remove_file(all.join("gone")).unwrap();
    assert!(is_whiteout(&upper.join("gone")));
    fs::write(all.join("changed"), b"new").unwrap();
    fs::rename(all.join("changed"), all.join("renamed")).unwrap();
    assert!(is_whiteout(&upper.join("changed")));
    fs::rename(all.join("moved"), all.join("elsewhere")).unwrap();
    assert_eq!(fs::read(all.join("elsewhere/file")).unwrap(), b"moved");
    let mut value = [0; 64];
    let len = getxattr(upper.join("elsewhere"), "trusted.overlay.redirect", &mut value[..]);
    assert_eq!(&value[..len.unwrap()], b"moved");
    // One that hides what is below.
    fs::remove_dir_all(all.join("full")).unwrap();
    fs::create_dir(all.join("full")).unwrap();
    assert_eq!(fs::read_dir(all.join("full")).unwrap().count(), 0);
    let len = getxattr(upper.join("full"), "trusted.overlay.opaque", &mut value[..]);
    assert_eq!(&value[..len.unwrap()], b"y");
    fs::write(all.join("fresh"), b"f").unwrap();
    let copied = Command::new("cp").arg("-a").arg(all.join("kept")).arg(all.join("copy")).status();
    assert!(copied.unwrap().success());
    let names = || {
        let names = fs::read_dir(&all).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let want = ["copy", "elsewhere", "fresh", "full", "kept", "renamed"];
    assert_eq!(names(), want);
    drop(overlay);
    over().unwrap();
    let overlay = Overlay(&mounted);
    assert_eq!(names(), want);
    assert_eq!(fs::read(all.join("renamed")).unwrap(), b"new");
    drop(overlay);
    mounted.end();
    bed.check();
}
