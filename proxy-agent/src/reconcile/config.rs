//! `CONFIG`: the operator's settings and the cluster's ServiceCIDRs.

use std::collections::BTreeSet;

use proxy_common::{Address, Config, Prefix, SERVICE_CIDRS_MAX, V4, V6};

use crate::{
    model::{Cidr, Family, ObjectKind, ObjectRef, Problem, ServiceCidr, Trouble},
    store::Op,
};

#[derive(Debug)]
pub(super) struct ConfigElement {
    wanted: Config,
    written: Option<Box<Config>>,
}

impl ConfigElement {
    /// `settings`, with the ServiceCIDRs that were known before the restart until the cluster's are.
    pub(super) fn new(settings: Config, written: Option<Box<Config>>) -> Self {
        let mut wanted = settings;
        if let Some(written) = &written {
            wanted.service_cidrs_v4 = written.service_cidrs_v4;
            wanted.service_cidr_count_v4 = written.service_cidr_count_v4;
            wanted.service_cidrs_v6 = written.service_cidrs_v6;
            wanted.service_cidr_count_v6 = written.service_cidr_count_v6;
        }
        Self { wanted, written }
    }

    /// The cluster's ServiceCIDRs are these. Returns what there is no room for.
    pub(super) fn set_cidrs<'a>(
        &mut self,
        objects: impl Iterator<Item = &'a ServiceCidr>,
    ) -> Vec<Problem> {
        let cidrs: BTreeSet<(Cidr, &str)> = objects
            .flat_map(|object| object.cidrs.iter().map(|cidr| (*cidr, &*object.name)))
            .collect();
        let mut problems = Vec::new();
        let mut known = BTreeSet::new();
        let mut v4: Vec<Prefix<V4>> = Vec::new();
        let mut v6: Vec<Prefix<V6>> = Vec::new();
        for (cidr, object) in cidrs {
            if !known.insert(cidr) {
                continue;
            }
            let room = match cidr.family() {
                Family::V4 => push(&mut v4, cidr.to_prefix()),
                Family::V6 => push(&mut v6, cidr.to_prefix()),
            };
            if !room {
                problems.push(no_room(cidr, object));
            }
        }
        (self.wanted.service_cidrs_v4, self.wanted.service_cidr_count_v4) = elements(&v4);
        (self.wanted.service_cidrs_v6, self.wanted.service_cidr_count_v6) = elements(&v6);
        problems
    }

    /// What has to be written.
    pub(super) fn op(&self) -> Option<Op> {
        let written = self.written.as_ref().is_some_and(|written| **written == self.wanted);
        (!written).then(|| Op::PutConfig(Box::new(self.wanted)))
    }

    /// The map has what was wanted.
    pub(super) fn wrote(&mut self) {
        self.written = Some(Box::new(self.wanted));
    }
}

fn push<A: Address>(prefixes: &mut Vec<Prefix<A>>, prefix: Option<Prefix<A>>) -> bool {
    let room = prefixes.len() < SERVICE_CIDRS_MAX;
    prefixes.extend(prefix.filter(|_| room));
    room
}

fn elements<A: Address>(prefixes: &[Prefix<A>]) -> ([Prefix<A>; SERVICE_CIDRS_MAX], u8) {
    let mut elements = bytemuck::Zeroable::zeroed();
    let mut count = 0;
    for (element, prefix) in Iterator::zip(
        <[Prefix<A>; SERVICE_CIDRS_MAX] as AsMut<[Prefix<A>]>>::as_mut(&mut elements).iter_mut(),
        prefixes,
    ) {
        *element = *prefix;
        count += 1;
    }
    (elements, count)
}

fn no_room(cidr: Cidr, object: &str) -> Problem {
    Problem {
        location: None,
        object: Some(ObjectRef { kind: ObjectKind::ServiceCidr, name: object.into() }),
        field: String::from("spec.cidrs"),
        value: cidr.to_string(),
        trouble: Trouble::TooManyServiceCidrs { max: SERVICE_CIDRS_MAX },
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use proxy_common::{Config, SERVICE_CIDRS_MAX};

    use super::ConfigElement;
    use crate::model::ServiceCidr;

    fn cidrs(cidrs: &[&str]) -> ServiceCidr {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        ServiceCidr { name: "kubernetes".into(), cidrs }
    }

    #[test]
    fn service_cidrs_of_both_families_are_written_once() {
        let mut element = ConfigElement::new(Config::zeroed(), None);
        element.set_cidrs([cidrs(&["10.96.0.0/16", "fd00:96::/112"])].iter());
        assert_eq!(element.wanted.service_cidr_count_v4, 1);
        assert_eq!(element.wanted.service_cidr_count_v6, 1);
        assert!(element.op().is_some());
        element.wrote();
        assert_eq!(element.op(), None);
    }

    #[test]
    fn until_the_cluster_is_known_the_old_service_cidrs_stay() {
        let mut before = ConfigElement::new(Config::zeroed(), None);
        before.set_cidrs([cidrs(&["10.96.0.0/16"])].iter());
        before.wrote();
        let settings = Config { socket_lb_tcp: 2, ..Config::zeroed() };
        let element = ConfigElement::new(settings, before.written);
        assert_eq!(element.wanted.service_cidr_count_v4, 1);
        assert_eq!(element.wanted.socket_lb_tcp, 2);
    }

    #[test]
    fn more_than_there_is_room_for_is_told() {
        let many: Vec<String> = (0..=SERVICE_CIDRS_MAX).map(|i| format!("10.{i}.0.0/16")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut element = ConfigElement::new(Config::zeroed(), None);
        let problems = element.set_cidrs([cidrs(&many)].iter());
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].value, "10.8.0.0/16");
    }
}
