//! The threat model: every promise names tests, and every test that is named exists.

/// A row of a table of promises.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    pub line: usize,
    /// Paths of files and names of tests in them.
    pub tests: Vec<(String, String)>,
}

/// The promises of a document: the rows of its tables with this head.
pub fn claims(document: &str) -> Vec<Claim> {
    let (mut found, mut inside) = (Vec::new(), false);
    for (index, line) in document.lines().enumerate() {
        inside = line == "| promised | tests |" || (inside && line.starts_with('|'));
        if inside && line.starts_with("| ") && line != "| promised | tests |" {
            let names = line.split('`').skip(1).step_by(2);
            let tests = names.filter_map(|name| name.rsplit_once("::"));
            let tests = tests.filter(|(path, _)| path.ends_with(".rs"));
            let tests = tests.map(|(path, name)| (path.to_owned(), name.to_owned())).collect();
            found.push(Claim { line: index + 1, tests });
        }
    }
    found
}

/// Whether a source has a test of that name.
pub fn has_test(source: &str, name: &str) -> bool {
    let start = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
        line.starts_with(&start) && above.into_iter().any(|line| *line == "#[test]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
| promised | tests |
|---|---|
| One `word`. | `src/a.rs::one` `tests/b/main.rs::two` |
| Two. | nothing |

| other | table |
|---|---|
| `src/a.rs::three` | |
";

    #[test]
    fn rows_of_promises_are_found() {
        let found = claims(SAMPLE);
        let test = |path: &str, name: &str| (path.to_owned(), name.to_owned());
        let first = vec![test("src/a.rs", "one"), test("tests/b/main.rs", "two")];
        let want = [Claim { line: 3, tests: first }, Claim { line: 4, tests: vec![] }];
        assert_eq!(found, want);
    }

    #[test]
    fn only_tests_are_tests() {
        let source = "#[test]\n#[cfg(unix)]\nfn one() {}\nfn two() {}\n    #[test]\n    fn three(";
        assert!(has_test(source, "one") && has_test(source, "three"));
        assert!(!has_test(source, "two") && !has_test(source, "thre") && !has_test(source, "none"));
    }
}
