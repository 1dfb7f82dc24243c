//! Failures shrink to what matters, print as code, and replay.

use efscrypt::device::MemoryDevice;
use efscrypt::fs::CreateMode;
use efscrypt::sim::{Campaign, Operation, at, fill};

use crate::late::Late;

#[test]
fn a_failure_shrinks_to_few_operations_which_print_as_code() {
    let broken = || Campaign::new().layer(Late::over).callers(1);
    let failure = broken().seeds(5, 1).states(500).run(&|_| ()).unwrap().failure.unwrap();
    // Something to lose, and what acknowledges it: perhaps itself.
    assert!((1..=2).contains(&failure.operations.len()), "{failure}");
    assert!(failure.operations.last().unwrap().acknowledges(), "{failure}");
    let text = failure.to_string();
    assert!(
        text.starts_with("replay with --seed 5 --step ") && text.contains("    Operation::"),
        "{text}"
    );
    // The list fails by itself, and not over a device that is sound.
    let operations = failure.operations;
    assert!(broken().check(operations.clone(), 4).unwrap().is_some());
    assert!(Campaign::new().check(operations, 4).unwrap().is_none());
}

#[test]
fn a_failure_replays_by_its_seed_and_crash() {
    let broken = || Campaign::new().layer(Late::over).callers(1);
    let seed = (1..9).find_map(|seed| {
        let steps = 20..60;
        steps.into_iter().find_map(|step| {
            let crash = efscrypt::sim::Crash { step, seed };
            broken().replay(seed, None, Some(crash)).unwrap().map(|_| (seed, crash))
        })
    });
    let (seed, crash) = seed.expect("a log that is written late");
    assert!(broken().replay(seed, None, Some(crash)).unwrap().is_some());
    let sound = Campaign::new().callers(1);
    assert!(sound.replay(seed, None, Some(crash)).unwrap().is_none());
}

#[test]
fn operations_print_as_the_code_that_makes_them() {
    let operation = Operation::Create {
        path: "/d0/l~".into(),
        mode: 0o644,
        how: CreateMode::Guarded,
        contents: fill(7, 100),
    };
    let code = "Operation::Create { path: \"/d0/l~\".into(), mode: 0o644, \
                how: CreateMode::Guarded, contents: fill(7, 100) }";
    assert_eq!(format!("{operation:?}"), code);
    let punch = Operation::PunchHole { file: at("/f"), at: 1, len: 2 };
    assert_eq!(format!("{punch:?}"), "Operation::PunchHole { file: at(\"/f\"), at: 1, len: 2 }");
}

#[test]
fn an_empty_device_is_no_store() {
    use efscrypt::txn::{Engine, EngineOptions, fixed_unlock};
    let device = std::sync::Arc::new(MemoryDevice::new());
    let opened = Engine::open(device, |_| fixed_unlock(1), &EngineOptions::default());
    assert_eq!(opened.err().map(|error| error.kind()), Some(efscrypt::ErrorKind::NotAStore));
}
