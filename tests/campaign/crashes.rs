//! Campaigns that must find nothing.

use efscrypt::sim::Campaign;

/// Threads for a campaign.
const JOBS: usize = 2;

fn states() -> u64 {
    std::env::var("EFSCRYPT_CRASH_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(6_000)
}

#[test]
fn every_crash_leaves_a_prefix_of_the_operations() {
    let states = states();
    let seeds = (states / 500).max(1);
    let campaign = Campaign::new().seeds(1, seeds).states(states).jobs(JOBS);
    let report = campaign.run(&|_| ()).unwrap();
    if let Some(failure) = &report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.seeds, seeds);
    assert!(report.states * 100 > states * 90, "{report:?}");
    assert!(report.opened * 2 > report.states, "{report:?}");
    assert!(report.recoveries * 10 > report.states, "{report:?}");
    // The work is worth it: it changes things, in several transactions, and fills devices.
    assert!(report.changes * 2 > report.operations, "{report:?}");
    assert!(report.parts * 100 > report.states, "{report:?}");
    assert!(report.full > 0, "{report:?}");
}

#[test]
fn faults_of_the_device_cost_nothing_that_was_acknowledged() {
    let campaign = Campaign::new().seeds(100, 12).states(12).callers(1).faults(24).jobs(JOBS);
    let report = campaign.run(&|_| ()).unwrap();
    if let Some(failure) = &report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.faults, 12 * 24);
    assert!(report.noticed * 3 > report.faults, "{report:?}");
}

#[test]
fn callers_at_once_leave_a_common_prefix() {
    // Seeds of this form have several callers.
    for seed in [3, 7, 11, 15] {
        let campaign = Campaign::new().seeds(seed, 1).states(400).callers(4);
        let report = campaign.run(&|_| ()).unwrap();
        if let Some(failure) = &report.failure {
            panic!("{failure}");
        }
        assert_eq!(report.operations, 4 * 48);
    }
}

/// Many operations, with the store closed and opened among them, and few crashes.
#[test]
fn long_runs_agree_with_the_model() {
    let campaign = Campaign::new().seeds(200, 6).states(600).callers(1).operations(1_500);
    let report = campaign.jobs(JOBS).run(&|_| ()).unwrap();
    if let Some(failure) = &report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.operations, 6 * 1_500);
}
