//! Mistakes on purpose, each of which a campaign must find: that shows that it would find others.

use efscrypt::device::sim::{FaultPlan, Repeat};
use efscrypt::sim::{Campaign, Failure};

use crate::late::Late;

/// What a campaign over a broken device or engine finds.
fn found(campaign: Campaign) -> Option<Failure> {
    campaign.seeds(1, 8).states(4_000).callers(1).run(&|_| ()).unwrap().failure
}

#[test]
fn a_skipped_flush_is_caught() {
    for nth in [0, 1, 3] {
        let lie = FaultPlan::new(nth).skip_flush(nth, Repeat::Sticky);
        let failure = found(Campaign::new().lie(lie)).expect("a lie about every flush");
        assert!(failure.what.contains("lost"), "{failure}");
    }
}

#[test]
fn one_skipped_flush_is_caught() {
    let lie = FaultPlan::new(1).skip_flush(2, Repeat::Once);
    found(Campaign::new().lie(lie)).expect("a lie about one flush");
}

#[test]
fn a_lost_log_record_is_caught() {
    let lie = FaultPlan::new(1).lose_write(1);
    found(Campaign::new().lie(lie)).expect("a write that never happened");
}

#[test]
fn a_log_record_behind_its_flush_is_caught() {
    let failure = found(Campaign::new().layer(Late::over)).expect("a log that is written late");
    assert!(failure.what.contains("lost"), "{failure}");
    assert!(failure.operations.len() <= 4, "{failure}");
}

#[test]
fn a_block_that_is_reused_too_early_is_caught() {
    found(Campaign::new().reuse_at_once()).expect("space that is reused at once");
}
