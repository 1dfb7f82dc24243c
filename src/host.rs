//! L1: how much memory this process may use: what the machine has, and what its control groups
//! leave it.
//!
//! A process that takes more than its group may is killed, whatever the machine has. So caches
//! whose size nobody gave are a fraction of the least of all limits ([`cache_bytes`]).

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// A cache takes at most one in so many bytes of what the process may use: a server has buffers,
/// inodes and threads beside it.
const FRACTION: u64 = 8;
/// Smallest cache that is worth having, bytes.
const LEAST: usize = 8 << 20;

/// Bytes of a cache whose size nobody gave: `most`, or an eighth of the memory that this process
/// may use where that is less, but no less than 8 MiB. The limit is read at the first call, and
/// kept.
pub fn cache_bytes(most: usize) -> usize {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    fitting(most, *LIMIT.get_or_init(|| limit(Path::new("/"))))
}

fn fitting(most: usize, limit: Option<u64>) -> usize {
    let fraction = limit.map_or(usize::MAX, |limit| (limit / FRACTION) as usize);
    most.min(fraction).max(LEAST.min(most))
}

/// The least of all limits under a root directory; `None` where nothing tells one.
fn limit(root: &Path) -> Option<u64> {
    let machine = memory_total(root);
    let groups = groups(root).into_iter().filter_map(|group| group.limit());
    groups.chain(machine).min()
}

/// What the machine has, bytes.
fn memory_total(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A group of processes in a hierarchy that limits memory.
struct Group {
    /// The directory of the hierarchy's top, as far as it is seen here.
    top: PathBuf,
    /// That of the group.
    at: PathBuf,
    files: &'static [&'static str],
}

/// Limits in a directory of a hierarchy of version 2: the hard one, and the one above which
/// processes are slowed down until they stand still.
const VERSION_2: &[&str] = &["memory.max", "memory.high"];
/// Those of version 1.
const VERSION_1: &[&str] = &["memory.limit_in_bytes", "memory.soft_limit_in_bytes"];

impl Group {
    /// The least limit of the group and of all above it.
    fn limit(&self) -> Option<u64> {
        let own = self.at.ancestors().take_while(|dir| dir.starts_with(&self.top));
        let read = |dir: &Path| {
            let number = |file| fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok();
            self.files.iter().filter_map(number).min()
        };
        // Version 1 says "no limit" with the largest number that it knows, version 2 with a word.
        own.filter_map(read).filter(|limit: &u64| *limit < 1 << 60).min()
    }
}

/// The groups of this process that may limit its memory.
fn groups(root: &Path) -> Vec<Group> {
    let read = |path| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (own, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (files, kind) = match controllers {
            "" => (VERSION_2, "cgroup2"),
            some if some.split(',').any(|name| name == "memory") => (VERSION_1, "cgroup"),
            _ => continue,
        };
        for line in mounts.lines() {
            let Some((shown, at)) = mount_of(line, kind) else { continue };
            let top = root.join(at.trim_start_matches('/'));
            let at = top.join(within(path, &shown));
            found.push(Group { top, at, files });
        }
    }
    found
}

/// Which directory of a hierarchy a line of `mountinfo` shows, and where: for a mount of a kind
/// that limits memory.
fn mount_of(line: &str, kind: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let is_kind = right.next() == Some(kind);
    let limits = kind == "cgroup2" || right.nth(1)?.split(',').any(|option| option == "memory");
    let mut left = left.split(' ').skip(3);
    let (shown, at) = (plain(left.next()?), plain(left.next()?));
    (is_kind && limits).then_some((shown, at))
}

/// A path of `mountinfo` without its escapes.
fn plain(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, is)| text.replace(escape, is))
}

/// The way to a group from the directory of the hierarchy that is mounted. A group outside of it,
/// as a container sees its own, is taken for that directory.
fn within(path: &str, shown: &str) -> PathBuf {
    let below = Path::new(path).strip_prefix(shown).unwrap_or(match shown {
        "/" => Path::new(path),
        _ => Path::new(""),
    });
    let mut way = PathBuf::new();
    for part in below.components() {
        match part {
            Component::Normal(name) => way.push(name),
            Component::ParentDir => return PathBuf::new(),
            _ => {}
        }
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n");
    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "21 1 0:5 / /proc rw - proc proc rw\n\
         30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    );

    #[test]
    fn the_least_limit_up_the_hierarchy_counts() {
        let own = ("proc/self/cgroup", "0::/system.slice/a.service\n");
        let group = "sys/fs/cgroup/system.slice/a.service";
        let max = |dir: &str| format!("{dir}/memory.max");
        let (at, above) = (max(group), max("sys/fs/cgroup/system.slice"));
        let high = format!("{group}/memory.high");
        for (limits, least) in [
            (vec![(&at[..], "157286400\n")], 150 * MIB),
            (vec![(&at[..], "max\n"), (&above[..], "104857600\n")], 100 * MIB),
            (vec![(&at[..], "209715200\n"), (&high[..], "52428800\n")], 50 * MIB),
            (vec![(&at[..], "max\n")], 8192 * MIB),
            (vec![(&at[..], "17179869184\n")], 8192 * MIB),
            (vec![(&at[..], "nonsense"), (&above[..], "")], 8192 * MIB),
            (vec![], 8192 * MIB),
        ] {
            let tree = tree(&[&[MACHINE, V2, own][..], &limits].concat());
            assert_eq!(limit(tree.path()), Some(least), "{limits:?}");
        }
    }

    #[test]
    fn version_1_and_both_at_once() {
        let own = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n");
        let mounts = (
            "proc/self/mountinfo",
            "31 1 0:27 / /sys/fs/cgroup/cpu\\040set rw - cgroup cgroup rw,cpuset\n\
             32 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        );
        let none = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        let above = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "157286400\n");
        let tree = tree(&[MACHINE, own, mounts, none, above]);
        assert_eq!(limit(tree.path()), Some(150 * MIB));
    }

    #[test]
    fn in_a_container_the_mount_is_the_groups_own() {
        // Docker with version 1: the hierarchy shows its own directory alone.
        let own = ("proc/self/cgroup", "4:memory:/docker/0123\n");
        let mounts = (
            "proc/self/mountinfo",
            "32 1 0:28 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        );
        let at = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "157286400\n");
        assert_eq!(limit(tree(&[MACHINE, own, mounts, at]).path()), Some(150 * MIB));
        // With a namespace of its own, and in one that it was moved out of.
        for path in ["0::/\n", "0::/../other\n"] {
            let at = ("sys/fs/cgroup/memory.max", "157286400\n");
            let own = ("proc/self/cgroup", path);
            assert_eq!(limit(tree(&[MACHINE, own, V2, at]).path()), Some(150 * MIB), "{path}");
        }
    }

    #[test]
    fn nothing_to_read_is_no_limit_and_a_cache_has_a_least_size() {
        assert_eq!(limit(tree(&[]).path()), None);
        let mib = |bytes: usize| bytes >> 20;
        assert_eq!(mib(fitting(256 << 20, None)), 256);
        assert_eq!(mib(fitting(256 << 20, Some(8192 * MIB))), 256);
        assert_eq!(mib(fitting(256 << 20, Some(512 * MIB))), 64);
        assert_eq!(mib(fitting(256 << 20, Some(150 * MIB))), 18);
        assert_eq!(mib(fitting(256 << 20, Some(10 * MIB))), 8);
        assert_eq!(fitting(4096, Some(10 * MIB)), 4096);
        assert!((8..=256).contains(&mib(cache_bytes(256 << 20))));
    }
}
