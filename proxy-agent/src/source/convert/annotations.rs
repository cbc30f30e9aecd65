//! Annotations of a Service that Sluice reads: how an endpoint is picked.
//!
//! A bad one is told and left out; the Service is served without it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proxy_common::Algorithm;

use crate::model::{Trouble, Weights};

use super::fields::Fields;

/// Names the algorithm.
const ALGORITHM: &str = "sluice.dev/algorithm";
/// Gives endpoints weights.
const WEIGHTS: &str = "sluice.dev/weights";

/// `sluice.dev/algorithm`: how an endpoint is picked. `None` leaves it to the agent.
pub(super) fn algorithm(metadata: &ObjectMeta, fields: &mut Fields) -> Option<Algorithm> {
    let text = annotation(metadata, ALGORITHM)?;
    let named = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == text.trim());
    if named.is_none() {
        let done = "the agent's own is used";
        let allowed = "random, round-robin, least-connections, maglev";
        fields.problem(field(ALGORITHM), text, Trouble::UnknownValue { allowed, done });
    }
    named
}

/// `sluice.dev/weights`: `<endpoint address | pod name | node name>=<1..100>`, with commas between.
pub(super) fn weights(metadata: &ObjectMeta, fields: &mut Fields) -> Weights {
    let mut weights = Weights::default();
    let items = annotation(metadata, WEIGHTS).unwrap_or_default().split(',').map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        match parse(item) {
            None => fields.problem(field(WEIGHTS), item, Trouble::Weight { max: Weights::MAX }),
            Some((named, weight)) => {
                if !weights.insert(named, weight) {
                    fields.problem(field(WEIGHTS), item, Trouble::DuplicateWeight);
                }
            }
        }
    }
    weights
}

fn parse(item: &str) -> Option<(&str, u8)> {
    let (named, weight) = item.split_once('=')?;
    let (named, weight) = (named.trim(), weight.trim());
    let digits = !weight.is_empty() && weight.bytes().all(|byte| byte.is_ascii_digit());
    let weight = weight.parse().ok()?;
    let valid = !named.is_empty() && digits && (1..=Weights::MAX).contains(&weight);
    valid.then_some((named, weight))
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn field(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use proxy_common::Algorithm;

    use super::{ALGORITHM, WEIGHTS, algorithm, weights};
    use crate::{
        model::{ObjectKind, ObjectRef, Weights},
        source::convert::fields::Fields,
    };

    fn with(name: &str, text: &str) -> ObjectMeta {
        let annotations = BTreeMap::from([(name.to_owned(), text.to_owned())]);
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    fn fields() -> Fields {
        Fields::of(ObjectRef { kind: ObjectKind::Service, name: "default/web".into() })
    }

    fn problems(fields: Fields) -> Vec<String> {
        fields.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_algorithm_goes_by_its_name() {
        for known in Algorithm::ALL {
            let mut fields = fields();
            assert_eq!(algorithm(&with(ALGORITHM, known.name()), &mut fields), Some(known));
            assert!(problems(fields).is_empty());
        }
    }

    #[test]
    fn an_unknown_algorithm_is_told_and_the_agents_own_used() {
        let mut fields = fields();
        assert_eq!(algorithm(&with(ALGORITHM, "fastest"), &mut fields), None);
        let problem = "Service default/web: metadata.annotations[sluice.dev/algorithm] is \
                       \"fastest\": not one of random, round-robin, least-connections, maglev; \
                       the agent's own is used";
        assert_eq!(problems(fields), [problem]);
    }

    #[test]
    fn bad_weights_are_told_one_by_one_and_the_others_count() {
        let mut fields = fields();
        let text = " 10.1.0.1 = 3, web-0=100,web-1=0,web-2=101,=4,x,web-0=7,web-3=+1,,";
        let mut expected = Weights::default();
        expected.insert("10.1.0.1", 3);
        expected.insert("web-0", 100);
        assert_eq!(weights(&with(WEIGHTS, text), &mut fields), expected);
        let problems = problems(fields);
        let values = ["web-1=0", "web-2=101", "=4", "x", "web-0=7", "web-3=+1"];
        assert_eq!(problems.len(), values.len());
        for (problem, value) in problems.iter().zip(values) {
            assert!(problem.contains(&format!(" is \"{value}\": ")), "{problem}");
        }
    }

    #[test]
    fn without_annotations_nothing_is_said() {
        let mut fields = fields();
        assert_eq!(algorithm(&ObjectMeta::default(), &mut fields), None);
        assert!(weights(&ObjectMeta::default(), &mut fields).is_empty());
        assert!(problems(fields).is_empty());
    }
}
