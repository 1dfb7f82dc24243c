//! The simulated device against its own model of what a crash may leave.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::{Failure, FaultPlan, Op, OpRecord, Recording, Repeat, Rng, Rot, SimDevice};
use crate::device::{Device, MemoryDevice};

const SECTOR: usize = 512;

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Errno {
    Errno::from_io_error(&result.unwrap_err()).unwrap()
}

fn read(device: &impl Device, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    device.read_at(offset, &mut buf).unwrap();
    buf
}

/// A device whose every byte is 0xff, so that zeros are never its own.
fn base(len: usize) -> MemoryDevice {
    MemoryDevice::from_bytes(&vec![0xff; len])
}

/// Writes of 1 to 8 sectors at any sector of 64 KiB, each of bytes of its own, and flushes.
/// Returns which bytes each step wrote.
fn scribble(device: &SimDevice, seed: u64, steps: usize) -> Vec<Option<(usize, Vec<u8>)>> {
    let mut rng = Rng::new(seed);
    let mut done = Vec::new();
    for _ in 0..steps {
        if rng.one_in(6) {
            let _ = device.flush();
            done.push(None);
            continue;
        }
        let len = (1 + rng.below(8) as usize) * SECTOR;
        let offset = rng.below(((1 << 16) - len) as u64 / 512 + 1) as usize * SECTOR;
        let mut bytes = vec![0; len];
        rng.fill(&mut bytes);
        let half = len / 3;
        let parts = [io::IoSlice::new(&bytes[..half]), io::IoSlice::new(&bytes[half..])];
        let _ = device.write_many(offset as u64, &parts);
        done.push(Some((offset, bytes)));
    }
    done
}

#[test]
fn reads_see_what_is_not_yet_durable() {
    let device = SimDevice::new(base(8192), FaultPlan::new(0));
    device.write_at(1000, b"volatile").unwrap();
    assert_eq!(read(&device, 1000, 8), b"volatile");
    assert_eq!(read(&device.durable_image(), 1000, 8), [0xff; 8]);
    device.flush().unwrap();
    assert_eq!(read(&device.durable_image(), 1000, 8), b"volatile");
    for seed in 0..50 {
        assert_eq!(device.crash_image(seed).to_vec(), device.live_image().to_vec());
    }
}

