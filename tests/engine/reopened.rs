//! Stores that are opened again after a flush failed: what is there then stays.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::device::sim::{Failure, FaultPlan, Op, Repeat, SimDevice};

use crate::model::{Workload, create, open, verify};

/// A flush fails, and the host goes on showing what it could not write.
#[test]
fn what_is_read_after_a_failed_flush_stays() {
    let mut kept = 0;
    for seed in 0..60u64 {
        let device = SimDevice::new(MemoryDevice::limited(16 << 20), FaultPlan::new(seed));
        let device = Arc::new(device);
        let engine = create(device.clone(), seed).unwrap();
        let mut work = Workload::new(seed);
        for _ in 0..seed % 7 {
            let lsn = work.step(&engine).unwrap();
            engine.sync(lsn).unwrap();
        }
        let acked = work.history.len() as u64 - 1;
        let lsn = (0..6).map(|_| work.step(&engine).unwrap()).last().unwrap();
        device.set_plan(FaultPlan::new(seed).fail(Op::Flush, 0, Failure::Io, Repeat::Once));
        match seed % 2 {
            0 => engine.sync(lsn).unwrap_err(),
            _ => engine.checkpoint().unwrap_err(),
        };
        drop(engine);
        device.set_plan(FaultPlan::new(seed));

        let engine = open(device.clone(), seed + 100).unwrap();
        let count = verify(&engine, &work.history, acked, "opened again");
        kept += u64::from(count > acked);
        work.history.truncate(count as usize + 1);
        let lsn = work.step(&engine).unwrap();
        engine.sync(lsn).unwrap();
        let image = device.crash_image(seed);
        let engine = open(image, seed + 200).unwrap();
        verify(&engine, &work.history, count + 1, &format!("seed {seed}, after a power cut"));
    }
    assert!(kept > 5, "only {kept} stores had something to lose");
}
