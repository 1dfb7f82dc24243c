//! A panic in a function: nobody waits for what will not come, and nothing is built on its half.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use efscrypt::device::MemoryDevice;
use efscrypt::ffi::efscrypt_status as S;

use crate::bed::*;

fn panics() -> Option<Box<dyn FnMut() + Send>> {
    Some(Box::new(|| panic!("the device is broken")))
}

fn failure<T>(result: Result<T, Failure>) -> S {
    result.err().map_or(S::Ok, |failure| failure.status)
}

#[test]
fn after_a_panic_a_store_answers_nothing_but_its_close() {
    let device = Hooked::new(Arc::new(MemoryDevice::new()));
    let store = Open::on(device.clone());
    let kept = store.make("kept").unwrap().ino;
    store.write(kept, 0, &[7; 10_000]).unwrap();
    store.commit().unwrap();
    *device.before_write.lock().unwrap() = panics();
    assert_eq!(failure(store.write(kept, 0, &[8; 10_000])), S::Internal);
    let answers = [
        failure(store.write(kept, 0, &[8; 10_000])),
        failure(store.read(kept, 0, 10)),
        failure(store.getattr(kept)),
        failure(store.make("more")),
        failure(store.unlink("kept")),
        failure(store.commit()),
    ];
    assert_eq!(answers, [S::Poisoned; 6]);
    assert_eq!(failure(store.close()), S::Poisoned);
    let store = Open::again(device);
    assert_eq!(store.read(kept, 0, 20_000).unwrap(), (vec![7; 10_000], true));
    store.close().unwrap();
}

#[test]
fn nobody_waits_for_a_leader_that_panicked() {
    let device = Hooked::new(Arc::new(MemoryDevice::new()));
    let store = Arc::new(Open::on(device.clone()));
    store.make("first").unwrap();
    let (reached, wait) = channel();
    let (go, on) = channel();
    *device.before_flush.lock().unwrap() = Some(Box::new(move || {
        reached.send(()).unwrap();
        on.recv().unwrap();
        panic!("the device is broken");
    }));
    let (done, answers) = channel();
    let commit = || {
        let (store, done) = (Arc::clone(&store), done.clone());
        std::thread::spawn(move || done.send(failure(store.commit())).unwrap());
    };
    commit();
    wait.recv().unwrap();
    store.make("second").unwrap();
    commit();
    // Whether the second waits by then or not, it has to come back.
    std::thread::sleep(Duration::from_millis(50));
    go.send(()).unwrap();
    let answer = || answers.recv_timeout(Duration::from_secs(20)).expect("a thread hangs");
    let mut answers = [answer(), answer()];
    answers.sort_by_key(|answer| *answer as u32);
    assert_eq!(answers, [S::Poisoned, S::Internal]);
    assert_eq!(failure(store.commit()), S::Poisoned);
}

#[test]
fn nobody_waits_for_a_checkpoint_that_panicked() {
    let device = Hooked::new(Arc::new(MemoryDevice::new()));
    let store = Arc::new(Open::on(device.clone()));
    store.make("first").unwrap();
    *device.before_write.lock().unwrap() = panics();
    // Writes nodes, and so panics in the middle of a checkpoint.
    let maintain = || {
        // SAFETY: an open store.
        status(|error| unsafe {
            efscrypt::ffi::efscrypt_store_maintain(store.0, std::ptr::null_mut(), error)
        })
    };
    assert_eq!(maintain(), S::Internal);
    let (done, answers) = channel();
    let other = Arc::clone(&store);
    std::thread::spawn(move || done.send(failure(other.commit())).unwrap());
    let answer = answers.recv_timeout(Duration::from_secs(20)).expect("a thread hangs");
    assert_eq!(answer, S::Poisoned);
}
