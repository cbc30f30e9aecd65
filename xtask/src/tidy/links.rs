//! Links between documents lead somewhere. Addresses on the net are not looked at.

use std::path::Path;

use anyhow::Result;

use super::{Violation, source};

pub(super) fn check(root: &Path, violations: &mut Vec<Violation>) -> Result<()> {
    for (file, text) in source::files(root, "md")? {
        let directory = root.join(&file);
        let directory = directory.parent().unwrap_or(root);
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            for link in links(line).filter(|_| !fenced) {
                if !directory.join(link).exists() {
                    violations.push(Violation {
                        file: file.clone(),
                        line: index + 1,
                        rule: "links",
                        message: format!("`{link}` does not exist; write it or correct the link"),
                    });
                }
            }
        }
    }
    Ok(())
}

/// The files that `[…](…)` in `line` refer to, without their anchors.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        let (file, _) = target.split_once('#').unwrap_or((target, ""));
        let local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
        local.then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_to_files_are_found_without_anchors_and_the_net() {
        let line = "[a](docs/a.md#x), [b](https://example.org) and [c](#here), [d](../d.rs)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["docs/a.md", "../d.rs"]);
    }
}
