//! Repairing a store that may be hostile: refused, or sound afterwards.

use std::sync::Arc;

use efscrypt::check::{Repair, RepairOptions, check};
use efscrypt::device::MemoryDevice;
use efscrypt::txn::{Engine, fixed_unlock};

use crate::exercise::{mount, options};

/// Repairs a store. What was repaired needs no second repair, opens, and is clean.
pub fn mend(device: Arc<MemoryDevice>) {
    let wanted = RepairOptions { contents: true, ..RepairOptions::default() };
    let plan =
        || Repair::plan_with(Arc::clone(&device) as _, |_| fixed_unlock(1), &options(), wanted);
    let Ok(repair) = plan() else { return };
    if repair.commit().is_err() {
        return;
    }
    let again = plan().unwrap();
    assert!(!again.report().needed, "{:?}", again.report());
    let engine = Engine::open(device.clone(), |_| fixed_unlock(1), &options()).unwrap();
    let report = check(&mount(engine).unwrap()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}
