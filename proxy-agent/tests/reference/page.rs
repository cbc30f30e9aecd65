//! A page: where it is, its generated part, its tables.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const BEGIN: &str = "<!-- from the code -->\n";
const END: &str = "<!-- by hand -->\n";

/// A file of the workspace.
pub(crate) fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// What is written there.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The generated part of `page` is `generated`; or it is made so, if the environment says it.
pub(crate) fn check(page: &str, generated: &str) {
    let present = read(page);
    let expected = with_generated(&present, generated)
        .unwrap_or_else(|| panic!("{page}: has no line {BEGIN:?} that {END:?} follows"));
    if present == expected {
        return;
    }
    if env::var("REFERENCE").is_ok_and(|value| value == "write") {
        fs::write(file(page), expected).unwrap();
        eprintln!("{page}: written anew");
        return;
    }
    let same = present.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    panic!(
        "{page}:{}: is not what the code says; run this test with REFERENCE=write\n  is:        \
         {}\n  should be: {}",
        same + 1,
        present.lines().nth(same).unwrap_or("(end)"),
        expected.lines().nth(same).unwrap_or("(end)"),
    );
}

fn with_generated(page: &str, generated: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", generated.trim_end()))
}

/// What the first cells of the rows name that stand below the heading `heading`, up to the next one.
pub(crate) fn named(page: &str, heading: &str) -> Vec<String> {
    let text = read(page);
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{page}: has no heading {heading:?}");
    lines
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, _) = line.strip_prefix("| `")?.split_once("` |")?;
            Some(name.to_owned())
        })
        .collect()
}

/// A cell of a table: what would end it is taken its meaning.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[test]
fn only_what_stands_between_the_marks_is_replaced() {
    let page = format!("# A\n{BEGIN}old\n{END}tail\n");
    let expected = format!("# A\n{BEGIN}\nnew\n\n{END}tail\n");
    assert_eq!(with_generated(&page, "new\n"), Some(expected.clone()));
    assert_eq!(with_generated(&expected, "new"), Some(expected));
    assert_eq!(with_generated("# A\n", "new"), None);
}
