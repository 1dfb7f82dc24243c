//! Contents that stand in pieces: large writes find long runs, and a file can be defragmented.

use std::sync::Arc;

use efscrypt::device::sim::{FaultPlan, Rng, SimDevice};
use efscrypt::device::{Device, MemoryDevice};
use efscrypt::fs::{FileSystem, ROOT_INO};

use crate::bed::{assert_clean, create, make, open, pattern};

const MIB: u64 = 1 << 20;

/// Reads a file in order; returns its bytes, and the device's reads for each MiB.
fn read(fs: &FileSystem, device: &SimDevice, ino: u64) -> (Vec<u8>, u64) {
    let size = fs.getattr(ino).unwrap().size;
    let mut bytes = vec![0; size as usize];
    // Nodes are in memory after the first time.
    fs.read(ino, 0, &mut bytes).unwrap();
    let before = device.counters().reads;
    for (n, part) in bytes.chunks_mut(MIB as usize).enumerate() {
        fs.read(ino, n as u64 * MIB, part).unwrap();
    }
    let reads = device.counters().reads - before;
    (bytes, reads.div_ceil(size.div_ceil(MIB)))
}

/// A file of so many MiB of which units were written in no order, several times over, with a
/// checkpoint after so many.
fn shuffled(fs: &FileSystem, mib: u64, every: u64) -> (u64, Vec<u8>) {
    let ino = make(fs, ROOT_INO, b"f");
    let mut bytes = pattern(1, (mib * MIB) as usize);
    for n in 0..mib {
        let at = (n * MIB) as usize;
        fs.write(ino, n * MIB, &bytes[at..at + MIB as usize]).unwrap();
    }
    let mut rng = Rng::new(5);
    for n in 0..mib * 256 * 3 {
        let (at, unit) = (rng.below(mib * 256) as usize * 4096, pattern(n, 4096));
        fs.write(ino, at as u64, &unit).unwrap();
        bytes[at..at + 4096].copy_from_slice(&unit);
        if n % every == 0 {
            fs.engine().checkpoint().unwrap();
        }
    }
    fs.sync().unwrap();
    (ino, bytes)
}

fn rewrite(fs: &FileSystem, ino: u64, mib: u64) {
    for n in 0..mib {
        fs.write(ino, n * MIB, &pattern(n + 7, MIB as usize)).unwrap();
    }
}

#[test]
fn a_rewrite_in_order_stands_in_order() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let (ino, bytes) = shuffled(&fs, 24, u64::MAX);
    let (now, scattered) = read(&fs, &device, ino);
    assert!(now == bytes && scattered > 100, "{scattered} reads a MiB");
    rewrite(&fs, ino, 24);
    let (_, reads) = read(&fs, &device, ino);
    assert!(reads <= 12, "{reads} reads a MiB");
    assert_clean(&fs, "written again");
}

/// On a device that cannot grow, with a third of it free: small writes left the long runs alone.
#[test]
fn small_writes_leave_long_runs_on_a_full_device() {
    let device = Arc::new(SimDevice::new(MemoryDevice::fixed(76 * MIB), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let (ino, _) = shuffled(&fs, 24, 512);
    let other = make(&fs, ROOT_INO, b"other");
    rewrite(&fs, other, 20);
    let (_, reads) = read(&fs, &device, other);
    assert!(reads <= 8, "{reads} reads a MiB");
    rewrite(&fs, ino, 24);
    assert_clean(&fs, "written again");
}

#[test]
fn defragmenting_puts_contents_together_and_changes_nothing_else() {
    let device = Arc::new(SimDevice::recording(MemoryDevice::new(), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let (ino, mut bytes) = shuffled(&fs, 6, u64::MAX);
    // A hole, and an end within a unit.
    fs.punch_hole(ino, 2 * MIB + 4096, 300_000).unwrap();
    bytes[(2 * MIB + 4096) as usize..][..300_000].fill(0);
    fs.write(ino, 6 * MIB, &[7; 100]).unwrap();
    bytes.extend_from_slice(&[7; 100]);
    fs.sync().unwrap();
    let (attr, from) = (fs.getattr(ino).unwrap(), device.steps());
    let (mut next, mut before, mut after, mut moved) = (Some(0), 0, 0, 0);
    while let Some(at) = next {
        let done = fs.defragment(ino, at).unwrap();
        (next, before, after, moved) =
            (done.next, before + done.before, after + done.after, moved + done.moved);
    }
    assert!(before > 600 && after <= 32 && moved > 5 * MIB, "{before} {after} {moved}");
    assert_eq!(fs.getattr(ino).unwrap(), attr);
    let (now, reads) = read(&fs, &device, ino);
    assert!(now == bytes && reads <= 6, "{reads} reads a MiB");
    // Nothing is left to gain.
    assert_eq!(fs.defragment(ino, 0).unwrap().moved, 0);
    assert_clean(&fs, "defragmented");
    fs.sync().unwrap();
    let (to, recording) = (device.steps(), device.take_recording());
    drop(fs);
    for step in (from..=to).step_by(((to - from) / 12).max(1) as usize) {
        let fs = open(recording.crash_image(step, 1), 9);
        let mut kept = vec![0; bytes.len()];
        fs.read(ino, 0, &mut kept).unwrap();
        assert!(kept == bytes, "step {step}");
        assert_clean(&fs, "after a crash");
    }
}

#[test]
fn what_does_not_gain_stays() {
    let device = Arc::new(SimDevice::new(MemoryDevice::fixed(40 * MIB), FaultPlan::new(1)));
    let fs = create(device.clone(), 1);
    let ino = make(&fs, ROOT_INO, b"f");
    rewrite(&fs, ino, 8);
    let done = fs.defragment(ino, 0).unwrap();
    assert_eq!((done.next, done.moved), (None, 0));
    // Small contents, a hole, nothing at all.
    let small = make(&fs, ROOT_INO, b"small");
    for (at, len) in [(0, 0), (0, 10), (50 * MIB, 10)] {
        fs.write(small, at, &pattern(1, len)).unwrap();
        assert_eq!(fs.defragment(small, 0).unwrap().moved, 0);
    }
    assert!(fs.defragment(ROOT_INO, 0).is_err());
    let before = device.len().unwrap();
    assert_eq!(fs.defragment(ino, u64::MAX).unwrap().next, None);
    assert_eq!(device.len().unwrap(), before);
}
