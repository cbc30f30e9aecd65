//! Decisions can be found: each page of `docs/adr` is in the table of its first page, and a number
//! that anyone refers to has a page.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use super::{Violation, source};

const DIRECTORY: &str = "docs/adr/";
/// The page with the table; it says so of itself.
const FIRST: &str = "docs/adr/0001-record-decisions.md";
/// Texts of ours that may refer to a decision.
const EXTENSIONS: &[&str] = &["md", "rs", "toml", "yaml"];

pub(super) fn check(root: &Path, violations: &mut Vec<Violation>) -> Result<()> {
    let documents = source::files(root, "md")?;
    let pages: Vec<&str> = documents
        .iter()
        .filter_map(|(file, _)| file.strip_prefix(DIRECTORY))
        .filter(|page| number(page).is_some())
        .collect();
    let table = documents.iter().find(|(file, _)| file == FIRST).map_or("", |(_, text)| text);
    for page in missing(&pages, table) {
        violations.push(Violation {
            file: format!("{DIRECTORY}{page}"),
            line: 1,
            rule: "decisions",
            message: format!("is not in the table of {FIRST}; add a row"),
        });
    }
    let numbers: BTreeSet<&str> = pages.iter().filter_map(|page| number(page)).collect();
    for extension in EXTENSIONS {
        for (file, text) in source::files(root, extension)? {
            for (line, referred) in references(&text).filter(|(_, it)| !numbers.contains(it)) {
                violations.push(Violation {
                    file: file.clone(),
                    line,
                    rule: "decisions",
                    message: format!("there is no decision {referred}; correct the number"),
                });
            }
        }
    }
    Ok(())
}

/// The pages that the table has no link to.
fn missing<'a>(pages: &[&'a str], table: &str) -> Vec<&'a str> {
    let listed = |page: &&str| FIRST.ends_with(page) || table.contains(&format!("]({page})"));
    pages.iter().copied().filter(|page| !listed(page)).collect()
}

/// The four digits that `text` begins with.
fn number(text: &str) -> Option<&str> {
    text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Line and number of each decision that is referred to as one.
fn references(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split("ADR ").skip(1).filter_map(number).map(move |number| (index + 1, number))
    })
}

#[cfg(test)]
mod tests {
    use super::{missing, references};

    #[test]
    fn a_page_without_a_row_is_found() {
        let pages = ["0001-record-decisions.md", "0002-a.md", "0003-b.md"];
        assert_eq!(missing(&pages, "| [0002](0002-a.md) | a |\n"), ["0003-b.md"]);
    }

    #[test]
    fn numbers_are_found_with_their_lines() {
        let text = "of ADR 0002.\nADRs\nsee ADR 0003 and ADR 0004";
        let found: Vec<_> = references(text).collect();
        assert_eq!(found, [(1, "0002"), (3, "0003"), (3, "0004")]);
    }
}
