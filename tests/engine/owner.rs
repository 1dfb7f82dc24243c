//! One store opened twice for writing, where no lock keeps the two apart: two hosts on one device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use efscrypt::device::{Device, MemoryDevice};
use efscrypt::txn::{
    Class, Edits, Engine, FIRST_FS_TREE, Identity, Opener, Takeover, fixed_unlock,
};
use efscrypt::{Error, ErrorKind, Result};

use crate::model::{create, options};

/// First byte of the owner unit.
const OWNER: u64 = 128 << 10;

/// Random numbers of each opening are its own.
static OPENINGS: AtomicU64 = AtomicU64::new(10);

fn open(device: &Arc<MemoryDevice>, host: &str, takeover: Takeover) -> Result<Engine> {
    let seed = OPENINGS.fetch_add(1, Ordering::Relaxed);
    let identity = Identity::simulated(host, host.len() as u8, 77);
    let opener = Opener { identity, takeover };
    Engine::open_as(Arc::clone(device) as _, |_| fixed_unlock(seed), &options(), &opener)
}

/// A closed store on a device that two hosts share.
fn store() -> Arc<MemoryDevice> {
    let device = Arc::new(MemoryDevice::new());
    create(device.clone(), 1).unwrap().finish().unwrap();
    device
}

fn put(engine: &Engine, n: u64) -> Result<()> {
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &[&[1][..], &n.to_be_bytes()].concat(), &[7; 300]);
    let lsn = engine.commit(&mut edits, Class::Normal)?;
    engine.sync(lsn)
}

fn has(engine: &Engine, n: u64) -> bool {
    let key = [&[1][..], &n.to_be_bytes()].concat();
    engine.get(FIRST_FS_TREE, &key, |_| ()).unwrap().is_some()
}

#[test]
fn an_owner_that_works_keeps_its_store() {
    let device = store();
    let first = open(&device, "one", Takeover::Never).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                put(&first, n % 50).unwrap();
                first.checkpoint().unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let refused = open(&device, "other", Takeover::After(Duration::from_secs(20)));
        stop.store(true, Ordering::Relaxed);
        let error = refused.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        let why = error.to_string();
        assert!(why.contains("process 77 on host one"), "{why}");
    });
    put(&first, 1000).unwrap();
    first.finish().unwrap();
    let again = open(&device, "other", Takeover::Never).unwrap();
    assert!(has(&again, 1000));
}

#[test]
fn an_owner_that_is_still_is_taken_over_and_changes_nothing_more() {
    let device = store();
    let first = open(&device, "one", Takeover::Never).unwrap();
    put(&first, 1).unwrap();
    assert_eq!(
        open(&device, "other", Takeover::Never).map(drop).unwrap_err().kind(),
        ErrorKind::InUse
    );
    let start = Instant::now();
    let second = open(&device, "other", Takeover::After(Duration::from_millis(150))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150), "it did not wait");
    assert!(has(&second, 1), "what was acknowledged is there");
    put(&second, 2).unwrap();
    let slots = |device: &MemoryDevice| device.to_vec()[..512 << 10].to_vec();
    let before = slots(&device);
    let error = first.checkpoint().unwrap_err_or_change(&first);
    assert!(matches!(&error, Error::TakenOver(by) if by.contains("77 on host other")), "{error}");
    assert_eq!(slots(&device), before, "it wrote a superblock all the same");
    for refused in [put(&first, 3), first.checkpoint(), first.finish(), first.healthy()] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::TakenOver);
    }
    assert!(has(&first, 1), "it can be read");
    put(&second, 4).unwrap();
    second.finish().unwrap();
    drop((first, second));
    let third = open(&device, "third", Takeover::Never).unwrap();
    assert_eq!([1, 2, 3, 4].map(|n| has(&third, n)), [true, true, false, true]);
    assert!(third.check_structure(|_, _, _, _| ()).unwrap().damaged.is_empty());
}

/// A checkpoint that has something to write.
trait Changed {
    fn unwrap_err_or_change(self, engine: &Engine) -> Error;
}

