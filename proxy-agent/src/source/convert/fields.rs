//! Fields of one object: parsed, or told about with object, field and value.

use std::{fmt::Display, net::IpAddr};

use proxy_common::Protocol;

use crate::model::{Cidr, Family, ObjectRef, Problem, Trouble};

/// Collects what is wrong with an object.
pub(super) struct Fields {
    object: ObjectRef,
    problems: Vec<Problem>,
}

impl Fields {
    pub(super) const fn of(object: ObjectRef) -> Self {
        Self { object, problems: Vec::new() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn problem(
        &mut self,
        field: impl Into<String>,
        value: impl Display,
        trouble: Trouble,
    ) {
        self.problems.push(Problem {
            location: None,
            object: Some(self.object.clone()),
            field: field.into(),
            value: value.to_string(),
            trouble,
        });
    }

    /// An address that clients may use.
    pub(super) fn frontend_address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = self.address(field, text)?;
        let unfit = address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || is_v4_mapped(address);
        if unfit {
            self.problem(field, text, Trouble::FrontendAddress);
        }
        (!unfit).then_some(address)
    }

    /// An address of `family` that an endpoint may have.
    pub(super) fn endpoint_address(
        &mut self,
        field: &str,
        text: &str,
        family: Family,
    ) -> Option<IpAddr> {
        let address = self.address(field, text)?;
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let trouble = if Family::of(address) != family {
            Trouble::WrongFamily { expected: family }
        } else if link_local
            || address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || is_v4_mapped(address)
        {
            Trouble::EndpointAddress
        } else {
            return Some(address);
        };
        self.problem(field, text, trouble);
        None
    }

    /// Any address.
    pub(super) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.problem(field, text, Trouble::Address);
        }
        address
    }

    /// An address prefix; blanks around it don't count.
    pub(super) fn cidr(&mut self, field: &str, text: &str) -> Option<Cidr> {
        match text.trim().parse() {
            Ok(cidr) => Some(cidr),
            Err(error) => {
                self.problem(field, text, Trouble::Cidr(error));
                None
            }
        }
    }

    /// A port number.
    pub(super) fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.problem(field, number, Trouble::Port);
        }
        port
    }

    /// A protocol; TCP when absent.
    pub(super) fn protocol(&mut self, field: &str, text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP" | "") => Some(Protocol::TCP),
            Some("UDP") => Some(Protocol::UDP),
            Some("SCTP") => Some(Protocol::SCTP),
            Some(other) => {
                self.problem(field, other, Trouble::Protocol);
                None
            }
        }
    }

    /// One of a few words; `default` when absent or, with a problem, when it is none of them.
    pub(super) fn word<T: Copy>(
        &mut self,
        field: &str,
        text: Option<&str>,
        words: &[(&str, T)],
        default: T,
        trouble: Trouble,
    ) -> T {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return default };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => *value,
            None => {
                self.problem(field, text, trouble);
                default
            }
        }
    }
}

fn is_v4_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}
