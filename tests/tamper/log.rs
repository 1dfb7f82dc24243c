//! A store whose last changes are in the log alone.

use std::sync::Arc;

use efscrypt::device::MemoryDevice;
use efscrypt::fs::XattrMode;
use efscrypt::{Providers, Store};

use crate::provider::Toy;
use crate::questions::{Outcome, ask, examine};
use crate::sample::sample;
use crate::scene::{DATA, LOG, META, POOL, Scene, UNIT, closed, logged, options};

/// The records of the log since the last checkpoint in their order: each ends a state.
fn records(scene: &Scene) -> Vec<(usize, usize)> {
    let range = LOG as u64..POOL as u64;
    let checkpoint = scene.writes.iter().rposition(|(at, _)| *at < LOG as u64).unwrap_or(0);
    let writes = scene.writes[checkpoint..].iter().filter(|(at, _)| range.contains(at));
    writes.map(|(at, bytes)| (*at as usize, bytes.len())).collect()
}

#[test]
fn a_damaged_record_is_an_error_and_the_last_one_costs_itself_alone() {
    let scene = logged();
    let base = MemoryDevice::from_bytes(&scene.image);
    let records = records(&scene);
    let last = scene.states.len() - 1;
    assert!(records.len() > 10, "{} records", records.len());
    for (n, &(at, len)) in records.iter().enumerate() {
        let is_last = n == records.len() - 1;
        let sealed = u32::from_le_bytes(scene.image[at + 4..at + 8].try_into().unwrap());
        let sealed = 80 + sealed as usize;
        // Readers that follow the log ignore what the header says of the record before.
        let used = (0..sealed).filter(|at| !(52..68).contains(at)).collect();
        let mut places = sample(used, 12, at as u64);
        // Whole blocks, too: the device lost the write.
        places.push(usize::MAX);
        for (m, place) in places.into_iter().enumerate() {
            let zeros = vec![0; len];
            let flipped = [scene.image[at + place.min(sealed)] ^ 0x40];
            let change: (usize, &[u8]) = match place {
                usize::MAX => (at, &zeros),
                place => (at + place, &flipped),
            };
            let what = format!("record {n} of {} at {place}", records.len());
            let outcome = examine(
                scene.with(&base, &[change]),
                !m.is_multiple_of(4),
                &scene.states[last - 1..],
                &what,
            );
            match outcome {
                // The tag of the record before, which is known from there.
                Outcome::State(1) if (52..68).contains(&place) => {}
                _ if (52..68).contains(&place) => panic!("{what}: a copy costs something"),
                // Nobody can tell a lost record from one that was never written, at the end.
                Outcome::State(0) => assert!(is_last, "{what}"),
                Outcome::Refused => assert!(!is_last, "{what}"),
                Outcome::State(_) | Outcome::Part => panic!("{what}: it counts still"),
            }
        }
    }
}

#[test]
fn older_writes_put_back_over_the_log_are_an_error_or_nothing() {
    let scene = logged();
    let base = MemoryDevice::from_bytes(&scene.image);
    let last = scene.states.len() - 1;
    for (n, change) in sample(scene.older(), 80, 6).into_iter().enumerate() {
        let what = format!("an older write at {}", change.0);
        examine(scene.with(&base, &[change]), !n.is_multiple_of(4), &scene.states[last..], &what);
    }
}

#[test]
fn swapped_records_are_an_error() {
    let scene = logged();
    let base = MemoryDevice::from_bytes(&scene.image);
    let records = records(&scene);
    let last = scene.states.len() - 1;
    let pairs = records.iter().enumerate();
    let pairs = pairs.flat_map(|(n, a)| records[n + 1..].iter().map(move |b| (a.0, b.0)));
    for (n, (a, b)) in sample(pairs.collect(), 60, 7).into_iter().enumerate() {
        let (one, two) = (&scene.image[a..a + UNIT], &scene.image[b..b + UNIT]);
        let what = format!("records at {a} and {b} swapped");
        let device = scene.with(&base, &[(a, two), (b, one)]);
        let outcome = examine(device, !n.is_multiple_of(4), &scene.states[last..], &what);
        assert!(matches!(outcome, Outcome::Refused), "{what}");
    }
}

#[test]
fn contents_of_the_last_record_that_are_missing_cost_it_alone() {
    let scene = logged();
    let base = MemoryDevice::from_bytes(&scene.image);
    let last = scene.states.len() - 1;
    let contents = scene.writes.iter().filter(|(at, bytes)| {
        *at >= POOL as u64 && !bytes.starts_with(b"EFSNODE") && !bytes.starts_with(b"EFSSPAC")
    });
    for (n, (at, bytes)) in contents.enumerate() {
        let at = *at as usize;
        if scene.image[at..at + bytes.len()] != **bytes {
            continue;
        }
        let zeros = vec![0; bytes.len()];
        let what = format!("contents at {at} lost");
        let device = scene.with(&base, &[(at, &zeros)]);
        examine(device, !n.is_multiple_of(4), &scene.states[last - 1..], &what);
    }
}

/// A state that was copied and continued twice has two futures, whose records have the same numbers
/// and stand in the same places. None is taken for one of the other.
#[test]
fn a_record_of_another_future_of_the_same_state_is_an_error() {
    let scene = closed();
    let future = |seed: u8| {
        let device = Arc::new(MemoryDevice::from_bytes(&scene.image));
        let providers = Providers::same(Toy::with(&[META, DATA]));
        let store = Store::open(device.clone(), providers, options()).unwrap();
        let (fs, mut states) = (store.file_system(), Vec::new());
        let ino = fs.at(b"/small").unwrap().ino;
        for n in 0..4 {
            fs.set_xattr(ino, b"user.short", &[seed, n], XattrMode::Replace).unwrap();
            store.sync().unwrap();
            states.push(ask(fs));
        }
        drop(store);
        (device.to_vec(), states)
    };
    let (ours, theirs) = (future(1), future(2));
    let base = MemoryDevice::from_bytes(&ours.0);
    let records = (LOG..POOL).step_by(UNIT).filter(|at| {
        let differ = ours.0[*at..at + UNIT] != theirs.0[*at..at + UNIT];
        differ && [&ours.0, &theirs.0].iter().all(|image| image[*at..].starts_with(b"EFSL"))
    });
    let records: Vec<usize> = records.collect();
    assert_eq!(records.len(), 4);
    for (n, at) in records.into_iter().enumerate() {
        let device = scene.with(&base, &[(at, &theirs.0[at..at + UNIT])]);
        match examine(device, n.is_multiple_of(2), &ours.1[2..], &format!("record {n}")) {
            Outcome::State(0) => assert_eq!(n, 3),
            Outcome::Refused => assert_ne!(n, 3),
            _ => panic!("record {n} of another future counts"),
        }
    }
}
