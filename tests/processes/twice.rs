//! One store by two names: a loop device and its file, two loop devices, two nodes of one device.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use efscrypt::ErrorKind;
use efscrypt::device::FileDevice;

use crate::bench::Bench;
use crate::mount::Loop;

fn kind(path: &Path, read_only: bool) -> Option<ErrorKind> {
    FileDevice::open(path, read_only).err().map(|error| error.kind())
}

fn losetup(args: &[&str]) -> String {
    let output = Command::new("losetup").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_loop_device_and_its_file_are_one_store() {
    let Some(device) = Loop::new(48 << 20) else { return };
    let (bench, image) = (Bench::new(), device.image());
    let in_use = Some(ErrorKind::InUse);
    let store = bench.create(&device.device);
    for read_only in [false, true] {
        assert_eq!(kind(&device.device, read_only), in_use, "the device itself");
        // The lock on the file keeps readers away too.
        assert_eq!(kind(&image, read_only), in_use, "its file");
        let two = losetup(&["--find", "--show", image.to_str().unwrap()]);
        assert_eq!(kind(Path::new(&two), read_only), in_use, "another loop device");
        losetup(&["--detach", &two]);
    }
    let node = device.image().with_file_name("node");
    let rdev = std::fs::metadata(&device.device).unwrap().rdev();
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let numbers = ["b".to_owned(), major.to_string(), minor.to_string()];
    assert!(Command::new("mknod").arg(&node).args(numbers).status().unwrap().success());
    assert_eq!(kind(&node, false), in_use, "another node");
    store.close().unwrap();

    // Nobody has it open, but the file must not be written below the device.
    let error = FileDevice::open(&image, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert!(error.to_string().contains(device.device.to_str().unwrap()), "{error}");
    assert_eq!(kind(&image, true), None);
    assert_eq!(kind(&device.device, false), None);
    bench.ok(&["check", device.device.to_str().unwrap(), "--quiet"]);
}

#[test]
fn a_file_that_is_open_is_no_loop_device_for_others() {
    let Some(device) = Loop::new(8 << 20) else { return };
    let path = device.image().with_file_name("store");
    let open = FileDevice::create(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
    let name = losetup(&["--find", "--show", path.to_str().unwrap()]);
    assert_eq!(kind(Path::new(&name), false), Some(ErrorKind::InUse));
    drop(open);
    assert_eq!(kind(Path::new(&name), false), None);
    losetup(&["--detach", &name]);
    assert_eq!(kind(&path, false), None);
}
