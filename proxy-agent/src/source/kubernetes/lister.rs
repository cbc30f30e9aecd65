//! From what an API server tells of one kind to events: what a complete list lacks is gone.
//!
//! Pure: no client, no clock.

use std::collections::BTreeSet;

use crate::{
    model::{Object, Problem},
    source::{
        Change, Event,
        convert::{Converted, Converter},
    },
};

/// How objects of a kind become ours.
pub(super) type Convert<K, T> = fn(&mut Converter, &K) -> Converted<T>;

/// What an API server tells of a kind.
#[derive(Clone, Debug)]
pub(super) enum Told<K> {
    /// A list begins; what an earlier one had told counts no more if it wasn't complete.
    Begun,
    /// An object of the list.
    Listed(K),
    /// That was all. Where something of the list could not be read, what it lacks is not gone.
    Complete {
        /// Whether everything could be read.
        whole: bool,
    },
    /// An object is new, or looks like this now.
    Changed(K),
    /// An object is gone.
    Gone(K),
}

pub(super) struct Lister<K, T: Object> {
    convert: Convert<K, T>,
    event: fn(Change<T>) -> Event,
    converter: Converter,
    known: BTreeSet<T::Key>,
    listing: Option<Listing<T>>,
}

/// A list that is not complete yet. Nothing of it counts before it is.
struct Listing<T: Object> {
    listed: BTreeSet<T::Key>,
    events: Vec<Event>,
}

impl<K, T: Object> Lister<K, T> {
    pub(super) fn new(convert: Convert<K, T>, event: fn(Change<T>) -> Event) -> Self {
        Self {
            convert,
            event,
            converter: Converter::default(),
            known: BTreeSet::new(),
            listing: None,
        }
    }

    /// Takes in what was told; what it comes to is appended to `events`.
    pub(super) fn take(&mut self, told: Told<K>, events: &mut Vec<Event>) {
        match told {
            Told::Begun => {
                self.listing = Some(Listing { listed: BTreeSet::new(), events: Vec::new() });
            }
            Told::Listed(object) => {
                let (object, problems) = (self.convert)(&mut self.converter, &object);
                if let Some(listing) = &mut self.listing {
                    listing.events.extend(problems.into_iter().map(Event::Problem));
                    listing.events.extend(object.map(|object| {
                        listing.listed.insert(object.key());
                        (self.event)(Change::Applied(object))
                    }));
                }
            }
            Told::Complete { whole } => {
                let Some(mut listing) = self.listing.take() else { return };
                events.append(&mut listing.events);
                if whole {
                    for gone in self.known.difference(&listing.listed) {
                        events.push((self.event)(Change::Deleted(gone.clone())));
                    }
                    self.known = listing.listed;
                } else {
                    self.known.append(&mut listing.listed);
                }
            }
            Told::Changed(object) => {
                let (object, problems) = (self.convert)(&mut self.converter, &object);
                events.extend(problems.into_iter().map(Event::Problem));
                events.extend(object.map(|object| {
                    self.known.insert(object.key());
                    (self.event)(Change::Applied(object))
                }));
            }
            Told::Gone(object) => {
                let (object, _): (_, Vec<Problem>) = (self.convert)(&mut self.converter, &object);
                events.extend(object.map(|object| {
                    self.known.remove(&object.key());
                    (self.event)(Change::Deleted(object.key()))
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node as ApiNode;
    use serde_json::json;

    use super::{Lister, Told};
    use crate::{
        model::Node,
        source::{Change, Event, convert::Converter},
    };

    fn node(name: &str) -> ApiNode {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn lister() -> Lister<ApiNode, Node> {
        Lister::new(Converter::node, Event::Node)
    }

    /// What `events` come to.
    fn told(
        lister: &mut Lister<ApiNode, Node>,
        events: impl IntoIterator<Item = Told<ApiNode>>,
    ) -> Vec<String> {
        let mut told = Vec::new();
        for event in events {
            lister.take(event, &mut told);
        }
        let word = |event: &Event| match event {
            Event::Node(Change::Applied(node)) => format!("+{}", node.name),
            Event::Node(Change::Deleted(name)) => format!("-{name}"),
            other => format!("{other:?}"),
        };
        told.iter().map(word).collect()
    }

    fn list(names: &[&str]) -> Vec<Told<ApiNode>> {
        let mut events = vec![Told::Begun];
        events.extend(names.iter().map(|name| Told::Listed(node(name))));
        events.push(Told::Complete { whole: true });
        events
    }

    #[test]
    fn what_a_complete_list_lacks_is_gone() {
        let mut lister = lister();
        assert_eq!(told(&mut lister, list(&["a", "b"])), ["+a", "+b"]);
        assert_eq!(told(&mut lister, [Told::Changed(node("c"))]), ["+c"]);
        assert_eq!(told(&mut lister, [Told::Gone(node("a"))]), ["-a"]);
        assert_eq!(told(&mut lister, list(&["b"])), ["+b", "-c"]);
        assert_eq!(told(&mut lister, list(&[])), ["-b"]);
    }

    #[test]
    fn a_list_that_is_not_complete_takes_nothing_away() {
        let mut lister = lister();
        told(&mut lister, list(&["a", "b"]));
        let begun = [Told::Begun, Told::Listed(node("b"))];
        assert_eq!(told(&mut lister, begun), Vec::<String>::new());
        assert_eq!(told(&mut lister, list(&["a", "b", "c"])), ["+a", "+b", "+c"]);
    }

    #[test]
    fn a_list_with_something_unreadable_takes_nothing_away() {
        let mut lister = lister();
        told(&mut lister, list(&["a", "b"]));
        let begun = [Told::Begun, Told::Listed(node("c")), Told::Complete { whole: false }];
        assert_eq!(told(&mut lister, begun), ["+c"]);
        assert_eq!(told(&mut lister, list(&["c"])), ["+c", "-a", "-b"]);
    }
}
