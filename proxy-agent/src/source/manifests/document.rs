//! From the text of a file to documents, and from a document to objects.
//!
//! Documents are split before they are parsed, so that one that is broken leaves the others alone.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{Node, Service},
        discovery::v1::EndpointSlice,
        networking::v1::ServiceCIDR,
    },
    serde::de::DeserializeOwned,
};
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::{
    model::{ObjectKind, ObjectRef, Problem, Trouble},
    source::convert::{Converted, Converter},
};

use super::{
    object::{ManifestObject, ObjectId},
    path::{self, Step},
};

/// A document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Which of the file, counted from 1.
    pub(super) number: usize,
    /// The line of the file that it begins on, counted from 1.
    pub(super) first_line: usize,
    pub(super) text: &'a str,
}

/// What a document says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) objects: Vec<(ObjectId, ManifestObject)>,
    /// Objects that it names but doesn't describe in a way that can be understood.
    pub(super) broken: Vec<ObjectId>,
    /// Whether it can't be understood to the point that nobody knows what it names.
    pub(super) unreadable: bool,
    /// What is wrong, each with its line in the document.
    pub(super) problems: Vec<(Problem, Option<usize>)>,
}

/// The documents of a file: what stands between lines that begin with `---` (YAML 1.2 §9.1.2; such
/// a line can't be anything else). Documents of blanks and comments are left out but counted.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut begin = (0, 1);
    let mut offset = 0;
    let mut number = 1;
    let mut push = |number, (start, first_line): (usize, usize), end| {
        let text = text.get(start..end).unwrap_or_default();
        if has_content(text) {
            documents.push(Document { number, first_line, text });
        }
    };
    let mut seen_content = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let after = line.strip_prefix("---");
        if after.is_some_and(|after| after.trim_end().is_empty() || after.starts_with([' ', '\t']))
        {
            push(number, begin, offset);
            number += usize::from(seen_content);
            seen_content = true;
            // What follows on the line of the marker belongs to the document.
            begin = (offset + 3, index + 1);
        } else if has_content(line) {
            seen_content = true;
        }
        offset += line.len();
    }
    push(number, begin, text.len());
    documents
}

fn has_content(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "..."
    })
}

/// Reads `document`.
pub(super) fn read(document: &Document<'_>, converter: &mut Converter) -> Contents {
    let mut contents = Contents::default();
    let value = match parse(document.text) {
        Ok(value) => value,
        Err((reason, line)) => {
            contents.unreadable = true;
            let text =
                line.and_then(|line| document.text.lines().nth(line - 1)).unwrap_or_default();
            let text: String = text.trim().chars().take(80).collect();
            let problem = problem(None, String::new(), text, Trouble::Syntax { reason });
            contents.problems.push((problem, line));
            return contents;
        }
    };
    let mut reader = Reader { document, converter, contents: &mut contents };
    reader.value(&value, Vec::new(), None);
    contents
}

/// The document as a value, or why not and on which line. JSON is tried first where it begins like
/// JSON: it may be indented with tabs, which YAML doesn't allow.
fn parse(text: &str) -> Result<Value, (Arc<str>, Option<usize>)> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    if let Some(budget) = &mut options.budget {
        // A list of all Services of a large cluster is one document.
        budget.max_nodes = usize::MAX;
        budget.max_events = usize::MAX;
        budget.max_total_scalar_bytes = usize::MAX;
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
        let reason = error.to_string();
        // The place is told apart, as a line of the file.
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        (reason.into(), line.filter(|line| *line > 0))
    })
}

struct Reader<'a, 'd> {
    document: &'a Document<'d>,
    converter: &'a mut Converter,
    contents: &'a mut Contents,
}

impl Reader<'_, '_> {
    /// Reads an object or a list of objects. `at` leads to it; `implied` is the kind that a list
    /// gives its items.
    fn value(&mut self, value: &Value, at: Vec<Step>, implied: Option<ObjectKind>) {
        if value.is_null() {
            return;
        }
        let field = |name| value.get(name).and_then(Value::as_str);
        let (kind, version) = (field("kind"), field("apiVersion"));
        let known = match (version, kind) {
            (Some(version), Some(kind)) => known(version, kind),
            (None, None) if implied.is_some() => implied.map(Known::Object),
            (version, _) => {
                let missing = if version.is_none() { "apiVersion" } else { "kind" };
                return self.shapeless(value, &at, missing);
            }
        };
        match known {
            Some(Known::Object(kind)) => self.object(value, &at, kind),
            Some(Known::List(implied)) => {
                let items = value.get("items").and_then(Value::as_array);
                for (index, item) in items.into_iter().flatten().enumerate() {
                    let mut at = at.clone();
                    at.extend([Step::Key("items".into()), Step::Index(index)]);
                    self.value(item, at, implied);
                }
            }
            None => tracing::debug!(
                document = self.document.number,
                kind,
                version,
                "a kind that Services don't depend on is ignored"
            ),
        }
    }

