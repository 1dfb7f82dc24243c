//! A thread with descriptors of its own: the same number is another file there, and the rest of the
//! process has nothing to do with its store.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "unshare has no safe form")]

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::Barrier;

use efscrypt::device::{Device, FileDevice};

#[test]
fn a_store_of_a_thread_is_written_to_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let (own, victim) = (dir.path().join("own"), dir.path().join("victim"));
    fs::write(&victim, [7; 1 << 20]).unwrap();
    let (apart, taken) = (Barrier::new(2), Barrier::new(2));
    let number = std::sync::atomic::AtomicI32::new(-1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: this thread uses no descriptor that was opened before.
            let alone = unsafe { libc::unshare(libc::CLONE_FILES) } == 0;
            assert!(alone, "the process may not have threads of that kind");
            // The number that its next file gets, which the others give to another file.
            let next = File::open("/dev/null").unwrap().as_raw_fd();
            number.store(next, std::sync::atomic::Ordering::SeqCst);
            apart.wait();
            taken.wait();
            let device = FileDevice::create(&own).unwrap();
            device.allocate(0, 1 << 20).unwrap();
            // Many flushes at once, so that the device writes around the cache where it can.
            (0..8).for_each(|_| device.flush().unwrap());
            device.write_through(0, &[9; 4096]).unwrap();
            device.flush().unwrap();
        });
        apart.wait();
        let wanted = number.load(std::sync::atomic::Ordering::SeqCst);
        let mut files = Vec::new();
        while files.last().is_none_or(|file: &File| file.as_raw_fd() < wanted) {
            files.push(OpenOptions::new().read(true).write(true).open(&victim).unwrap());
        }
        taken.wait();
    });
    assert_eq!(fs::read(&own).unwrap()[..4096], [9; 4096]);
    assert!(fs::read(&victim).unwrap().iter().all(|byte| *byte == 7), "it wrote to another file");
}
