//! What is never committed: code that is not written yet, tests that don't run, notes to oneself.

use super::{Source, Violation};

/// Pieces of code, and what to do instead. (Clippy refuses the first two too, in what it compiles.)
const CODE: &[(&str, &str)] = &[
    (concat!("to", "do!("), "write the code, or return an error that says what is missing"),
    (
        concat!("unimple", "mented!("),
        "write the code, or return an error that says what is missing",
    ),
    (concat!("#[ign", "ore"), "make the test run everywhere, or delete it"),
];

/// Words in comments, and what to do instead.
const NOTES: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it, or open an issue and say here what is so and why"),
    (concat!("FIX", "ME"), "fix it, or open an issue and say here what is so and why"),
    (concat!("XX", "X"), "say what is wrong, or fix it"),
];

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    for (index, (line, code)) in source.lines.iter().zip(&source.code).enumerate() {
        let found = CODE
            .iter()
            .filter(|(piece, _)| code.contains(piece))
            .chain(NOTES.iter().filter(|(note, _)| super::source::words(line, note).count() > 0));
        for (what, remedy) in found {
            violations.push(source.violation(index + 1, "banned", format!("`{what}`; {remedy}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, check};

    #[test]
    fn unwritten_code_and_notes_are_found() {
        let text =
            concat!("//! x\nto", "do!()\n// TO", "DO: y\n#[ign", "ore = \"z\"]\n\"FIX", "MEs\"");
        assert_eq!(found(check, "a.rs", text), [2, 3, 4]);
    }
}