    fn object(&mut self, value: &Value, at: &[Step], kind: ObjectKind) {
        match kind {
            ObjectKind::Service => self.typed::<Service, _>(value, at, kind, Converter::service),
            ObjectKind::EndpointSlice => {
                self.typed::<EndpointSlice, _>(value, at, kind, Converter::endpoint_slice);
            }
            ObjectKind::Node => self.typed::<Node, _>(value, at, kind, Converter::node),
            ObjectKind::ServiceCidr => {
                self.typed::<ServiceCIDR, _>(value, at, kind, Converter::service_cidr);
            }
        }
    }

    fn typed<K: DeserializeOwned, T: Into<ManifestObject>>(
        &mut self,
        value: &Value,
        at: &[Step],
        kind: ObjectKind,
        convert: impl Fn(&mut Converter, &K) -> Converted<T>,
    ) {
        let object: K = match serde_path_to_error::deserialize(value) {
            Ok(object) => object,
            Err(error) => {
                let steps: Vec<Step> = error.path().iter().filter_map(step).collect();
                let reason = error.into_inner().to_string().into();
                return self.broken(value, at, kind, &steps, reason);
            }
        };
        let (object, problems) = convert(self.converter, &object);
        for problem in problems {
            let line = self.line(at, &path::parse(&problem.field));
            self.contents.problems.push((problem, line));
        }
        if let Some(object) = object {
            let object = object.into();
            self.contents.objects.push((object.id(), object));
        }
    }

    /// An object whose kind and perhaps name are known, and no more.
    fn broken(
        &mut self,
        value: &Value,
        at: &[Step],
        kind: ObjectKind,
        steps: &[Step],
        reason: Arc<str>,
    ) {
        let id = ObjectId::named_in(kind, value);
        let object = id.as_ref().map(ObjectId::reference);
        let problem = problem(
            object,
            path::text(steps),
            path::value(value, steps),
            Trouble::Shape { reason },
        );
        self.contents.problems.push((problem, self.line(at, steps)));
        match id {
            Some(id) => self.contents.broken.push(id),
            None => self.contents.unreadable = true,
        }
    }

    /// Something that doesn't say what it is.
    fn shapeless(&mut self, value: &Value, at: &[Step], missing: &str) {
        let reason = match value {
            Value::Object(_) => "every Kubernetes object has this field",
            _ => "not a Kubernetes object: those are mappings with apiVersion and kind",
        };
        let mut steps = at.to_vec();
        if value.is_object() {
            steps.push(Step::Key(missing.into()));
        }
        let line = path::line(self.document.text, &steps);
        let problem = problem(
            None,
            path::text(&steps),
            String::new(),
            Trouble::Shape { reason: reason.into() },
        );
        self.contents.problems.push((problem, line));
        self.contents.unreadable = true;
    }

    fn line(&self, at: &[Step], steps: &[Step]) -> Option<usize> {
        let steps: Vec<Step> = at.iter().chain(steps).cloned().collect();
        path::line(self.document.text, &steps)
    }
}

const fn problem(
    object: Option<ObjectRef>,
    field: String,
    value: String,
    trouble: Trouble,
) -> Problem {
    Problem { location: None, object, field, value, trouble }
}

enum Known {
    Object(ObjectKind),
    /// A list, and the kind that its items have where they don't say.
    List(Option<ObjectKind>),
}

fn known(version: &str, kind: &str) -> Option<Known> {
    let kinds = [
        ("v1", "Service", ObjectKind::Service),
        ("discovery.k8s.io/v1", "EndpointSlice", ObjectKind::EndpointSlice),
        ("v1", "Node", ObjectKind::Node),
        ("networking.k8s.io/v1", "ServiceCIDR", ObjectKind::ServiceCidr),
        ("networking.k8s.io/v1beta1", "ServiceCIDR", ObjectKind::ServiceCidr),
    ];
    if (version, kind) == ("v1", "List") {
        return Some(Known::List(None));
    }
    let list_of = kind.strip_suffix("List");
    kinds.iter().filter(|(of, ..)| *of == version).find_map(|(_, name, known)| {
        if *name == kind {
            Some(Known::Object(*known))
        } else if Some(*name) == list_of {
            Some(Known::List(Some(*known)))
        } else {
            None
        }
    })
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
