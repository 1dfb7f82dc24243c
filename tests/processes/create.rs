//! A creation that is killed, over and over: the store is there whole, or nothing is.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use efscrypt::device::sim::Rng;

use crate::bench::{Bench, kills, seed};

#[test]
fn a_killed_creation_leaves_a_whole_store_or_nothing_and_blocks_no_other() {
    let bench = Bench::new();
    let mut rng = Rng::of(seed(), 11);
    let args = ["--data-key", "alias/data", "--log", "8", "--name", "n", "--tag", "t=1"];
    let start = Instant::now();
    bench.ok(&[&["create", "first"], &args[..]].concat());
    let whole = start.elapsed().as_micros() as u64;
    let (mut killed, mut made) = (0, 0);
    for round in 0..kills(12) {
        let name = format!("store{round}");
        let path = bench.path(&name);
        // A new file, or one that was there empty.
        let there = round % 2 == 1;
        if there {
            fs::write(&path, b"").unwrap();
        }
        let command = [&["create", &name], &args[..]].concat();
        let mut child =
            bench.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(rng.below(whole + whole / 8)));
        child.kill().unwrap();
        let killed_now = child.wait().unwrap().signal().is_some();
        killed += u64::from(killed_now);
        match bench.command(&["describe", &name, "--json"]).output().unwrap() {
            found if found.status.success() => {
                made += 1;
                let text = String::from_utf8(found.stdout).unwrap();
                assert!(text.contains("\"n\"") && text.contains("\"t\""), "{text}");
            }
            _ => {
                assert!(killed_now);
                assert!(there || !path.exists(), "something is left");
                let entries = fs::read_dir(path.parent().unwrap()).unwrap();
                let hidden = |name: &str| name.ends_with(".efscrypt-new");
                let left = entries
                    .filter(|e| e.as_ref().is_ok_and(|e| hidden(&e.file_name().to_string_lossy())));
                assert_eq!(left.count(), 0, "something is left");
                bench.ok(&command);
            }
        }
        bench.ok(&["check", &name]);
        fs::remove_file(&path).unwrap();
    }
    assert!(killed > 0, "{killed} killed, {made} made");
}
