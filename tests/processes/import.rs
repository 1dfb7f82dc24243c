//! An import that is killed, over and over, while what it copies changes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use efscrypt::device::sim::Rng;

use crate::bench::{Bench, kills, seed};

const DIRECTORIES: u64 = 6;
const FILES: u64 = 150;

type Names = BTreeSet<PathBuf>;

/// What is copied, and what each name may be in a copy.
struct Source {
    root: PathBuf,
    rng: Rng,
    /// What each file had since the last import that was done. A link is a file here.
    versions: BTreeMap<PathBuf, BTreeSet<Vec<u8>>>,
}

impl Source {
    fn new(root: PathBuf, seed: u64) -> Source {
        let mut source = Source { root, rng: Rng::of(seed, 7), versions: BTreeMap::new() };
        for directory in 0..DIRECTORIES {
            fs::create_dir_all(source.root.join(format!("{directory}/below"))).unwrap();
        }
        (0..FILES).for_each(|_| source.change());
        let other = source.root.join("another name");
        let target = source.versions.keys().next().unwrap();
        fs::hard_link(source.root.join(target), &other).unwrap();
        source.versions.insert("another name".into(), BTreeSet::from([contents(&other)]));
        source
    }

    /// Makes a file, or another one in its place: most are small, a few take many transactions.
    fn change(&mut self) {
        let (directory, file) = (self.rng.below(DIRECTORIES), self.rng.below(FILES));
        let below = if file.is_multiple_of(3) { "below/" } else { "" };
        let name = PathBuf::from(format!("{directory}/{below}{file}"));
        let len = match self.rng.below(20) {
            0 => 1 << 20 | self.rng.below(2 << 20),
            1..5 => self.rng.below(100_000),
            _ => self.rng.below(4000),
        };
        let mut bytes = vec![0; len as usize];
        self.rng.fill(&mut bytes);
        let path = self.root.join(&name);
        // A link may be there, and names that share an inode are replaced one by one.
        let _ = fs::remove_file(&path);
        match self.rng.one_in(10) {
            true => {
                bytes = format!("to {len}").into_bytes();
                symlink(format!("to {len}"), &path).unwrap();
            }
            false => fs::write(&path, &bytes).unwrap(),
        }
        self.versions.entry(name).or_default().insert(bytes);
    }

    /// An import was done: from now on the store has what is there now.
    fn settle(&mut self) {
        for (name, versions) in &mut self.versions {
            *versions = BTreeSet::from([contents(&self.root.join(name))]);
        }
    }
}

/// Bytes of a file or a link.
fn contents(path: &Path) -> Vec<u8> {
    match fs::symlink_metadata(path).unwrap().is_symlink() {
        true => fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        false => fs::read(path).unwrap(),
    }
}

/// All names below a directory that are not directories.
fn names(root: &Path) -> Names {
    let (mut found, mut left) = (BTreeSet::new(), vec![PathBuf::new()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = directory.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => left.push(name),
                false => drop(found.insert(name)),
            }
        }
    }
    found
}

/// Imports until it is killed after so long. Returns whether it was done before.
fn import(bench: &Bench, wait: Duration) -> bool {
    let mut command = bench.command(&["import", "store", "in", "--quiet", "--jobs", "4"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    thread::sleep(wait);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{output:?}");
    !killed
}

/// Exports and compares: every name has what the source had at some time since the last import
/// that was done, and what was there before still is. Returns the names.
fn compare(bench: &Bench, source: &Source, before: &Names, what: &str) -> Names {
    let out = bench.path("out");
    bench.ok(&["export", "store", "out", "--quiet"]);
    let found = names(&out);
    assert!(found.is_superset(before), "{what}: what was there is gone");
    for name in &found {
        let is = contents(&out.join(name));
        assert!(source.versions[name].contains(&is), "{what}: {} is in parts", name.display());
    }
    fs::remove_dir_all(&out).unwrap();
    found
}

#[test]
fn a_killed_import_leaves_whole_files_and_can_be_repeated() {
    let (bench, seed) = (Bench::new(), seed());
    bench.create(&bench.path("store")).close().unwrap();
    fs::create_dir(bench.path("in")).unwrap();
    let mut source = Source::new(bench.path("in"), seed);
    // How long it takes, from a store that is not used any more.
    bench.create(&bench.path("other")).close().unwrap();
    let begun = Instant::now();
    bench.ok(&["import", "other", "in", "--quiet"]);
    let long = begun.elapsed().as_micros() as u64 * 3 / 2;

    let (mut complete, mut before) = (0, BTreeSet::new());
    let kills = kills(8);
    for round in 0..kills {
        let what = format!("seed {seed}, kill {round}");
        // Most find a store that has nearly all of it.
        let most = if source.rng.one_in(4) { long } else { long / 4 };
        let wait = Duration::from_micros(source.rng.below(most));
        if import(&bench, wait) {
            complete += 1;
            source.settle();
            before = names(&bench.path("in"));
        }
        let report = bench.ok(&["check", "store", "--quiet", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["clean"], true, "{what}: {report}");
        before = compare(&bench, &source, &before, &what);
        (0..40).for_each(|_| source.change());
    }
    bench.ok(&["import", "store", "in", "--quiet", "--verify"]);
    source.settle();
    let all = names(&bench.path("in"));
    assert_eq!(all.len(), source.versions.len());
    assert_eq!(compare(&bench, &source, &all, "repeated"), all);
    bench.ok(&["export", "store", "out", "--verify", "--quiet"]);
    let _ = writeln!(std::io::stderr(), "{kills} kills, {complete} imports were done before");
}
