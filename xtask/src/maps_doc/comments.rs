//! What the comments of `proxy-common` say about its types, their fields and their numbers. Reads
//! lines, in the shape that rustfmt gives them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

/// The comments, as text for a document.
#[derive(Default)]
pub(super) struct Comments {
    types: BTreeMap<String, String>,
    fields: BTreeMap<(String, String), String>,
    numbers: BTreeMap<String, Vec<Number>>,
}

/// A bit of a set of flags, or a case of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) meaning: String,
}

impl Comments {
    /// Reads every file of the directory.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        let mut comments = Self::default();
        for entry in fs::read_dir(directory).with_context(|| shown.clone())? {
            let path = entry.with_context(|| shown.clone())?.path();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            comments.add(&text);
        }
        Ok(comments)
    }

    fn add(&mut self, text: &str) {
        let mut comment: Vec<&str> = Vec::new();
        let mut item = String::new();
        for line in text.lines() {
            let code = line.trim_start();
            let nested = code.len() < line.len();
            if let Some(said) = code.strip_prefix("///") {
                comment.push(said.strip_prefix(' ').unwrap_or(said));
                continue;
            }
            if code.starts_with("#[") || code.starts_with("#![") {
                continue;
            }
            let said = prose(&comment);
            comment.clear();
            if let Some(name) = declared(code, &["pub struct ", "pub enum ", "impl "]) {
                if !nested {
                    item = name.to_owned();
                    if code.starts_with("pub") {
                        self.types.insert(item.clone(), said);
                    }
                }
            } else if let Some((name, number)) = number(code) {
                let number = Number { name: name.to_owned(), number, meaning: said };
                self.numbers.entry(item.clone()).or_default().push(number);
            } else if let Some(name) = field(code).filter(|_| nested) {
                self.fields.insert((item.clone(), name.to_owned()), said);
            }
        }
    }

    /// What is said of the type `name`; of a generic one, whatever it is applied to.
    pub(super) fn of_type(&self, name: &str) -> &str {
        self.types.get(generic(name)).map_or("", String::as_str)
    }

    /// What is said of a field.
    pub(super) fn of_field(&self, name: &str, field: &str) -> &str {
        let key = (generic(name).to_owned(), field.to_owned());
        self.fields.get(&key).map_or("", String::as_str)
    }

    /// Every type with numbers, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (&str, &[Number])> {
        self.numbers.iter().map(|(name, numbers)| (name.as_str(), numbers.as_slice()))
    }
}

/// `Tuple<V4>` is documented as `Tuple`.
fn generic(name: &str) -> &str {
    name.split_once('<').map_or(name, |(name, _)| name)
}

/// The name after one of these words: `pub struct Tuple<A> {` declares `Tuple`.
fn declared<'a>(code: &'a str, words: &[&str]) -> Option<&'a str> {
    let rest = words.iter().find_map(|word| code.strip_prefix(word))?;
    rest.split(|c: char| !c.is_alphanumeric()).next().filter(|name| !name.is_empty())
}

/// `pub port: Be16,` is the field `port`.
fn field(code: &str) -> Option<&str> {
    let (name, _) = code.strip_prefix("pub ")?.split_once(": ")?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name)
}

/// `pub const FIN: Self = Self { bits: 1 };` or `Workload = 1,`.
fn number(code: &str) -> Option<(&str, u32)> {
    if let Some(flag) = code.strip_prefix("pub const ") {
        let (name, bits) = flag.split_once(": Self = Self { bits: ")?;
        return Some((name, bits.strip_suffix(" };")?.parse().ok()?));
    }
    let (name, number) = code.strip_suffix(',')?.split_once(" = ")?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some((name, number.parse().ok()?))
}

/// The first paragraph of a comment on one line, without rustdoc's links.
fn prose(comment: &[&str]) -> String {
    let paragraph: Vec<_> = comment.iter().take_while(|line| !line.is_empty()).copied().collect();
    let text = paragraph.join(" ");
    text.replace("[`", "`").replace("`]", "`").replace("`Self::", "`").replace("`crate::", "`")
}

#[cfg(test)]
mod tests {
    use super::{Comments, Number};

    const TEXT: &str = "\
/// A thing, see
/// [`Self::port`].
///
/// More.
#[derive(Clone)]
pub struct Thing<A> {
    /// Its port.
    pub port: Be16,
}

impl Flags {
    /// The end.
    pub const FIN: Self = Self { bits: 4 };
}
";

    #[test]
    fn types_fields_and_numbers_are_found_with_their_comments() {
        let mut comments = Comments::default();
        comments.add(TEXT);
        assert_eq!(comments.of_type("Thing<V4>"), "A thing, see `port`.");
        assert_eq!(comments.of_field("Thing<V6>", "port"), "Its port.");
        let flag = Number { name: "FIN".into(), number: 4, meaning: "The end.".into() };
        assert_eq!(comments.numbers().collect::<Vec<_>>(), [("Flags", [flag].as_slice())]);
    }
}
