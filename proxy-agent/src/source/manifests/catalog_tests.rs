//! Tests of the catalogue.

use std::path::Path;

use super::{Catalog, Writer};
use crate::source::{Change, Event};

fn service(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {address}, ports: [{{port: 80}}]}}\n---\n"
    )
}

/// What happened, in words.
fn told(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Service(Change::Applied(service)) => {
            format!("+{} {}", service.name.name, service.cluster_ips[0])
        }
        Event::Service(Change::Deleted(name)) => format!("-{}", name.name),
        Event::Problem(problem) => format!("! {problem}"),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect()
}

fn read(catalog: &mut Catalog, file: &str, text: &str) -> Vec<String> {
    told(&catalog.read(Path::new(file), text, Writer::Gone))
}

#[test]
fn only_what_changed_is_told() {
    let mut catalog = Catalog::default();
    let (a, b) = (service("a", "10.96.0.1"), service("b", "10.96.0.2"));
    assert_eq!(read(&mut catalog, "f", &format!("{a}{b}")), ["+a 10.96.0.1", "+b 10.96.0.2"]);
    assert_eq!(read(&mut catalog, "f", &format!("{b}{a}")), Vec::<String>::new());
    let b = service("b", "10.96.0.3");
    assert_eq!(read(&mut catalog, "f", &format!("{a}{b}")), ["+b 10.96.0.3"]);
    assert_eq!(read(&mut catalog, "f", &a), ["-b"]);
    assert_eq!(told(&catalog.removed(Path::new("f"))), ["-a"]);
    assert_eq!(told(&catalog.removed(Path::new("f"))), Vec::<String>::new());
}

#[test]
fn what_a_broken_document_said_stays_and_the_others_are_taken_over() {
    let mut catalog = Catalog::default();
    let (a, b) = (service("a", "10.96.0.1"), service("b", "10.96.0.2"));
    read(&mut catalog, "f", &format!("{a}{b}"));
    let told = read(&mut catalog, "f", &format!("{a}kind: [\n---\n{}", service("c", "10.96.0.4")));
    assert!(told[0].starts_with("! f, document 2, line "), "{}", told[0]);
    assert_eq!(told[1..], ["+c 10.96.0.4"], "b stays");
    // The broken document is all that holds b; a was there all the time and can go.
    assert_eq!(read(&mut catalog, "f", "kind: [\n---\n"), ["-a", "-c"]);
    assert_eq!(read(&mut catalog, "f", &service("d", "10.96.0.5")), ["-b", "+d 10.96.0.5"]);
}

#[test]
fn a_broken_object_keeps_itself_and_nothing_else() {
    let mut catalog = Catalog::default();
    let (a, b) = (service("a", "10.96.0.1"), service("b", "10.96.0.2"));
    read(&mut catalog, "f", &format!("{a}{b}"));
    let broken = b.replace("port: 80", "port: x");
    let told = read(&mut catalog, "f", &broken);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("Service default/b: spec.ports[0].port is \"x\""), "{}", told[0]);
    assert_eq!(told[1], "-a");
    assert_eq!(read(&mut catalog, "f", &b), Vec::<String>::new());
}

#[test]
fn a_broken_document_is_told_once() {
    let mut catalog = Catalog::default();
    assert_eq!(read(&mut catalog, "f", "kind: [\n").len(), 1);
    assert_eq!(
        read(&mut catalog, "f", &format!("{}kind: [\n", service("a", "10.96.0.1"))).len(),
        1
    );
}

#[test]
fn while_a_file_is_being_written_nothing_is_deleted() {
    let mut catalog = Catalog::default();
    let (a, b) = (service("a", "10.96.0.1"), service("b", "10.96.0.2"));
    read(&mut catalog, "f", &format!("{a}{b}"));
    let path = Path::new("f");
    assert_eq!(told(&catalog.read(path, "", Writer::Present)), Vec::<String>::new());
    let a = service("a", "10.96.0.3");
    assert_eq!(told(&catalog.read(path, &a, Writer::Present)), ["+a 10.96.0.3"]);
    assert_eq!(told(&catalog.read(path, &a, Writer::Gone)), ["-b"]);
}

#[test]
fn of_two_files_with_one_object_the_first_by_name_is_believed() {
    let mut catalog = Catalog::default();
    assert_eq!(read(&mut catalog, "m", &service("a", "10.96.0.1")), ["+a 10.96.0.1"]);
    let told_z = read(&mut catalog, "z", &service("a", "10.96.0.2"));
    assert_eq!(
        told_z,
        [
            "! z, document 1: Service default/a: the same object stands in m, document 1, which is used; delete one of the two"
        ]
    );
    let told_b = read(&mut catalog, "b", &service("a", "10.96.0.3"));
    assert!(told_b[0].starts_with("! m, document 1: "), "{told_b:?}");
    assert_eq!(told_b[1..], ["+a 10.96.0.3"]);
    assert_eq!(told(&catalog.removed(Path::new("b"))), ["+a 10.96.0.1"]);
    assert_eq!(told(&catalog.removed(Path::new("z"))), Vec::<String>::new());
    assert_eq!(told(&catalog.removed(Path::new("m"))), ["-a"]);
}

#[test]
fn twice_in_one_file_is_told_too() {
    let mut catalog = Catalog::default();
    let (a, b) = (service("a", "10.96.0.1"), service("a", "10.96.0.2"));
    let told = read(&mut catalog, "f", &format!("{a}{b}"));
    assert!(told[0].starts_with("! f, document 2: Service default/a: "), "{told:?}");
    assert_eq!(told[1..], ["+a 10.96.0.1"]);
}
