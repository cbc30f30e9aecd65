//! `sluice explain` over random clusters: its answer is what the contract says ([`oracle`], written
//! from SEMANTICS alone), and what the datapath does when it runs without being watched ([`unwatched`]).

mod oracle;
mod random;
mod unwatched;
mod world;

use std::{collections::BTreeSet, path::Path};

use proptest::{prelude::*, test_runner::Config};
use proxy_agent::{
    explain::{
        Answer, Question, Verdict, World, explain,
        manifests::{Computed, compute},
    },
    model::Trouble,
    options::{ExternalClusterIp, Flags, ServiceOptions},
    source::{
        Event,
        manifests::{Catalog, Writer},
    },
};
use proxy_ebpf::user::Machine;

use world::{Cluster, NODE, NODE_ADDRESSES, Options};

/// The maps of a cluster.
fn maps(cluster: &Cluster, options: Options) -> World<Machine> {
    let flags = Flags {
        masquerade_all: Some(options.masquerade_all),
        external_ips: Some(options.external_ips),
        external_cluster_ip: options.refuse_external.then_some(ExternalClusterIp::Refuse),
        algorithm: Some(options.algorithm),
        maglev_table_size: Some(61),
        ..Flags::default()
    };
    let settings = ServiceOptions::resolve(&flags).unwrap().settings(NODE.into(), 7);
    let mut catalog = Catalog::default();
    let manifests = cluster.manifests();
    let mut events = catalog.read(Path::new("cluster.json"), &manifests, Writer::Gone);
    events.push(Event::Synced);
    let Computed { world, mut problems } = compute(events, settings, None);
    problems.retain(|problem| !matches!(problem.trouble, Trouble::SctpPort { .. }));
    assert!(problems.is_empty(), "{problems:?} in {manifests}");
    assert_eq!(world.notes, Vec::<String>::new());
    world
}

/// What an answer comes to.
fn essence(answer: &Answer) -> oracle::Expected {
    let endpoints = answer.endpoints.iter().map(|it| (it.address, it.local, it.masquerade));
    oracle::Expected { verdict: answer.verdict, endpoints: endpoints.collect() }
}

fn cases() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(256) }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_answer_is_what_the_contract_says(
        cluster in random::cluster(),
        options in random::options(),
        questions in random::questions(),
    ) {
        let maps = maps(&cluster, options);
        for question in questions {
            let question = question.about(&cluster);
            let answer = explain(&question, &maps);
            let expected = oracle::answer(&cluster, options, &NODE_ADDRESSES, &question);
            prop_assert_eq!(essence(&answer), expected, "{:?}: {:#?}", question, answer);
            laws(&question, &answer)?;
        }
    }

    #[test]
    fn the_datapath_does_the_same_when_nobody_watches(
        cluster in random::cluster(),
        options in random::options(),
        questions in random::questions(),
        seed in any::<u64>(),
    ) {
        let maps = maps(&cluster, options);
        for (question, seed) in questions.iter().zip(seed..) {
            let question = question.about(&cluster);
            let answer = explain(&question, &maps);
            let (verdict, reason, went) = unwatched::run(&question, &maps.source, seed);
            prop_assert_eq!(answer.verdict, verdict, "{:?}: {:#?}", question, answer);
            if let Some(reason) = reason {
                prop_assert_eq!(answer.reason, reason);
            }
            if let Some((address, masquerade)) = went {
                let went = answer.endpoints.iter().find(|it| it.address == address);
                prop_assert_eq!(went.map(|it| it.masquerade), Some(masquerade), "{:#?}", answer);
            }
        }
    }
}

/// What holds for every answer.
fn laws(question: &Question, answer: &Answer) -> Result<(), TestCaseError> {
    let distinct: BTreeSet<_> = answer.endpoints.iter().map(|it| it.address).collect();
    let in_order: Vec<_> = distinct.into_iter().collect();
    let addresses: Vec<_> = answer.endpoints.iter().map(|it| it.address).collect();
    prop_assert_eq!(addresses, in_order, "each once, in order");
    prop_assert_eq!(answer.endpoints.is_empty(), answer.verdict != Verdict::Translate);
    prop_assert_eq!(answer.service.is_some(), answer.frontend.is_some());
    prop_assert!(answer.verdict != Verdict::Translate || answer.frontend.is_some());
    if let Some(frontend) = &answer.frontend {
        prop_assert_eq!((frontend.address, frontend.port), (question.to.ip(), question.to.port()));
    }
    prop_assert!(answer.steps.iter().all(|step| step.ends_with(['.', ':'])), "{:#?}", answer.steps);
    Ok(())
}
