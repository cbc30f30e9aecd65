//! Tests of documents.

use super::{Contents, read, split};
use crate::source::convert::Converter;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: 80\n";

fn contents(text: &str) -> Vec<Contents> {
    let mut converter = Converter::default();
    split(text).iter().map(|document| read(document, &mut converter)).collect()
}

fn only(text: &str) -> Contents {
    let mut contents = contents(text);
    assert_eq!(contents.len(), 1);
    contents.remove(0)
}

fn told(contents: &Contents) -> (String, Option<usize>) {
    let (problem, line) = &contents.problems[0];
    (problem.to_string(), *line)
}

#[test]
fn documents_know_their_number_and_first_line() {
    let places = |text| split(text).iter().map(|it| (it.number, it.first_line)).collect::<Vec<_>>();
    assert_eq!(places("a: 1\n"), [(1, 1)]);
    assert_eq!(places("# head\n---\na: 1\n---\nb: 2\n"), [(1, 2), (2, 4)]);
    assert_eq!(places("a: 1\n---\n# nothing\n---\nc: 3\n"), [(1, 1), (3, 4)]);
    assert_eq!(places("--- {a: 1}\n--- # c\nb: 2\n...\n"), [(1, 1), (2, 2)]);
    assert_eq!(places("a: |\n  x\n  --- y\n"), [(1, 1)]);
    assert_eq!(places(""), []);
}

#[test]
fn objects_of_known_kinds_are_read_and_others_ignored() {
    let contents = contents(&format!(
        "{SERVICE}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: other}}\n"
    ));
    let objects: Vec<usize> = contents.iter().map(|it| it.objects.len()).collect();
    assert_eq!(objects, [1, 0, 0]);
    assert!(contents.iter().all(|it| it.problems.is_empty() && !it.unreadable));
}

#[test]
fn lists_are_read_item_by_item() {
    let item = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None}}";
    let list = only(&format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {item}\n"));
    assert_eq!(list.objects.len(), 2);
    let typed = only(
        "{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\",\n\t\"items\": [{\"metadata\": {\"name\": \"a\"}, \"spec\": {\"clusterIP\": \"None\"}}]}",
    );
    assert_eq!(typed.objects.len(), 1);
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_field_value_and_line() {
    let contents = only(&SERVICE.replace("port: 80", "port: eighty"));
    let (problem, line) = told(&contents);
    assert_eq!(line, Some(7));
    assert_eq!(
        problem,
        "Service default/web: spec.ports[0].port is \"eighty\": invalid type: string \"eighty\", expected i32; what this object said before stays in force"
    );
    assert_eq!(contents.broken.len(), 1);
    assert!(!contents.unreadable);
}

#[test]
fn a_bad_value_is_told_with_its_line_and_the_object_stays() {
    let contents = only(&SERVICE.replace("10.96.0.1", "10.96.0.256"));
    let (problem, line) = told(&contents);
    assert_eq!(line, Some(5));
    assert!(problem.contains("spec.clusterIP is \"10.96.0.256\""), "{problem}");
    assert_eq!(contents.objects.len(), 1);
}

#[test]
fn text_that_is_no_yaml_is_told_with_its_line() {
    let contents = only("apiVersion: v1\nkind: Service\nmetadata:\n\tname: web\n");
    let (problem, line) = told(&contents);
    assert_eq!(line, Some(4));
    assert!(problem.starts_with("\"name: web\": "), "{problem}");
    assert!(problem.ends_with("; what this document said before stays in force"), "{problem}");
    assert!(contents.unreadable);
}

#[test]
fn an_object_without_a_kind_is_told() {
    let contents = only("metadata: {name: web}\napiVersion: v1\n");
    assert!(told(&contents).0.starts_with("kind: "), "{}", told(&contents).0);
    assert!(contents.unreadable);
    assert!(only("- 1\n- 2\n").unreadable);
}

#[test]
fn a_broken_item_of_a_list_leaves_the_others() {
    let list = only(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None}}\n- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: 5}\n",
    );
    assert_eq!((list.objects.len(), list.broken.len()), (1, 1));
    let (problem, line) = told(&list);
    assert_eq!(line, Some(5));
    assert!(problem.starts_with("Service default/b: spec is \"5\": "), "{problem}");
}
