//! The flags of `sluice agent`, written down once for the command line and for `--config FILE`.
//!
//! What they mean is decided in [`crate::options`], their caller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use proxy_common::Scope;
use serde::{Deserialize, Deserializer};

use super::{ExternalClusterIp, OptionsError, Place, Ports, Selection, Span, UnknownConnections};
use crate::datapath::DeviceHook;

/// Declares the flags once, for the command line and for `--config`, and how one set of them gives
/// way to another. Those in the middle change what becomes of packets: `sluice explain` has them too.
macro_rules! flags {
    (
        { $($(#[$before_meta:meta])* $before:ident: $before_type:ty,)* }
        { $($(#[$serving_meta:meta])* $serving:ident: $serving_type:ty,)* }
        { $($(#[$after_meta:meta])* $after:ident: $after_type:ty,)* }
    ) => {
        /// Flags of `sluice agent`, and fields of the file that `--config` names.
        #[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Flags {
            $($(#[$before_meta])* pub $before: Option<$before_type>,)*
            $($(#[$serving_meta])* pub $serving: Option<$serving_type>,)*
            $($(#[$after_meta])* pub $after: Option<$after_type>,)*
        }

        /// Those of them that change what becomes of packets.
        #[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
        #[group(requires = "manifests")]
        pub struct ServingFlags {
            $($(#[$serving_meta])* pub $serving: Option<$serving_type>,)*
        }

        impl From<ServingFlags> for Flags {
            fn from(flags: ServingFlags) -> Self {
                Self { $($serving: flags.$serving,)* ..Self::default() }
            }
        }

        impl Flags {
            /// These flags, and `other`'s where they say nothing.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self {
                    $($before: self.$before.or(other.$before),)*
                    $($serving: self.$serving.or(other.$serving),)*
                    $($after: self.$after.or(other.$after),)*
                }
            }
        }
    };
}

flags! {{
    /// Name of the node, as its Node object and `nodeName` of endpoints have it [default: the host's name]
    ///
    /// In lower case.
    #[arg(long, value_name = "NAME")]
    node_name: String,
    /// Directory of manifests (Service, EndpointSlice, Node, ServiceCIDR) to serve and follow,
    /// instead of a cluster
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: PathBuf,
    /// Cluster to serve [default: $KUBECONFIG, or the cluster that this process runs in]
    ///
    /// Its credentials may be certificates, tokens in files, or plugins.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// API servers to ask, the best first, with the credentials of the cluster's configuration
    /// [default: the configuration's own]
    ///
    /// Needed where no other proxy serves the Service `kubernetes`. All are asked /readyz, each
    /// with a head start of 200 ms before the next; the first that is ready is used.
    #[arg(long, value_name = "URL,…", value_delimiter = ',', conflicts_with = "manifests")]
    #[serde(deserialize_with = "list")]
    api_server: Vec<String>,
    /// File that remembers the cluster's API servers for a start without kube-proxy
    /// [default: /var/lib/sluice/api-servers.json]
    ///
    /// The ready endpoints of default/kubernetes are kept in it.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Where /healthz, /livez and /readyz are, or off [default: 0.0.0.0:10256, both families]
    ///
    /// A port that is in use is told with its holder, and tried again.
    #[arg(long, value_name = "ADDRESS:PORT")]
    healthz_bind_address: Place,
    /// Where /metrics and /proxyMode are, or off [default: 127.0.0.1:10249]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind_address: Place,
    /// How long a change may wait for the maps before /healthz and /livez say 503 [default: 60s]
    #[arg(long, value_name = "DURATION")]
    max_lag: Span,
    /// Where programs' links and maps are pinned [default: /sys/fs/bpf/sluice]
    ///
    /// Absolute, without a dot in a name, and not a directory that others pin in.
    #[arg(long, value_name = "DIR")]
    pin_path: PathBuf,
    /// cgroup v2 directory whose processes the socket path serves [default: found]
    ///
    /// To serve pods it has to be the root of the whole hierarchy, not the agent's own cgroup.
    #[arg(long, value_name = "DIR")]
    cgroup_root: PathBuf,
    /// Devices towards other machines, as globs [default: found]
    ///
    /// Where globs are given, they alone say which devices are uplinks.
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    uplink_devices: Vec<String>,
    /// Devices of pods and VMs, as globs [default: found]
    ///
    /// Where globs are given, they alone say which devices are workloads. A device that both
    /// lists match is an uplink.
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    workload_devices: Vec<String>,
} {
    /// Whose TCP connections are translated at connect() [default: all]
    #[arg(long, value_name = "SCOPE")]
    socket_lb_tcp: SocketScope,
    /// Whose UDP sockets are translated at connect() and sendmsg() [default: host]
    #[arg(long, value_name = "SCOPE")]
    socket_lb_udp: SocketScope,
    /// Addresses of the node that serve NodePorts: prefixes, or "primary" for the Node object's
    /// InternalIPs [default: all]
    ///
    /// 127.0.0.1 and ::1 serve the node's own processes in any case.
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    node_port_addresses: Vec<String>,
    /// Whether spec.externalIPs are served [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    external_ips: bool,
    /// Whether traffic to ClusterIPs is always masqueraded [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    masquerade_all: bool,
    /// What becomes of traffic from outside to a ClusterIP [default: allow]
    #[arg(long, value_name = "WHAT")]
    external_cluster_ip: ExternalClusterIp,
    /// What becomes of TCP packets to a frontend that belong to no known connection [default: refuse]
    ///
    /// They are refused by a RST, or pass untouched while connections of another proxy go on.
    #[arg(long, value_name = "WHAT")]
    unknown_connections: UnknownConnections,
    /// How an endpoint is picked, unless the Service's annotation sluice.dev/algorithm says
    /// otherwise [default: random]
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Selection,
    /// Slots of a Maglev table, a prime number from 7 to 131071 [default: 1021]
    ///
    /// Each set of endpoints takes so many slots of the map SLOTS: a hundred for each endpoint
    /// are plenty.
    #[arg(long, value_name = "N")]
    maglev_table_size: u32,
    /// Ports that masqueraded flows leave by [default: 12000-29999]
    ///
    /// Keep them apart from net.ipv4.ip_local_port_range and from NodePorts; the agent warns
    /// where they aren't.
    #[arg(long, value_name = "FIRST-LAST")]
    masquerade_ports: Ports,
} {
    /// Whether processes of the node are kept from binding NodePorts [default: true]
    ///
    /// bind() gets EADDRINUSE.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    bind_protection: bool,
    /// Whether connected UDP sockets of the node are destroyed when their endpoint stops serving
    /// [default: true]
    ///
    /// By SOCK_DESTROY; needs a kernel with CONFIG_INET_DIAG_DESTROY.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    destroy_stale_sockets: bool,
    /// Whether everything is computed and written, and nothing attached: to be looked at beside
    /// another proxy [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    shadow: bool,
    /// How programs are attached to devices [default: auto]
    ///
    /// auto: TCX links where the kernel has them (6.6), else filters of a clsact qdisc.
    #[arg(long, value_name = "HOOK")]
    device_hook: DeviceHook,
    /// Room in each of the main flow tables, of which there are two for a family; a flow takes an
    /// element in both [default: 524288]
    ///
    /// From 256 to 16777216. A table of another size is replaced at start with the flows that
    /// it holds.
    #[arg(long, value_name = "N")]
    flow_table_size: u32,
    /// Room in each of the tables of new flows, where the least recently used go [default: 65536]
    ///
    /// From 256 to 16777216. A table of another size is replaced at start with the flows that
    /// it holds.
    #[arg(long, value_name = "N")]
    new_flow_table_size: u32,
    /// Room that each map of Services and endpoints has at first; they grow as they need it [default:
    /// as the layout says]
    ///
    /// From 16 to 67108864.
    #[arg(long, value_name = "N")]
    service_map_size: u32,
    /// Room beyond which no map of Services and endpoints grows [default: 16777216]
    #[arg(long, value_name = "N")]
    service_map_limit: u32,
    /// How often flow tables are searched for flows that are over [default: 5s]
    #[arg(long, value_name = "DURATION")]
    sweep_interval: Span,
    /// How long an established TCP connection may be idle [default: 24h]
    #[arg(long, value_name = "DURATION")]
    timeout_tcp_established: Span,
    /// How long a TCP connection that one end has closed may be idle [default: 1h]
    #[arg(long, value_name = "DURATION")]
    timeout_tcp_close_wait: Span,
    /// How long a TCP handshake may take [default: 60s]
    #[arg(long, value_name = "DURATION")]
    timeout_tcp_syn: Span,
    /// How long a TCP connection that both ends have closed is kept [default: 120s]
    #[arg(long, value_name = "DURATION")]
    timeout_tcp_time_wait: Span,
    /// How long a TCP connection that was reset is kept [default: 10s]
    #[arg(long, value_name = "DURATION")]
    timeout_tcp_reset: Span,
    /// How long a UDP flow may wait for an answer [default: 30s]
    #[arg(long, value_name = "DURATION")]
    timeout_udp_unanswered: Span,
    /// How long an answered UDP flow may be idle [default: 180s]
    #[arg(long, value_name = "DURATION")]
    timeout_udp_stream: Span,
    /// How long an SCTP association may wait for an answer [default: 60s]
    #[arg(long, value_name = "DURATION")]
    timeout_sctp_unanswered: Span,
    /// How long an SCTP association may be idle [default: 1h]
    #[arg(long, value_name = "DURATION")]
    timeout_sctp_established: Span,
    /// What is logged: a level, or directives such as info,proxy_agent::devices=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: String,
    /// How it is logged [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: LogFormat,
}}

/// Whose sockets the socket path translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketScope {
    /// Nobody's
    Off,
    /// Those of processes in the node's own network namespace
    Host,
    /// Those of every process under the cgroup root
    All,
}

impl From<SocketScope> for Scope {
    fn from(scope: SocketScope) -> Self {
        match scope {
            SocketScope::Off => Self::Off,
            SocketScope::Host => Self::Host,
            SocketScope::All => Self::All,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Flags {
    /// Reads `--config FILE`.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn from_file(path: &Path) -> Result<Self, OptionsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| OptionsError::Config { path: path.into(), source })?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|source| OptionsError::ConfigSyntax {
            path: path.into(),
            source: Box::new(source),
        })
    }
}

/// A list, or one string of it with commas between.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        OneOrMany::Many(items) => items,
    }))
}
