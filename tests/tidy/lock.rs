//! Which crates the library stands on, from the lock file alone.

use std::collections::{BTreeMap, BTreeSet};

/// Crates that open sockets or bring an asynchronous runtime; the core has no network. The list
/// of `deny.toml` is the same.
pub const BANNED: &[&str] = &[
    "actix-rt",
    "async-io",
    "async-std",
    "curl",
    "hyper",
    "mio",
    "openssl-sys",
    "quinn",
    "reqwest",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The packages of a lock file, by name. Versions of one crate are taken together.
pub struct Lock {
    packages: BTreeMap<String, Package>,
}

#[derive(Default)]
struct Package {
    dependencies: BTreeSet<String>,
    sources: BTreeSet<String>,
}

impl Lock {
    pub fn parse(text: &str) -> Lock {
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        for part in text.split("[[package]]").skip(1) {
            let Some(name) = value(part, "name") else { continue };
            let package = packages.entry(name.to_owned()).or_default();
            package.sources.extend(value(part, "source").map(str::to_owned));
            let list =
                part.split("dependencies = [").nth(1).and_then(|list| list.split(']').next());
            for dependency in list.unwrap_or_default().split('"').skip(1).step_by(2) {
                // `name`, or `name version` where there are several.
                package.dependencies.extend(dependency.split(' ').next().map(str::to_owned));
            }
        }
        Lock { packages }
    }

    /// A package and all that it depends on, to build, to run and to test.
    pub fn reachable(&self, root: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![root.to_owned()];
        while let Some(name) = open.pop() {
            if let Some(package) = self.packages.get(&name).filter(|_| seen.insert(name)) {
                open.extend(package.dependencies.iter().cloned());
            }
        }
        seen
    }

    /// Packages that come from elsewhere than crates.io.
    pub fn foreign(&self) -> Vec<String> {
        let foreign = |package: &Package| package.sources.iter().any(|source| source != CRATES_IO);
        let all = self.packages.iter().filter(|(_, package)| foreign(package));
        all.map(|(name, _)| name.clone()).collect()
    }
}

/// Those of the crates that are banned.
pub fn banned(crates: &BTreeSet<String>) -> Vec<String> {
    crates.iter().filter(|name| BANNED.contains(&name.as_str())).cloned().collect()
}

/// The value of `key = "value"` on a line of its own.
fn value<'a>(part: &'a str, key: &str) -> Option<&'a str> {
    let line = part.lines().find(|line| line.split(" = ").next() == Some(key))?;
    line.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"version = 4

[[package]]
name = "core"
version = "1.0.0"
dependencies = [
 "inner",
 "twice 2.0.0",
]

[[package]]
name = "inner"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "00"
dependencies = [
 "mio",
 "core",
]

[[package]]
name = "mio"
version = "1.0.0"
source = "git+https://example.org/mio"

[[package]]
name = "twice"
version = "2.0.0"

[[package]]
name = "tokio"
version = "1.0.0"
"#;

    #[test]
    fn the_tree_is_followed_and_banned_crates_are_found() {
        let lock = Lock::parse(SAMPLE);
        let tree = lock.reachable("core");
        assert_eq!(Vec::from_iter(&tree), ["core", "inner", "mio", "twice"]);
        assert_eq!(banned(&tree), ["mio"]);
        assert_eq!(banned(&lock.reachable("twice")), Vec::<String>::new());
        assert_eq!(lock.foreign(), ["mio"]);
    }
}
