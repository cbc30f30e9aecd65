//! Questions that documents ask `sluice explain`: the answers are those that they show.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use lab::Sluice;

use crate::document;

/// Where a document leaves the rest of an answer out.
const AND_SO_ON: &str = "  …";

#[test]
fn answers_are_as_they_are_shown() -> Result<()> {
    let sluice = Sluice::of_workspace()?;
    let manifests = document::read("docs/explain.md")?
        .blocks("yaml")
        .next()
        .map(|block| block.text.clone())
        .context("docs/explain.md shows no manifests")?;
    let mut compared = 0;
    for document in document::all()? {
        for typed in document.typed()? {
            let [program, command, words @ ..] = typed.words.as_slice() else { continue };
            if program != "sluice" || command != "explain" {
                continue;
            }
            let node = words.iter().skip_while(|word| *word != "--node").nth(1);
            let node = node.with_context(|| format!("{}: which node?", typed.at))?;
            let directory = tempfile::tempdir()?;
            fs::write(directory.path().join("web.yaml"), manifests.replace("node-1", node))?;
            let words = words.iter().map(|word| if word == "DIR" { "." } else { word });
            let output = Command::new(sluice.program())
                .arg("explain")
                .args(words)
                .current_dir(directory.path())
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{}: {said}", typed.at);
            let answer = String::from_utf8(output.stdout)?;
            let shown = typed.output.trim_end();
            let as_shown = match shown.strip_suffix(AND_SO_ON) {
                Some(beginning) => answer.starts_with(beginning),
                None => answer.trim_end() == shown,
            };
            ensure!(as_shown, "{}: the answer is\n{answer}", typed.at);
            compared += 1;
        }
    }
    ensure!(compared >= 2, "only {compared} questions were found");
    Ok(())
}
