//! Asks both proxies everything, and says where they differ without a rule.

use std::{fmt::Write as _, net::IpAddr};

use anyhow::Result;
use lab::Addresses;

use crate::{
    differences::{Tally, expected},
    nft::KubeProxyRules,
    questions::Questions,
    sluice::SluiceMaps,
    verdict::{Outcomes, Question},
};

/// A question to which the answers differ without a reason.
pub(crate) struct Difference {
    pub(crate) question: Question,
    pub(crate) service: Option<String>,
    kube_proxy: Outcomes,
    expected: Outcomes,
    sluice: Outcomes,
}

impl Difference {
    pub(crate) fn describe(&self) -> String {
        let words = |outcomes: &Outcomes| {
            outcomes.iter().fold(String::new(), |mut text, outcome| {
                let _ = write!(text, "{}{outcome}", if text.is_empty() { "" } else { ", " });
                text
            })
        };
        format!(
            "{} ({})\n    kube-proxy: {}\n    expected:   {}\n    sluice:     {}",
            self.question,
            self.service.as_deref().unwrap_or("no Service"),
            words(&self.kube_proxy),
            words(&self.expected),
            words(&self.sluice),
        )
    }
}

/// Sluice's answers to `questions`, once: kube-proxy's rules may be asked again in many ways.
pub(crate) fn answers(sluice: &SluiceMaps, questions: &Questions) -> Result<Vec<Outcomes>> {
    questions.keys().map(|question| sluice.answer(question)).collect()
}

/// Where `rules` and the answers of Sluice differ.
pub(crate) fn differences(
    rules: &KubeProxyRules,
    questions: &Questions,
    answers: &[Outcomes],
    node: Addresses,
    masquerade_all: bool,
    tally: &mut Tally,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for ((question, about), sluice) in questions.iter().zip(answers) {
        let own: IpAddr = if question.to.is_ipv4() { node.v4.into() } else { node.v6.into() };
        let (expected, used) =
            expected(question, about, own, masquerade_all, &|asked| rules.answer(asked))?;
        for rule in used {
            *tally.entry(rule).or_default() += 1;
        }
        if expected != *sluice {
            differences.push(Difference {
                question: *question,
                service: about.service.clone(),
                kube_proxy: rules.answer(question)?,
                expected,
                sluice: sluice.clone(),
            });
        }
    }
    Ok(differences)
}
