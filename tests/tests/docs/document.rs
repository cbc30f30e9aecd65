//! Documents: their fenced blocks, the commands in them, and commands in running text.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A document.
pub(crate) struct Document {
    /// Its path from the root.
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
    /// What stands outside of blocks.
    pub(crate) prose: String,
}

/// What stands between fences.
pub(crate) struct Block {
    pub(crate) language: String,
    /// The number of its first line.
    line: usize,
    pub(crate) text: String,
}

/// A command that a document tells to type.
#[derive(Debug)]
pub(crate) struct Typed {
    /// Document and line.
    pub(crate) at: String,
    pub(crate) words: Vec<String>,
    /// What stands below it in the same block.
    pub(crate) output: String,
}

/// All documents that tell people what to type.
pub(crate) fn all() -> Result<Vec<Document>> {
    let mut files: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "helm/README.md"].map(PathBuf::from).into();
    let mut directories = vec![PathBuf::from("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root().join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|file| read(&file.display().to_string())).collect()
}

/// One of them.
pub(crate) fn read(name: &str) -> Result<Document> {
    let text = fs::read_to_string(root().join(name)).with_context(|| name.to_owned())?;
    Ok(parse(name, &text))
}

fn parse(name: &str, text: &str) -> Document {
    let mut document = Document { name: name.to_owned(), blocks: Vec::new(), prose: String::new() };
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut open) {
            (Some(_), Some(_)) => document.blocks.extend(open.take()),
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { language, line: index + 2, text: String::new() });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {
                document.prose.push_str(line);
                document.prose.push('\n');
            }
        }
    }
    document
}

impl Document {
    /// The blocks of a language.
    pub(crate) fn blocks(&self, language: &str) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.language == language)
    }

    /// The commands of its console blocks.
    pub(crate) fn typed(&self) -> Result<Vec<Typed>> {
        let mut all = Vec::new();
        for block in self.blocks("console") {
            all.extend(block.typed(&self.name)?);
        }
        Ok(all)
    }

    /// What stands in backquotes in its running text, and begins with `start`.
    pub(crate) fn quoted(&self, start: &str) -> Vec<String> {
        let quoted = self.prose.split('`').skip(1).step_by(2);
        let flat = quoted.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        flat.filter(|text| text.starts_with(start)).collect()
    }
}

impl Block {
    fn typed(&self, document: &str) -> Result<Vec<Typed>> {
        let mut all: Vec<Typed> = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let Some(command) = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) else {
                if let Some(last) = all.last_mut() {
                    last.output.push_str(line);
                    last.output.push('\n');
                }
                continue;
            };
            let at = format!("{document}:{}", self.line + index);
            let mut whole = command.to_owned();
            let words = loop {
                let more = whole.ends_with('\\');
                if let Some(words) = shlex::split(&whole).filter(|_| !more) {
                    break words;
                }
                let (_, next) = lines.next().with_context(|| format!("{at}: has no end"))?;
                whole = format!("{}\n{next}", whole.trim_end_matches('\\'));
            };
            for words in words.split(|word| word == "&&") {
                let words = bare(words).to_vec();
                all.push(Typed { at: at.clone(), words, output: String::new() });
            }
        }
        Ok(all)
    }
}

/// The command without variables and `sudo` before it.
fn bare(mut words: &[String]) -> &[String] {
    while let [first, rest @ ..] = words {
        let variable = first
            .split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        if !variable && first != "sudo" {
            break;
        }
        words = rest;
    }
    words
}

#[test]
fn commands_are_read_as_a_shell_would() -> Result<()> {
    let text = "```console\n$ A=1 sudo b --c 'd e' \\\n    f   # g\nout\n# h 'i\nj' && k\n```\n";
    let typed = parse("x.md", text).typed()?;
    let seen: Vec<(&str, Vec<&str>, &str)> = typed
        .iter()
        .map(|it| (&*it.at, it.words.iter().map(String::as_str).collect(), &*it.output))
        .collect();
    let expected: [(&str, Vec<&str>, &str); 3] = [
        ("x.md:2", vec!["b", "--c", "d e", "f"], "out\n"),
        ("x.md:5", vec!["h", "i\nj"], ""),
        ("x.md:5", vec!["k"], ""),
    ];
    assert_eq!(seen, expected);
    Ok(())
}

#[test]
fn what_is_quoted_in_running_text_may_go_over_lines() {
    let document =
        parse("x.md", "Say `sluice status\n-o json`, not `this`.\n```text\n`sluice no`\n```\n");
    assert_eq!(document.quoted("sluice "), ["sluice status -o json"]);
}
