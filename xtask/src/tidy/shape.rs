//! Every file says what it is, and is short enough to be one idea.

use super::{Source, Violation};

const LINES_MAX: usize = 400;

/// Files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[];

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    if !source.lines.first().is_some_and(|line| line.starts_with("//! ")) {
        violations.push(source.violation(
            1,
            "header",
            "the first line is not `//! …`; begin the file with what it is, what it deliberately \
             does not do, and who calls it"
                .to_owned(),
        ));
    }
    let length = source.lines.len();
    if length > LINES_MAX && !LONGER.iter().any(|(file, _)| *file == source.path) {
        violations.push(source.violation(
            LINES_MAX + 1,
            "length",
            format!(
                "{length} lines are more than {LINES_MAX}; find the second idea in the file and \
                 move it out, or give the reason in LONGER of xtask/src/tidy/shape.rs"
            ),
        ));
    }
}

/// Exceptions that nobody needs any more are removed.
pub(super) fn check_table(sources: &[Source], violations: &mut Vec<Violation>) {
    for (file, _) in LONGER {
        let needed =
            sources.iter().any(|source| source.path == *file && source.lines.len() > LINES_MAX);
        if !needed {
            violations.push(Violation {
                file: (*file).to_owned(),
                line: 1,
                rule: "length",
                message: "is no longer too long; remove it from LONGER in \
                          xtask/src/tidy/shape.rs"
                    .to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{NOWHERE, found},
        LINES_MAX, check,
    };

    #[test]
    fn a_file_without_a_header_or_with_too_many_lines_is_found() {
        assert_eq!(found(check, "a.rs", "//! A file.\n"), NOWHERE);
        assert_eq!(found(check, "a.rs", "use a;\n"), [1]);
        assert_eq!(found(check, "a.rs", ""), [1]);
        let long = format!("//! A file.\n{}", "x\n".repeat(LINES_MAX));
        assert_eq!(found(check, "a.rs", &long), [LINES_MAX + 1]);
    }
}
