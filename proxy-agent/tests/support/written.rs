//! Files that say what is asked and what comes of it: each is played and has to come out as it is
//! written.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Has `play` say what every file of `directory`, in `tests`, should look like. With `variable=write`
/// in the environment the files are written anew instead.
pub(crate) fn compare(directory: &str, variable: &str, play: impl Fn(&str) -> String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing is written in {}", directory.display());
    let write = std::env::var(variable).is_ok_and(|value| value == "write");
    let mut failed = Vec::new();
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let played = play(&written);
        if written == played {
            continue;
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if write {
            fs::write(&file, played).unwrap();
            eprintln!("{name}: written anew");
        } else {
            eprintln!("{name}: - is written there, + is what happens\n{}", diff(&written, &played));
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "files that come out otherwise: {}", failed.join(", "));
}

/// What stands behind `===` on a line, and the lines up to the next one.
pub(crate) fn sections(text: &str) -> Vec<(&str, &str)> {
    let mut sections = Vec::new();
    let (mut head, mut rest) = ("", text);
    while let Some(at) = next_section(rest) {
        sections.push((head, &rest[..at]));
        let (line, after) = rest[at..].split_once('\n').unwrap_or((&rest[at..], ""));
        head = line.trim_start_matches('=').trim();
        rest = after;
    }
    sections.push((head, rest));
    sections
}

fn next_section(text: &str) -> Option<usize> {
    if text.starts_with("===") { Some(0) } else { text.find("\n===").map(|at| at + 1) }
}

/// The lines that differ, with those around them.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // Length of the longest common run of lines from (i, j) on.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            writeln!(text, "  {}", old[i]).unwrap();
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            writeln!(text, "- {}", old[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "+ {}", new[j]).unwrap();
            j += 1;
        }
    }
    text
}
