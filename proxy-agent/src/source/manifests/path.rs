//! Paths to fields of a document: their text, the value they lead to, and the line it stands on.

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, Span, StrInput};

/// One step from a node of a document to a node inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The steps of a path such as `spec.ports[0].port`.
pub(super) fn parse(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        steps.extend(pieces.next().filter(|key| !key.is_empty()).map(|key| Step::Key(key.into())));
        steps.extend(
            pieces.filter_map(|index| index.trim_end_matches(']').parse().ok()).map(Step::Index),
        );
    }
    steps
}

/// The path of `steps`, as text.
pub(super) fn text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The value at the end of `steps`, as one would write it; empty when there is none.
pub(super) fn value(document: &Value, steps: &[Step]) -> String {
    let end = steps.iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    });
    match end {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The line, counted from 1, of the node at the end of `steps`, or of the last node on the way that
/// is there. `None` when `document` is no YAML.
pub(super) fn line(document: &str, steps: &[Step]) -> Option<usize> {
    let mut walk = Walk { parser: Parser::new_from_str(document), line: None };
    let event = walk.next_node()?;
    walk.node(event, Some(steps))?;
    walk.line
}

struct Walk<'input> {
    parser: Parser<'input, StrInput<'input>>,
    line: Option<usize>,
}

impl<'input> Walk<'input> {
    /// The next event that begins or ends a node.
    fn next_node(&mut self) -> Option<(Event<'input>, Span)> {
        loop {
            let (event, span) = self.parser.next()?.ok()?;
            let begins_or_ends_a_node = matches!(
                event,
                Event::Alias(_)
                    | Event::Scalar(..)
                    | Event::SequenceStart(..)
                    | Event::SequenceEnd
                    | Event::MappingStart(..)
                    | Event::MappingEnd
            );
            if begins_or_ends_a_node {
                return Some((event, span));
            }
        }
    }

    /// Reads a node whose first event was read already. `steps` lead on from it, if it lies on the
    /// way.
    fn node(&mut self, (event, span): (Event<'input>, Span), steps: Option<&[Step]>) -> Option<()> {
        if steps.is_some() && self.line.is_none() {
            self.line = Some(span.start.line());
        }
        match event {
            Event::SequenceStart(..) => self.sequence(steps),
            Event::MappingStart(..) => self.mapping(steps),
            _ => Some(()),
        }
    }

    fn sequence(&mut self, steps: Option<&[Step]>) -> Option<()> {
        for index in 0.. {
            let (event, span) = self.next_node()?;
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let on = match steps.and_then(<[Step]>::split_first) {
                Some((Step::Index(wanted), rest)) if *wanted == index => Some(rest),
                _ => None,
            };
            if on.is_some() {
                self.line = Some(span.start.line());
            }
            self.node((event, span), on)?;
        }
        Some(())
    }

    fn mapping(&mut self, steps: Option<&[Step]>) -> Option<()> {
        loop {
            let (key, span) = self.next_node()?;
            if matches!(key, Event::MappingEnd) {
                return Some(());
            }
            let on = match (steps.and_then(<[Step]>::split_first), &key) {
                (Some((Step::Key(wanted), rest)), Event::Scalar(key, ..)) if *key == *wanted => {
                    self.line = Some(span.start.line());
                    Some(rest)
                }
                _ => None,
            };
            self.node((key, span), None)?;
            let value = self.next_node()?;
            self.node(value, on)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{line, parse, text, value};

    const DOCUMENT: &str = "# a comment\nkind: Service\nspec:\n  ports:\n  - name: a\n    port: 80\n  - name: b\n    port: x\n";

    #[test]
    fn a_path_is_read_and_written() {
        for path in ["spec.ports[0].port", "endpoints[12].addresses[0]", "kind", ""] {
            assert_eq!(text(&parse(path)), path);
        }
    }

    #[test]
    fn a_field_is_found_in_the_text() {
        assert_eq!(line(DOCUMENT, &parse("spec.ports[1].port")), Some(8));
        assert_eq!(line(DOCUMENT, &parse("spec.ports[1]")), Some(7));
        assert_eq!(line(DOCUMENT, &parse("spec.ports")), Some(4));
        assert_eq!(line("{\"spec\":\n {\"type\": 1}}", &parse("spec.type")), Some(2));
    }

    #[test]
    fn of_a_field_that_is_absent_the_one_around_it_is_found() {
        assert_eq!(line(DOCUMENT, &parse("spec.clusterIP")), Some(3));
        assert_eq!(line(DOCUMENT, &parse("metadata.name")), Some(2));
        assert_eq!(line("a: [", &parse("a")), None);
    }

    #[test]
    fn a_value_is_shown_as_it_is_written() {
        let document = json!({"spec": {"ports": [{"port": "x"}], "n": 5}});
        assert_eq!(value(&document, &parse("spec.ports[0].port")), "x");
        assert_eq!(value(&document, &parse("spec.n")), "5");
        assert_eq!(value(&document, &parse("spec.none")), "");
    }
}
