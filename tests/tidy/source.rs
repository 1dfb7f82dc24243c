//! A source file as the rules see it: its text, the same text with comments and literals blanked
//! out, and what its braces enclose.

use std::ops::Range;

/// A Rust source file.
pub struct Source {
    /// Path from the package root, with `/`.
    pub path: String,
    pub text: String,
    /// The text with every byte of a comment or a literal turned into a space, so that offsets
    /// and lines are the same.
    pub code: String,
    /// What the braces of `mod name { .. }` enclose.
    pub modules: Vec<Range<usize>>,
    /// What the braces of items under `#[cfg(test)]` enclose; all of a file of tests.
    pub tests: Vec<Range<usize>>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank(text);
        let modules = words(&code, "mod").filter_map(|at| body(&code, at)).collect();
        let is_tests = !path.starts_with("src/") || path.ends_with("/tests.rs");
        let tests = if is_tests || path.contains("/tests/") {
            std::iter::once(0..code.len()).collect()
        } else {
            code.match_indices("#[cfg(test)]").filter_map(|(at, _)| body(&code, at)).collect()
        };
        Source { path: path.to_owned(), text: text.to_owned(), code, modules, tests }
    }

    /// The line number of an offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    pub fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&offset))
    }

    /// How many modules deep the code at the offset is: 1 for `src/a.rs` and `src/a/mod.rs`.
    pub fn depth(&self, offset: usize) -> usize {
        let own = match self.path.strip_prefix("src/") {
            Some("lib.rs") | None => 0,
            Some(name) => name.split('/').count() - usize::from(name.ends_with("/mod.rs")),
        };
        own + self.modules.iter().filter(|range| range.contains(&offset)).count()
    }

    /// A finding at an offset.
    pub fn finding(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line(offset))
    }
}

/// Offsets at which a word stands alone.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

/// The body of the item that starts at an offset of blanked code: from its first brace outside
/// parentheses and brackets to the matching one. `None` where a semicolon ends it first.
pub fn body(code: &str, from: usize) -> Option<Range<usize>> {
    let (mut nested, mut braces, mut start) = (0, 0, None);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if nested == 0 && start.is_none() => return None,
            b'{' => {
                braces += 1;
                start.get_or_insert(at);
            }
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return start.map(|start| start..at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Turns comments, strings and characters into spaces; keeps newlines and every offset.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let len = opaque(&text[at..], at > 0 && is_ident(bytes[at - 1]));
        for byte in &mut code[at..at + len] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += len;
        // Step over one whole character of code.
        if len == 0 {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    String::from_utf8(code).expect("whole characters are replaced")
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the comment or literal at the start of the text, or 0. A letter before a prefix
/// such as `r` makes it part of a name.
fn opaque(text: &str, in_name: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('\'') {
        return character(text);
    }
    if text.starts_with('"') {
        return string(text);
    }
    if in_name {
        return 0;
    }
    let prefix = text.bytes().take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let rest = &text[prefix..];
    if !(1..=2).contains(&prefix) {
        return 0;
    }
    if text[..prefix].ends_with('r') {
        raw_string(rest).map_or(0, |len| prefix + len)
    } else if rest.starts_with('"') {
        prefix + string(rest)
    } else if text.starts_with("b'") {
        prefix + character(rest)
    } else {
        0
    }
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest.starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// A character literal, or 0 for a lifetime or a label.
fn character(text: &str) -> usize {
    if text.starts_with("'\\") {
        // What is escaped may itself be a quote.
        let close = text.get(3..).and_then(|rest| rest.find('\''));
        return close.map_or(text.len(), |at| 3 + at + 1);
    }
    let mut chars = text.char_indices().skip(2);
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 0,
    }
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What follows the `r` of a raw string, or nothing for a raw name.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.bytes().take_while(|byte| *byte == b'#').count();
    if !text[hashes..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let open = hashes + 1;
    Some(text[open..].find(&close).map_or(text.len(), |at| open + at + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y{", 'a', b'\'', '\\', "")"#, "f(       ,    ,      ,     ,   )"),
            ("r\"a\\\" r#\"b\"c\"# br\"d\"", "                    "),
            ("<'a> 'b: loop {} r#type bar\"s\"", "<'a> 'b: loop {} r#type bar   "),
            ("'\\u{7b}' + x", "         + x"),
            ("\u{e9}('\u{e9}')", "\u{e9}(    )"),
            ("\"open", "     "),
        ];
        for (text, code) in cases {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn bodies_end_where_they_end() {
        let code = "fn f(a: [u8; 2]) -> X { { } } fn g();";
        assert_eq!(body(code, 0).map(|r| &code[r]), Some("{ { } }"));
        assert_eq!(body(code, code.find("fn g").unwrap()), None);
        assert_eq!(body("fn f() { {", 0), None);
        let found: Vec<_> = words("fn fnord afn fn", "fn").collect();
        assert_eq!(found, [0, 13]);
    }

    #[test]
    fn tests_and_depth() {
        let text = "mod a { x }\n#[cfg(test)]\nmod tests { mod inner { y } }\nz";
        let source = Source::new("src/format/node.rs", text);
        let at = |mark| text.find(mark).unwrap();
        assert_eq!([at("x"), at("y"), at("z")].map(|at| source.depth(at)), [3, 4, 2]);
        assert_eq!([at("x"), at("y"), at("z")].map(|at| source.is_test(at)), [false, true, false]);
        assert_eq!(Source::new("src/format/mod.rs", "x").depth(0), 1);
        assert_eq!(Source::new("src/error.rs", "x").depth(0), 1);
        assert_eq!(Source::new("src/lib.rs", "x").depth(0), 0);
        assert!(Source::new("src/a/tests.rs", "x").is_test(0));
        assert_eq!(source.finding(at("y"), "no"), "src/format/node.rs:3: no");
    }
}
