//! A writer with several threads that is killed, over and over, on one store.
//!
//! Each thread follows a plan of its own. After some changes it makes them durable, and only then
//! says how far all threads had come before: so much must be there when it is killed, and nothing
//! that no plan has.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use efscrypt::Store;
use efscrypt::device::sim::Rng;
use efscrypt::fs::NewAttr;

use crate::bench::{Bench, assert_clean, kills, open, seed};
use crate::plan::{Plan, read};

const THREADS: usize = 4;
/// Most changes between two times that a thread makes everything durable.
const BATCH: u64 = 5;
/// Tells the process of this test that it is the one to be killed: the directory of the key
/// service, the store, the seed, and how far each thread is.
const ORDERS: &str = "EFSCRYPT_TEST_WRITER";

fn directory(thread: usize) -> String {
    format!("/thread {thread}")
}

#[test]
fn what_a_killed_writer_was_told_is_there() {
    if let Ok(orders) = env::var(ORDERS) {
        return obey(&orders);
    }
    let bench = Bench::new();
    let (path, seed) = (bench.path("store"), seed());
    let store = bench.create(&path);
    for thread in 0..THREADS {
        store.file_system().mkdir_all(directory(thread).as_bytes(), &NewAttr::default()).unwrap();
    }
    store.close().unwrap();
    let mut plans: Vec<_> = (0..THREADS as u64).map(|thread| Plan::new(seed, thread)).collect();
    let (mut rng, mut told) = (Rng::of(seed, 99), 0);
    let kills = kills(20);
    for round in 0..kills {
        let what = format!("seed {seed}, kill {round}");
        let acknowledged = killed(&bench.path(""), &path, seed, &plans, &mut rng);
        told += acknowledged.iter().zip(&plans).map(|(to, plan)| to - plan.done).sum::<u64>();
        // Recovery is a matter of the next writer or of the judge, in memory or for good.
        let store = bench.open(&path, rng.one_in(2));
        assert_clean(&store, &what);
        for (thread, plan) in plans.iter_mut().enumerate() {
            judge(&store, thread, plan, acknowledged[thread], &what);
        }
        match rng.one_in(2) {
            true => store.close().unwrap(),
            false => drop(store),
        }
    }
    let seen = plans.iter().map(|plan| plan.done).sum::<u64>();
    assert!(told > kills && seen >= told, "{told} changes in {kills} lives");
    let _ = writeln!(std::io::stderr(), "{kills} kills, {told} acknowledged changes, {seen} seen");
}

/// Sets the plan to where the thread's files are, which is not before what was acknowledged.
fn judge(store: &Store, thread: usize, plan: &mut Plan, acknowledged: u64, what: &str) {
    let found = read(store.file_system(), &directory(thread));
    while plan.done < acknowledged {
        plan.step();
    }
    let told = plan.clone();
    for _ in 0..=BATCH {
        if plan.fits(&found) {
            return;
        }
        plan.step();
    }
    panic!("{what}: thread {thread}, told {:?}, next {:?}, has {found:?}", told.files, told.next());
}

/// Has a process write, and kills it. Returns how far each thread was told to be durable.
fn killed(keys: &Path, store: &Path, seed: u64, plans: &[Plan], rng: &mut Rng) -> Vec<u64> {
    let mut orders = vec![keys.display().to_string(), store.display().to_string()];
    orders.push(seed.to_string());
    orders.extend(plans.iter().map(|plan| plan.done.to_string()));
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer::what_a_killed_writer_was_told_is_there", "--nocapture"])
        .env(ORDERS, orders.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (opened, lines) = listen(&mut child);
    match rng.one_in(4) {
        // Perhaps before it is open, or while it recovers.
        true => thread::sleep(Duration::from_micros(rng.below(30_000))),
        false => {
            // Where it fails, so does the wait for it below.
            let _ = opened.recv_timeout(Duration::from_secs(60));
            thread::sleep(Duration::from_micros(rng.below(150_000)));
        }
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let died = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(9), "{}: {died}", output.status);
    let mut durable: Vec<_> = plans.iter().map(|plan| plan.done).collect();
    for line in lines.join().unwrap() {
        let Some(counts) = line.strip_prefix("durable ") else { continue };
        for (durable, count) in durable.iter_mut().zip(counts.split(' ')) {
            *durable = (*durable).max(count.parse().unwrap());
        }
    }
    durable
}

/// Reads what the process says; tells when it has opened the store.
fn listen(child: &mut Child) -> (Receiver<()>, thread::JoinHandle<Vec<String>>) {
    let (tell, opened) = channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listener = thread::spawn(move || {
        let lines = lines.map_while(Result::ok).inspect(|line| {
            if line == "open" {
                let _ = tell.send(());
            }
        });
        lines.collect()
    });
    (opened, listener)
}

/// What the process does that is killed.
fn obey(orders: &str) {
    let orders: Vec<_> = orders.split('\n').collect();
    let (keys, path) = (PathBuf::from(orders[0]), PathBuf::from(orders[1]));
    let seed = orders[2].parse().unwrap();
    let done: Vec<u64> = orders[3..].iter().map(|count| count.parse().unwrap()).collect();
    let store = open(&keys, &path, false);
    say("\nopen\n");
    let done: Vec<_> = done.into_iter().map(AtomicU64::new).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, done) = (&store, &done);
            scope.spawn(move || write(store, seed, thread, done));
        }
    });
}

/// Follows a plan until the process is killed, or for so long that nobody can have waited.
fn write(store: &Store, seed: u64, thread: usize, done: &[AtomicU64]) {
    let fs = store.file_system();
    let dir = fs.at(directory(thread).as_bytes()).unwrap().ino;
    let mut plan = Plan::new(seed, thread as u64);
    while plan.done < done[thread].load(Ordering::Relaxed) {
        plan.step();
    }
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        for _ in 0..1 + plan.done % BATCH {
            plan.next().make(fs, dir).unwrap();
            plan.step();
            done[thread].store(plan.done, Ordering::Release);
        }
        // What was done before this began is durable when it returns, whoever did it.
        let before: Vec<_> = done.iter().map(|n| n.load(Ordering::Acquire).to_string()).collect();
        match plan.done % 64 {
            0 => store.checkpoint().unwrap(),
            _ => fs.fsync(dir).unwrap(),
        }
        say(&format!("durable {}\n", before.join(" ")));
        if plan.done.is_multiple_of(32) {
            fs.maintain().unwrap();
        }
    }
}

/// Says something in one piece: a pipe takes all of a short line or nothing.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}
