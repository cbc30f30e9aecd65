//! The flags that change how Services are served: which frontends there are, who picks, what is
//! masqueraded.
//!
//! The agent and `sluice explain` share them: [`ServiceOptions::settings`] makes of them what the
//! control plane goes by. Called by [`crate::options`].

use std::{ops::RangeInclusive, sync::Arc};

use clap::ValueEnum;
use proxy_common::{Algorithm, Config, ConfigOptions, FrontendKind, Scope};
use serde::Deserialize;

use super::{Flags, OptionsError, Ports};
use crate::{
    desired::{FrontendKinds, NodePortAddresses},
    model::{Cidr, CidrError},
    reconcile::Settings,
};

/// How Services are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Whose TCP the socket path translates.
    pub socket_lb_tcp: Scope,
    /// Whose UDP the socket path translates.
    pub socket_lb_udp: Scope,
    /// Which of the node's addresses serve NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// Whether `spec.externalIPs` are served.
    pub external_ips: bool,
    /// Whether traffic to ClusterIPs is always masqueraded.
    pub masquerade_all: bool,
    /// What becomes of traffic that comes from outside to a ClusterIP.
    pub external_cluster_ip: ExternalClusterIp,
    /// What becomes of TCP packets to a frontend that belong to no known connection.
    pub unknown_connections: UnknownConnections,
    /// How an endpoint is picked unless the Service says otherwise.
    pub algorithm: Algorithm,
    /// Slots of a Maglev table, a prime.
    pub maglev_table_size: u32,
    /// Ports that masqueraded flows may use.
    pub masquerade_ports: RangeInclusive<u16>,
}

/// What becomes of traffic that comes by an uplink and is for a ClusterIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExternalClusterIp {
    /// It is served, and masqueraded where its endpoint is on another node
    #[default]
    Allow,
    /// It is refused
    Refuse,
}

/// What becomes of a TCP packet to a frontend that neither opens a connection nor belongs to one
/// that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownConnections {
    /// It is answered with a RST
    #[default]
    Refuse,
    /// It goes on untouched: the proxy that was here before may know the connection
    Pass,
}

/// How an endpoint is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Each is as likely as any other
    #[default]
    Random,
    /// They take turns
    RoundRobin,
    /// Of two picked at random, the one with fewer open connections
    LeastConnections,
    /// The client's address and port decide, the same on every node
    Maglev,
}

impl From<Selection> for Algorithm {
    fn from(selection: Selection) -> Self {
        match selection {
            Selection::Random => Self::Random,
            Selection::RoundRobin => Self::RoundRobin,
            Selection::LeastConnections => Self::LeastConnections,
            Selection::Maglev => Self::Maglev,
        }
    }
}

/// The smallest and the largest Maglev table.
const TABLE_SIZES: RangeInclusive<u32> = 7..=131_071;
/// Slots of a Maglev table unless flags say otherwise: shares are within a few per cent for up to
/// forty endpoints.
const TABLE_SIZE: u32 = 1_021;

impl ServiceOptions {
    /// What `flags` mean, the defaults where they say nothing.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn resolve(flags: &Flags) -> Result<Self, OptionsError> {
        let scope = |scope: Option<super::SocketScope>, default| scope.map_or(default, Scope::from);
        Ok(Self {
            socket_lb_tcp: scope(flags.socket_lb_tcp, Scope::All),
            socket_lb_udp: scope(flags.socket_lb_udp, Scope::Host),
            node_port_addresses: node_port_addresses(flags.node_port_addresses.as_deref())?,
            external_ips: flags.external_ips.unwrap_or(true),
            masquerade_all: flags.masquerade_all.unwrap_or(false),
            external_cluster_ip: flags.external_cluster_ip.unwrap_or_default(),
            unknown_connections: flags.unknown_connections.unwrap_or_default(),
            algorithm: flags.algorithm.unwrap_or_default().into(),
            maglev_table_size: table_size(flags.maglev_table_size.unwrap_or(TABLE_SIZE))?,
            masquerade_ports: flags.masquerade_ports.unwrap_or(Ports::MASQUERADE).get(),
        })
    }

    /// Whether the socket path serves anybody.
    #[must_use]
    pub fn has_socket_path(&self) -> bool {
        (self.socket_lb_tcp, self.socket_lb_udp) != (Scope::Off, Scope::Off)
    }

    /// Masquerade ports that another proxy may have given to connections which go on.
    #[must_use]
    pub fn foreign_ports(&self) -> Option<(u16, u16)> {
        let ports = &self.masquerade_ports;
        (self.unknown_connections == UnknownConnections::Pass)
            .then_some((*ports.start(), *ports.end()))
    }

    /// What the control plane goes by, on the node `node_name` whose network namespace has the
    /// cookie `host_netns_cookie`.
    #[must_use]
    pub fn settings(&self, node_name: Arc<str>, host_netns_cookie: u64) -> Settings {
        let (first, last) = (*self.masquerade_ports.start(), *self.masquerade_ports.end());
        let kinds = FrontendKinds::ALL;
        let mut options = ConfigOptions::empty();
        if self.masquerade_all {
            options = options.union(ConfigOptions::MASQUERADE_ALL);
        }
        if self.external_cluster_ip == ExternalClusterIp::Refuse {
            options = options.union(ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP);
        }
        if self.unknown_connections == UnknownConnections::Pass {
            options = options.union(ConfigOptions::PASS_UNKNOWN_CONNECTIONS);
        }
        Settings {
            node_name,
            frontend_kinds: if self.external_ips {
                kinds
            } else {
                kinds.without(FrontendKind::ExternalIp)
            },
            node_port_addresses: self.node_port_addresses.clone(),
            algorithm: self.algorithm,
            maglev_table_size: self.maglev_table_size,
            config: Config {
                host_netns_cookie,
                socket_lb_tcp: self.socket_lb_tcp as u8,
                socket_lb_udp: self.socket_lb_udp as u8,
                masquerade_port_base: first,
                masquerade_port_count: last - first + 1,
                options,
                ..bytemuck::Zeroable::zeroed()
            },
        }
    }
}