impl Changed for Result<()> {
    fn unwrap_err_or_change(self, engine: &Engine) -> Error {
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &[1, 9], &[7; 300]);
        match self {
            Err(error) => error,
            Ok(()) => {
                engine.commit(&mut edits, Class::Normal).unwrap();
                engine.checkpoint().unwrap_err()
            }
        }
    }
}

#[test]
fn who_takes_over_at_once_waits_for_nobody() {
    let device = store();
    let first = open(&device, "one", Takeover::Never).unwrap();
    let second = open(&device, "other", Takeover::AtOnce).unwrap();
    let mut edits = Edits::new();
    edits.put(FIRST_FS_TREE, &[1, 1], &[7; 300]);
    first.commit(&mut edits, Class::Normal).unwrap();
    assert_eq!(first.checkpoint().unwrap_err().kind(), ErrorKind::TakenOver);
    put(&second, 5).unwrap();
}

#[test]
fn nobody_waits_for_who_is_gone() {
    let device = store();
    // Dropped without a word, and opened by the same process.
    let opener = Opener::this(Takeover::Never);
    for _ in 0..3 {
        let unlock = |_: &_| fixed_unlock(2);
        drop(Engine::open_as(device.clone(), unlock, &options(), &opener).unwrap());
    }
    // A host that was started anew: the boot differs by the length of its name alone.
    drop(open(&device, "one", Takeover::AtOnce).unwrap());
    let identity = Identity::simulated("one", 9, 78);
    let again = Opener { identity, takeover: Takeover::Never };
    Engine::open_as(device, |_| fixed_unlock(2), &options(), &again).unwrap();
}

#[test]
fn a_unit_that_is_not_whole_locks_nobody_out() {
    let device = store();
    drop(open(&device, "one", Takeover::Never).unwrap());
    let kind = |device: &MemoryDevice| {
        let device = Arc::new(device.snapshot());
        open(&device, "other", Takeover::Never).map(drop).map_err(|error| error.kind())
    };
    assert_eq!(kind(&device), Err(ErrorKind::InUse));
    let bytes = device.to_vec()[OWNER as usize..][..256].to_vec();
    for at in (0..256).step_by(5) {
        let copy = device.snapshot();
        copy.write_at(OWNER + at as u64, &[bytes[at] ^ 0x40]).unwrap();
        // The reserved bytes of the header say nothing.
        let counts = !(56..64).contains(&at);
        assert_eq!(kind(&copy), if counts { Ok(()) } else { Err(ErrorKind::InUse) }, "byte {at}");
    }
    for garbage in [[0; 4096], [0xa5; 4096]] {
        device.write_at(OWNER, &garbage).unwrap();
        assert_eq!(kind(&device), Ok(()));
    }
}

/// Whoever writes to the medium can refuse service, and no more.
#[test]
fn units_that_are_put_back_or_wiped_refuse_service_and_cost_nothing() {
    let device = store();
    drop(open(&device, "older", Takeover::Never).unwrap());
    let older = device.to_vec()[OWNER as usize..][..4096].to_vec();
    for (unit, kind) in [(&older[..], ErrorKind::TakenOver), (&[0; 4096], ErrorKind::Corrupt)] {
        let engine = open(&device, "one", Takeover::AtOnce).unwrap();
        put(&engine, 1).unwrap();
        device.write_at(OWNER, unit).unwrap();
        let mut edits = Edits::new();
        edits.put(FIRST_FS_TREE, &[1, 1], &[7; 300]);
        engine.commit(&mut edits, Class::Normal).unwrap();
        assert_eq!(engine.checkpoint().unwrap_err().kind(), kind);
        assert!(put(&engine, 2).is_err());
        drop(engine);
        let engine = open(&device, "one", Takeover::AtOnce).unwrap();
        assert!(has(&engine, 1), "what was acknowledged is there");
    }
    // Damage of the unit alone is mended by the next checkpoint.
    let engine = open(&device, "one", Takeover::AtOnce).unwrap();
    device.write_at(OWNER + 70, &[1; 16]).unwrap();
    put(&engine, 3).unwrap();
    engine.checkpoint().unwrap();
    engine.finish().unwrap();
    drop(engine);
    assert!(has(&open(&device, "other", Takeover::Never).unwrap(), 3));
}
