//! From a watcher's events to ours, for one kind: what a complete list lacks is gone.
//!
//! Pure: no client, no clock.

use std::collections::BTreeSet;

use kube::runtime::watcher;

use crate::{
    model::{Object, Problem},
    source::{
        Change, Event,
        convert::{Converted, Converter},
    },
};

/// How objects of a kind become ours.
pub(super) type Convert<K, T> = fn(&mut Converter, &K) -> Converted<T>;

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

    /// Takes in `event`; what it comes to is appended to `events`. Whether a list is complete with
    /// it.
    pub(super) fn take(&mut self, event: watcher::Event<K>, events: &mut Vec<Event>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing = Some(Listing { listed: BTreeSet::new(), events: Vec::new() });
            }
            watcher::Event::InitApply(object) => {
                let (object, problems) = (self.convert)(&mut self.converter, &object);
                if let Some(listing) = &mut self.listing {
                    listing.events.extend(problems.into_iter().map(Event::Problem));
                    listing.events.extend(object.map(|object| {
                        listing.listed.insert(object.key());
                        (self.event)(Change::Applied(object))
                    }));
                }
            }
            watcher::Event::InitDone => {
                let Some(listing) = self.listing.take() else { return false };
                events.extend(listing.events);
                for gone in self.known.difference(&listing.listed) {
                    events.push((self.event)(Change::Deleted(gone.clone())));
                }
                self.known = listing.listed;
                return true;
            }
            watcher::Event::Apply(object) => {
                let (object, problems) = (self.convert)(&mut self.converter, &object);
                events.extend(problems.into_iter().map(Event::Problem));
                events.extend(object.map(|object| {
                    self.known.insert(object.key());
                    (self.event)(Change::Applied(object))
                }));
            }
            watcher::Event::Delete(object) => {
                let (object, _): (_, Vec<Problem>) = (self.convert)(&mut self.converter, &object);
                events.extend(object.map(|object| {
                    self.known.remove(&object.key());
                    (self.event)(Change::Deleted(object.key()))
                }));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node as ApiNode;
    use kube::runtime::watcher;
    use serde_json::json;

    use super::Lister;
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
        events: impl IntoIterator<Item = watcher::Event<ApiNode>>,
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

    fn list(names: &[&str]) -> Vec<watcher::Event<ApiNode>> {
        let mut events = vec![watcher::Event::Init];
        events.extend(names.iter().map(|name| watcher::Event::InitApply(node(name))));
        events.push(watcher::Event::InitDone);
        events
    }

    #[test]
    fn what_a_complete_list_lacks_is_gone() {
        let mut lister = lister();
        assert_eq!(told(&mut lister, list(&["a", "b"])), ["+a", "+b"]);
        assert_eq!(told(&mut lister, [watcher::Event::Apply(node("c"))]), ["+c"]);
        assert_eq!(told(&mut lister, [watcher::Event::Delete(node("a"))]), ["-a"]);
        assert_eq!(told(&mut lister, list(&["b"])), ["+b", "-c"]);
        assert_eq!(told(&mut lister, list(&[])), ["-b"]);
    }

    #[test]
    fn a_list_that_is_not_complete_takes_nothing_away() {
        let mut lister = lister();
        told(&mut lister, list(&["a", "b"]));
        let begun = [watcher::Event::Init, watcher::Event::InitApply(node("b"))];
        assert_eq!(told(&mut lister, begun), Vec::<String>::new());
        assert_eq!(told(&mut lister, list(&["a", "b", "c"])), ["+a", "+b", "+c"]);
    }
}
