//! Rust files as the rules see them: each line as it is written, and once more without comments
//! and without what is inside literals, so that a rule about code doesn't stumble over prose.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Directories that are not ours to judge.
const SKIPPED: &[&str] = &[".git", "target"];

/// A Rust file.
pub(super) struct Source {
    /// Relative to the workspace, with `/`.
    pub(super) path: String,
    /// Its lines as they are written.
    pub(super) lines: Vec<String>,
    /// Its lines without comments and without the inside of literals.
    pub(super) code: Vec<String>,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            code: code(text).lines().map(str::to_owned).collect(),
        }
    }

    /// Whether the file is `place`, or lies in it where that ends in `/`.
    pub(super) fn is_in(&self, place: &str) -> bool {
        self.path == place || (place.ends_with('/') && self.path.starts_with(place))
    }

    /// Lines of code that have `word` as a word of its own, counted from 1.
    pub(super) fn lines_with_word<'a>(
        &'a self,
        word: &'a str,
    ) -> impl Iterator<Item = (usize, &'a str)> {
        let numbered = self.code.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()));
        numbered.filter(move |(_, line)| words(line, word).next().is_some())
    }
}

/// Where `word` begins in `line`, as a word of its own.
pub(super) fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !line[..*at].ends_with(in_word) && !line[at + word.len()..].starts_with(in_word)
    })
}

/// Every file with the ending `.extension` below `root`, by path, with its text.
pub(super) fn files(root: &Path, extension: &str) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let shown = directory.display().to_string();
        for entry in fs::read_dir(&directory).with_context(|| shown.clone())? {
            let path = entry.with_context(|| shown.clone())?.path();
            let skipped =
                path.file_name().is_some_and(|name| SKIPPED.iter().any(|skipped| name == *skipped));
            if path.is_dir() && !skipped {
                directories.push(path);
            } else if path.extension().is_some_and(|has| has == extension) {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let relative = path.strip_prefix(root).unwrap_or(&path);
                files.push((relative.display().to_string(), text));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Every Rust file below `root`.
pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    Ok(files(root, "rs")?.iter().map(|(path, text)| Source::new(path, text)).collect())
}

/// `text` with as many lines, and blanks in place of comments and of the inside of literals.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let blank = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if first == '"' {
            string(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !after_word) {
            length
        } else if let Some(length) = character(rest).filter(|_| first == '\'') {
            length
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let (literal, after) = rest.split_at(blank);
        code.extend(literal.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, and with more of them.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    let inside = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(2 + hashes + length)
}

/// `'x'`, `'\n'`, `'\u{2d}'`, but not a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let end = inside.char_indices().skip(2).find(|(_, c)| *c == '\'')?;
        return Some(end.0 + 2);
    }
    let first = inside.chars().next()?;
    inside[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::{Source, code};

    #[test]
    fn prose_and_literals_are_no_code() {
        let text = "a(); // unsafe\nlet s = \"un\\\"safe\"; /* unsafe\nunsafe */ b(r#\"unsafe\"#)";
        let expected = ["a();", "let s =", "b("];
        let code = code(text);
        assert_eq!(code.lines().count(), 3);
        for (line, expected) in code.lines().zip(expected) {
            assert!(line.trim_start().starts_with(expected), "{line:?}");
            assert!(!line.contains("safe"), "{line:?}");
        }
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(code("fn f<'a>(x: &'a u8) { '\\'' }"), "fn f<'a>(x: &'a u8) {      }");
        assert_eq!(code("'\"'; x"), "   ; x");
    }

    #[test]
    fn a_word_is_not_a_part_of_a_word() {
        let source = Source::new("a.rs", "forbid(unsafe_code)\nunsafe { }");
        let lines: Vec<_> = source.lines_with_word("unsafe").map(|(line, _)| line).collect();
        assert_eq!(lines, [2]);
    }
}