/// What one sector may hold after a crash: any version since the last flush, and random bytes
/// where there is such a version.
#[test]
fn crash_images_hold_legal_mixes_only() {
    let device = SimDevice::recording(base(1 << 16), FaultPlan::new(0));
    let done = scribble(&device, 42, 60);
    let recording = device.take_recording();
    assert_eq!(recording.steps(), 60);
    let (mut old, mut new, mut garbage) = (0, 0, 0);
    for step in 0..=60 {
        let until = (step + 1).min(done.len());
        let synced = done[..step].iter().rposition(Option::is_none).map_or(0, |at| at + 1);
        let mut durable = vec![0xff; 1 << 16];
        for (offset, bytes) in done[..synced].iter().flatten() {
            durable[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let mut versions: Vec<Vec<&[u8]>> = durable.chunks(SECTOR).map(|s| vec![s]).collect();
        for (offset, bytes) in done[synced..until].iter().flatten() {
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                versions[offset / SECTOR + n].push(sector);
            }
        }
        for seed in 0..40 {
            let image = recording.crash_image(step as u64, seed).to_vec();
            assert_eq!(image.len(), 1 << 16);
            for (sector, versions) in image.chunks(SECTOR).zip(&versions) {
                match versions.iter().position(|version| version == &sector) {
                    Some(0) => old += usize::from(versions.len() > 1),
                    Some(_) => new += 1,
                    None if versions.len() > 1 => garbage += 1,
                    None => panic!("{}", recording.describe(step as u64, seed)),
                }
            }
        }
    }
    assert!(old > 1000 && new > 1000 && garbage > 100, "old {old}, new {new}, garbage {garbage}");
}

#[test]
fn every_fate_occurs() {
    let device = SimDevice::recording(base(8192), FaultPlan::new(0));
    device.write_at(0, &[1; 4096]).unwrap();
    device.write_at(4096, &[2; 4096]).unwrap();
    let recording = device.take_recording();
    let mut images = HashSet::new();
    let mut texts = BTreeSet::new();
    for seed in 0..2000 {
        images.insert(recording.crash_image(2, seed).to_vec());
        texts.extend(recording.describe(2, seed).lines().skip(1).map(str::to_owned));
    }
    let filled = |a: u8, b: u8| [[a; 4096], [b; 4096]].concat();
    for whole in [filled(0xff, 0xff), filled(1, 0xff), filled(0xff, 2), filled(1, 2)] {
        assert!(images.contains(&whole));
    }
    assert!(images.len() > 300, "{} images", images.len());
    let seen = |fate: &str| texts.iter().any(|line| line.contains(fate));
    for fate in ["step 0", "step 1", "kept", "dropped", "sectors nnn", "..", "x"] {
        assert!(seen(fate), "{fate}");
    }
}

#[test]
fn a_power_cut_and_a_recording_agree() {
    let device = SimDevice::recording(base(1 << 16), FaultPlan::new(0));
    scribble(&device, 9, 40);
    let recording = device.take_recording();
    for step in 0..40 {
        let cut = SimDevice::new(base(1 << 16), FaultPlan::new(0).stop_at(step));
        scribble(&cut, 9, 40);
        assert!(cut.stopped());
        assert_eq!(cut.steps(), step + 1);
        for seed in 0..5 {
            let image = cut.crash_image(seed).to_vec();
            assert!(image == recording.crash_image(step, seed).to_vec(), "{step} {seed}");
            assert!(image == cut.crash_image(seed).to_vec(), "the same seed twice");
        }
    }
}

#[test]
fn nothing_works_after_a_power_cut() {
    let device = SimDevice::new(base(4096), FaultPlan::new(0).stop_at(1));
    device.write_at(0, &[1; 512]).unwrap();
    assert_eq!(errno(device.flush()), Errno::IO);
    assert_eq!(errno(device.read_at(0, &mut [0; 1])), Errno::IO);
    assert_eq!(errno(device.write_at(0, &[1])), Errno::IO);
    assert_eq!(errno(device.allocate(0, 1)), Errno::IO);
    assert_eq!(errno(device.discard(0, 1)), Errno::IO);
    device.set_plan(FaultPlan::new(0));
    assert_eq!(errno(device.flush()), Errno::IO);
    let images: HashSet<_> = (0..20).map(|seed| device.crash_image(seed).to_vec()).collect();
    assert!(images.len() > 1, "the flush in flight proves nothing");
}

#[test]
fn a_power_cut_on_a_full_device_leaves_it_as_it_was() {
    let device = SimDevice::new(MemoryDevice::fixed(4096), FaultPlan::new(0).stop_at(0));
    assert_eq!(errno(device.write_at(4096, &[1; 512])), Errno::IO);
    assert!(device.stopped());
    for seed in 0..20 {
        assert_eq!(device.crash_image(seed).to_vec(), [0; 4096]);
    }
}

#[test]
fn growth_is_not_durable_before_a_flush() {
    let device = SimDevice::recording(MemoryDevice::new(), FaultPlan::new(0));
    device.allocate(0, 8192).unwrap();
    device.flush().unwrap();
    device.allocate(8192, 4096).unwrap();
    let recording = device.take_recording();
    let lens = |step| -> BTreeSet<u64> {
        (0..40).map(|seed| recording.crash_image(step, seed).len().unwrap()).collect()
    };
    assert_eq!(lens(0), BTreeSet::from([0, 8192]));
    assert_eq!(lens(1), BTreeSet::from([0, 8192]));
    assert_eq!(lens(2), BTreeSet::from([8192, 12288]));
}

#[test]
fn operations_fail_once_or_for_good() {
    let plan = FaultPlan::new(3)
        .fail(Op::Write, 1, Failure::Io, Repeat::Once)
        .fail(Op::Allocate, 1, Failure::NoSpace, Repeat::Sticky)
        .fail(Op::Read, 0, Failure::Io, Repeat::Once);
    let device = SimDevice::new(base(4096), plan);
    device.write_at(0, b"a").unwrap();
    assert_eq!(errno(device.write_at(0, b"b")), Errno::IO);
    device.write_at(1, b"c").unwrap();
    device.allocate(0, 8192).unwrap();
    assert_eq!(errno(device.allocate(0, 10000)), Errno::NOSPC);
    assert_eq!(errno(device.allocate(0, 10000)), Errno::NOSPC);
    assert_eq!(device.len().unwrap(), 8192);
    assert_eq!(errno(device.read_at(0, &mut [0; 2])), Errno::IO);
    assert_eq!(read(&device, 0, 2), b"ac");
    device.set_plan(FaultPlan::new(0).fail(Op::Discard, 0, Failure::Io, Repeat::Once));
    device.allocate(0, 10000).unwrap();
    assert_eq!(errno(device.discard(0, 4096)), Errno::IO);
    device.discard(0, 4096).unwrap();
}

#[test]
fn a_failed_flush_proves_nothing_and_neither_does_the_next() {
    let mut lost = 0;
    for seed in 0..60 {
        let plan = FaultPlan::new(seed).fail(Op::Flush, 0, Failure::Io, Repeat::Once);
        let device = SimDevice::new(base(8192), plan);
        device.write_at(0, &[1; 4096]).unwrap();
        assert_eq!(errno(device.flush()), Errno::IO);
        device.write_at(4096, &[2; 4096]).unwrap();
        device.flush().unwrap();
        assert_eq!(read(&device, 0, 4096), [1; 4096]);
        let after = device.crash_image(0).to_vec();
        lost += u32::from(after[..4096] != [1; 4096]);
        assert_eq!(after[4096..], [2; 4096]);
    }
    assert!((10..50).contains(&lost), "{lost} of 60");
}

#[test]
fn short_lost_and_misdirected_writes() {
    for seed in 0..40 {
        let plan = FaultPlan::new(seed).short_write(0).lose_write(1).misdirect_write(2);
        let device = SimDevice::new(base(65536), plan);
        assert_eq!(errno(device.write_at(0, &[1; 4096])), Errno::IO);
        let bytes = device.live_image().to_vec();
        let kept = bytes.iter().take_while(|byte| **byte == 1).count();
        assert!(kept < 4096 && bytes[kept..].iter().all(|byte| *byte == 0xff));

        device.write_at(8192, &[2; 4096]).unwrap();
        assert_eq!(device.live_image().to_vec(), bytes);

        device.write_at(12288, &[3; 4096]).unwrap();
        device.flush().unwrap();
        let bytes = device.durable_image().to_vec();
        let landed: Vec<usize> = (0..16).filter(|n| bytes[n * 4096] == 3).collect();
        assert!(landed.len() == 1 && landed != [3], "{landed:?}");
        let at = landed[0] * 4096;
        assert!(bytes[at..at + 4096].iter().all(|byte| *byte == 3));
        assert_eq!(bytes.len(), 65536);
    }
    let alone = SimDevice::new(base(4096), FaultPlan::new(1).misdirect_write(0));
    alone.write_at(0, &[3; 4096]).unwrap();
    assert_eq!(alone.live_image().to_vec(), [0xff; 4096]);
}

#[test]
fn bits_rot_for_one_read_or_for_all() {
    let flips = |bytes: Vec<u8>| bytes.iter().map(|byte| byte.count_zeros()).sum::<u32>();
    let plan = FaultPlan::new(5).rot_read(1, 3, Rot::Transient).rot_read(3, 2, Rot::Lasting);
    let device = SimDevice::new(base(8192), plan);
    let seen: Vec<u32> = (0..6).map(|_| flips(read(&device, 4096, 4096))).collect();
    assert_eq!(seen, [0, 3, 0, 2, 2, 2]);
    assert_eq!(flips(device.crash_image(0).to_vec()), 2);
    device.write_at(4096, &[0xff; 4096]).unwrap();
    assert_eq!(flips(read(&device, 4096, 4096)), 0);

    let tiny = SimDevice::new(base(1), FaultPlan::new(5).rot_read(0, 100, Rot::Transient));
    assert_eq!(read(&tiny, 0, 1), [0]);
}

#[test]
fn a_lying_flush_is_found_out_by_a_crash() {
    let device = SimDevice::recording(base(4096), FaultPlan::new(0).skip_flush(0, Repeat::Sticky));
    device.write_at(0, &[1; 4096]).unwrap();
    device.flush().unwrap();
    let recording = device.take_recording();
    let survived = |seed: &u64| recording.crash_image(2, *seed).to_vec() == [1; 4096];
    let count = (0..100).filter(survived).count();
    assert!((1..99).contains(&count), "{count}");
}

#[test]
fn a_failed_flush_drops_what_it_is_told_and_reads_still_see_it() {
    let plan = FaultPlan::new(0).drop_at_flush(0, 4096..8192);
    let device = SimDevice::recording(base(12_288), plan);
    for at in [0, 4096, 8192] {
        device.write_at(at, &[1; 4096]).unwrap();
    }
    device.flush().unwrap_err();
    assert_eq!(device.live_image().to_vec(), [1; 12_288]);
    // A later flush does not bring it back: nobody has it to write any more.
    device.flush().unwrap();
    let medium = [[1; 4096], [0xff; 4096], [1; 4096]].concat();
    assert_eq!(device.durable_image().to_vec(), medium);
    assert_eq!(device.crash_image(7).to_vec(), medium);
    device.drop_cache().unwrap();
    assert_eq!(device.live_image().to_vec(), medium);
}

#[test]
fn discarded_bytes_are_old_zero_or_random() {
    let mut kinds = [0; 3];
    for seed in 0..60 {
        let device = SimDevice::new(base(16384), FaultPlan::new(seed));
        device.discard(4096, 1 << 20).unwrap();
        let bytes = device.live_image().to_vec();
        assert_eq!((bytes.len(), &bytes[..4096]), (16384, &[0xff; 4096][..]));
        let all = |value: u8| bytes[4096..].iter().all(|byte| *byte == value);
        kinds[if all(0xff) { 0 } else { 1 + usize::from(all(0)) }] += 1;
    }
    assert!(kinds.iter().all(|n| *n > 5), "{kinds:?}");
}

#[test]
fn calls_are_counted_and_traced() {
    let plan = FaultPlan::new(0).fail(Op::Write, 1, Failure::Io, Repeat::Once);
    let device = SimDevice::new(base(4096), plan);
    assert!(device.take_trace().is_empty());
    device.set_trace(true);
    device.write_at(0, &[1; 512]).unwrap();
    device.write_at(512, &[1; 512]).unwrap_err();
    read(&device, 0, 100);
    device.flush().unwrap();
    let record = |op, offset, len, ok| OpRecord { op, offset, len, ok };
    let expected = [
        record(Op::Write, 0, 512, true),
        record(Op::Write, 512, 512, false),
        record(Op::Read, 0, 100, true),
        record(Op::Flush, 0, 0, true),
    ];
    assert_eq!(device.take_trace(), expected);
    assert!(device.take_trace().is_empty());
    let counters = device.counters();
    assert_eq!((counters.reads, counters.writes, counters.flushes), (1, 2, 1));
    assert_eq!((counters.bytes_read, counters.bytes_written), (100, 512));
    assert_eq!(device.steps(), 3);
}

#[test]
fn steps_can_be_looked_at() {
    let device = SimDevice::recording(MemoryDevice::new(), FaultPlan::new(0));
    device.allocate(0, 4096).unwrap();
    device.write_at(512, &[1; 512]).unwrap();
    device.flush().unwrap();
    let recording: Recording = device.take_recording();
    let steps: Vec<_> = (0..4).map(|step| recording.step(step)).collect();
    let flush = Some((Op::Flush, 0, 0));
    let (grow, write) = (Some((Op::Allocate, 0, 4096)), Some((Op::Write, 512, 512)));
    assert_eq!(steps, [grow, write, flush, None]);
    assert_eq!(recording.crash_image(u64::MAX, 1).to_vec(), device.live_image().to_vec());
}

#[test]
fn threads_share_a_device() {
    let device = Arc::new(SimDevice::new(MemoryDevice::new(), FaultPlan::new(0)));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let device = Arc::clone(&device);
            scope.spawn(move || {
                for n in 0..100 {
                    device.write_at((n * 4 + thread) * 512, &[thread as u8 + 1; 512]).unwrap();
                    device.flush().unwrap();
                }
            });
        }
    });
    assert_eq!(device.counters().writes, 400);
    let bytes = device.crash_image(0).to_vec();
    assert!(bytes.chunks(512).enumerate().all(|(n, s)| s == [n as u8 % 4 + 1; 512]));
}