fn node_port_addresses(texts: Option<&[String]>) -> Result<NodePortAddresses, OptionsError> {
    let Some(texts) = texts else { return Ok(NodePortAddresses::All) };
    if let [text] = texts
        && text.trim() == "primary"
    {
        return Ok(NodePortAddresses::Primary);
    }
    let cidr = |text: &String| {
        let text = text.trim();
        let failed =
            |source: CidrError| OptionsError::NodePortAddresses { text: text.to_owned(), source };
        text.parse::<Cidr>().map_err(failed)
    };
    Ok(NodePortAddresses::Within(texts.iter().map(cidr).collect::<Result<_, _>>()?))
}

fn table_size(size: u32) -> Result<u32, OptionsError> {
    let (min, max) = (*TABLE_SIZES.start(), *TABLE_SIZES.end());
    if !TABLE_SIZES.contains(&size) {
        return Err(OptionsError::TableSizeRange { size, min, max });
    }
    if is_prime(size) {
        return Ok(size);
    }
    // Both ends of the range are primes.
    let below = (min..size).rev().find(|number| is_prime(*number)).unwrap_or(min);
    let above = (size..=max).find(|number| is_prime(*number)).unwrap_or(max);
    Err(OptionsError::TableSizeNotPrime { size, below, above })
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use proxy_common::{Algorithm, ConfigOptions, FrontendKind};

    use super::{
        ExternalClusterIp, Flags, Selection, ServiceOptions, TABLE_SIZES, UnknownConnections,
        is_prime,
    };
    use crate::desired::NodePortAddresses;

    fn options(flags: &Flags) -> ServiceOptions {
        ServiceOptions::resolve(flags).unwrap()
    }

    fn message(flags: &Flags) -> String {
        ServiceOptions::resolve(flags).unwrap_err().to_string()
    }

    #[test]
    fn by_default_everything_is_served_on_every_address() {
        let options = options(&Flags::default());
        let settings = options.settings("a".into(), 7);
        assert_eq!(settings.node_port_addresses, NodePortAddresses::All);
        assert!(settings.frontend_kinds.contains(FrontendKind::ExternalIp));
        assert_eq!(settings.config.options, ConfigOptions::empty());
        assert_eq!(settings.config.masquerade_port_base, 12_000);
        assert_eq!(settings.config.masquerade_port_count, 18_000);
        assert_eq!((options.algorithm, options.maglev_table_size), (Algorithm::Random, 1_021));
    }

    #[test]
    fn switches_reach_the_control_plane() {
        let flags = Flags {
            external_ips: Some(false),
            masquerade_all: Some(true),
            external_cluster_ip: Some(ExternalClusterIp::Refuse),
            unknown_connections: Some(UnknownConnections::Pass),
            algorithm: Some(Selection::Maglev),
            ..Flags::default()
        };
        let settings = options(&flags).settings("a".into(), 7);
        assert!(!settings.frontend_kinds.contains(FrontendKind::ExternalIp));
        assert!(settings.frontend_kinds.contains(FrontendKind::LoadBalancer));
        assert!(settings.config.options.contains(ConfigOptions::MASQUERADE_ALL));
        assert_eq!(settings.algorithm, Algorithm::Maglev);
        assert!(settings.config.options.contains(ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP));
        assert!(settings.config.options.contains(ConfigOptions::PASS_UNKNOWN_CONNECTIONS));
    }

    #[test]
    fn node_port_addresses_are_prefixes_or_the_word_primary() {
        let with = |texts: &[&str]| Flags {
            node_port_addresses: Some(texts.iter().map(ToString::to_string).collect()),
            ..Flags::default()
        };
        assert_eq!(options(&with(&["primary"])).node_port_addresses, NodePortAddresses::Primary);
        let within = ["192.0.2.0/24", "2001:db8::/32"];
        assert_eq!(
            options(&with(&within)).node_port_addresses,
            NodePortAddresses::Within(within.map(|text| text.parse().unwrap()).to_vec())
        );
        let wrong = message(&with(&["192.0.2.0/24", "192.0.2.1"]));
        assert!(wrong.starts_with("--node-port-addresses \"192.0.2.1\":"), "{wrong}");
        assert!(message(&with(&["primary", "10.0.0.0/8"])).contains("\"primary\""));
    }

    #[test]
    fn a_table_size_that_is_no_prime_is_answered_with_the_nearest_ones() {
        let with = |size| Flags { maglev_table_size: Some(size), ..Flags::default() };
        assert_eq!(options(&with(251)).maglev_table_size, 251);
        let wrong = message(&with(4_096));
        assert!(wrong.contains("4093") && wrong.contains("4099"), "{wrong}");
        assert!(message(&with(131_072)).contains("131071"));
        assert!(message(&with(0)).contains("7 to 131071"));
        assert!(is_prime(*TABLE_SIZES.start()) && is_prime(*TABLE_SIZES.end()));
    }
}
