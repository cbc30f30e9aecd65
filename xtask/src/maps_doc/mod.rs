//! `cargo xtask maps-doc`: docs/maps.md, from three sources that must agree: the table of maps
//! (`proxy_common::layout`), the types in the built object (BTF, which is also what `bpftool map
//! dump` goes by), and the comments of `proxy-common`.

mod btf;
mod comments;
mod fields;
mod maps;
mod render;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{build, process, setup, workspace};

const DOCUMENT: &str = "docs/maps.md";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the document isn't what it should be
    #[arg(long)]
    check: bool,
}

/// The command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Load)?;
    let document = document()?;
    let path = workspace::root().join(DOCUMENT);
    let present = fs::read_to_string(&path).unwrap_or_default();
    if present == document {
        println!("maps-doc: {DOCUMENT} is fresh");
    } else if arguments.check {
        bail!("{}", stale(&present, &document));
    } else {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::write(&path, document).with_context(|| path.display().to_string())?;
        println!("maps-doc: wrote {DOCUMENT}");
    }
    Ok(())
}

/// What the document should be.
fn document() -> Result<String> {
    let built = build::objects(&["sluice-datapath"])?;
    let types = types(built.objects.first().context("no object was built")?)?;
    let maps = maps::check(&types)?;
    let comments = comments::Comments::read(&workspace::root().join("proxy-common/src"))?;
    render::document(&types, &maps, &comments)
}

fn types(object: &[u8]) -> Result<btf::Types> {
    let bpftool = workspace::find_program("bpftool")
        .context("bpftool isn't installed; run `cargo xtask setup`")?;
    let file = workspace::target().join("maps-doc.o");
    fs::write(&file, object).with_context(|| file.display().to_string())?;
    let mut dump = process::command(bpftool);
    dump.args(["--json", "btf", "dump", "file"]).arg(file);
    btf::Types::parse(&process::output(&mut dump)?)
}

/// Where the document first differs, and what to do.
fn stale(present: &str, expected: &str) -> String {
    let same = present.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    format!(
        "{DOCUMENT}:{}: is not what the code says; run `cargo xtask maps-doc`\n  is:        {}\n  \
         should be: {}",
        same + 1,
        present.lines().nth(same).unwrap_or("(end)"),
        expected.lines().nth(same).unwrap_or("(end)"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{DOCUMENT, document, stale};
    use crate::workspace;

    #[test]
    fn the_document_is_what_the_code_says() {
        let expected = document().unwrap();
        let present = fs::read_to_string(workspace::root().join(DOCUMENT)).unwrap_or_default();
        assert!(present == expected, "{}", stale(&present, &expected));
    }

    #[test]
    fn a_stale_document_names_the_first_line_that_differs() {
        let message = stale("a\nb\n", "a\nc\n");
        assert!(message.starts_with("docs/maps.md:2:"), "{message}");
    }
}
