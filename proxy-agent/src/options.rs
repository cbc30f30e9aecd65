//! What the operator asks for: flags, a file of the same names, and the defaults behind both.
//!
//! [`Flags`] is what is written, [`Options`] what it means. A flag wins over the file. Everything
//! that can be wrong is found here, before anything is touched. Called by [`crate::cli`].

mod duration;
mod error;
mod flags;
mod ports;
mod services;
mod surface;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    duration::{DurationError, Span},
    error::OptionsError,
    flags::{Flags, LogFormat, ServingFlags, SocketScope},
    ports::{Ports, PortsError},
    services::{ExternalClusterIp, Selection, ServiceOptions, UnknownConnections},
    surface::{Place, PlaceError, Surface},
};
use crate::{
    datapath::{DeviceHook, sizes::Sizes},
    devices::selector::Selector,
    flows::Timeouts,
    source::kubernetes::Cluster,
};

/// Where everything is pinned unless flags say otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/sluice";

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOption {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// A cluster.
    Kubernetes(Cluster),
}

/// What the agent goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name.
    pub node_name: String,
    /// Where objects come from.
    pub source: SourceOption,
    /// Where everything is pinned.
    pub pin_path: PathBuf,
    /// The cgroup that the socket path is attached to; found when `None`.
    pub cgroup_root: Option<PathBuf>,
    /// The operator's word on devices.
    pub devices: Selector,
    /// How Services are served.
    pub services: ServiceOptions,
    /// Whether processes of the node are kept from binding NodePorts.
    pub bind_protection: bool,
    /// Nothing is attached, nothing is answered, no socket is destroyed.
    pub shadow: bool,
    /// Whether UDP sockets of the node are destroyed when their endpoint stops serving.
    pub destroy_stale_sockets: bool,
    /// How programs are attached to devices.
    pub device_hook: DeviceHook,
    /// How much room the flow tables have.
    pub sizes: Sizes,
    /// How often flows are swept.
    pub sweep_interval: Duration,
    /// How long flows may be idle.
    pub timeouts: Timeouts,
    /// Where the agent is asked how it is.
    pub surface: Surface,
}

impl Flags {
    /// What the flags mean.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn resolve(self) -> Result<Options, OptionsError> {
        let services = ServiceOptions::resolve(&self)?;
        let surface = Surface::resolve(&self);
        let cluster = surface::cluster(&self)?;
        let source = match (self.manifests, self.kubeconfig) {
            (Some(manifests), Some(_)) => return Err(OptionsError::TwoSources(manifests)),
            (Some(manifests), None) if !manifests.is_dir() => {
                return Err(OptionsError::Manifests(manifests));
            }
            (Some(manifests), None) => SourceOption::Manifests(manifests),
            (None, _) => SourceOption::Kubernetes(cluster),
        };
        let globs = |globs: Option<Vec<String>>| globs.unwrap_or_default();
        let span = |span: Option<Span>, default| span.map_or(default, Span::get);
        let (default, sizes) = (Timeouts::default(), Sizes::default());
        Ok(Options {
            node_name: node_name(self.node_name)?,
            source,
            pin_path: pin_path(self.pin_path)?,
            cgroup_root: self.cgroup_root,
            devices: Selector::new(&globs(self.uplink_devices), &globs(self.workload_devices))?,
            services,
            bind_protection: self.bind_protection.unwrap_or(true),
            shadow: self.shadow.unwrap_or(false),
            destroy_stale_sockets: self.destroy_stale_sockets.unwrap_or(true),
            device_hook: self.device_hook.unwrap_or_default(),
            sizes: Sizes {
                flows: table_size("flow-table-size", self.flow_table_size, sizes.flows)?,
                new_flows: table_size(
                    "new-flow-table-size",
                    self.new_flow_table_size,
                    sizes.new_flows,
                )?,
                services: service_map("service-map-size", self.service_map_size)?,
                limit: service_map("service-map-limit", self.service_map_limit)?
                    .unwrap_or(sizes.limit),
            },
            sweep_interval: span(self.sweep_interval, Duration::from_secs(5)),
            timeouts: Timeouts {
                tcp_established: span(self.timeout_tcp_established, default.tcp_established),
                tcp_close_wait: span(self.timeout_tcp_close_wait, default.tcp_close_wait),
                tcp_syn: span(self.timeout_tcp_syn, default.tcp_syn),
                tcp_time_wait: span(self.timeout_tcp_time_wait, default.tcp_time_wait),
                tcp_reset: span(self.timeout_tcp_reset, default.tcp_reset),
                udp_unanswered: span(self.timeout_udp_unanswered, default.udp_unanswered),
                udp_stream: span(self.timeout_udp_stream, default.udp_stream),
                sctp_unanswered: span(self.timeout_sctp_unanswered, default.sctp_unanswered),
                sctp_established: span(self.timeout_sctp_established, default.sctp_established),
            },
            surface,
        })
    }
}

fn table_size(flag: &'static str, size: Option<u32>, default: u32) -> Result<u32, OptionsError> {
    match size {
        None => Ok(default),
        Some(size) if Sizes::RANGE.contains(&size) => Ok(size),
        Some(size) => Err(OptionsError::FlowTableSize { flag, size }),
    }
}

fn service_map(flag: &'static str, size: Option<u32>) -> Result<Option<u32>, OptionsError> {
    match size {
        Some(size) if !Sizes::SERVICES_RANGE.contains(&size) => {
            Err(OptionsError::ServiceMapSize { flag, size })
        }
        size => Ok(size),
    }
}

/// `--pin-path`, or its default; every command that takes the flag takes it this way.
///
/// # Errors
/// See [`OptionsError::PinPath`].
pub fn pin_path(path: Option<PathBuf>) -> Result<PathBuf, OptionsError> {
    let path = path.unwrap_or_else(|| DEFAULT_PIN_PATH.into());
    let why = if !path.is_absolute() {
        "not an absolute path"
    } else if path == Path::new("/") || path == Path::new("/sys/fs/bpf") {
        "others pin there too"
    } else if path.components().any(|part| part.as_os_str() == "..") {
        "leads upwards"
    } else {
        return Ok(path);
    };
    Err(OptionsError::PinPath { path, why })
}

fn node_name(name: Option<String>) -> Result<String, OptionsError> {
    let name = match name {
        Some(name) => name,
        // As the kubelet does it.
        None => fs::read_to_string("/proc/sys/kernel/hostname")
            .map_err(OptionsError::HostName)?
            .trim()
            .to_lowercase(),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if (1..=253).contains(&name.len()) && name.chars().all(allowed) {
        Ok(name)
    } else {
        Err(OptionsError::NodeName(name))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use clap::Parser;
    use proxy_common::{Algorithm, Scope};

    use super::{Flags, Options, OptionsError, SocketScope, SourceOption};
    use crate::source::kubernetes::Access;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    fn flags(line: &[&str]) -> Flags {
        Command::try_parse_from(std::iter::once(&"agent").chain(line)).unwrap().flags
    }

    fn file(text: &str) -> Result<Flags, OptionsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sluice.yaml");
        fs::write(&path, text).unwrap();
        Flags::from_file(&path)
    }

    fn scopes(options: &Options) -> (Scope, Scope) {
        (options.services.socket_lb_tcp, options.services.socket_lb_udp)
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let options = flags(&["--node-name", "a"]).resolve().unwrap();
        assert_eq!(options.pin_path, Path::new("/sys/fs/bpf/sluice"));
        assert_eq!(scopes(&options), (Scope::All, Scope::Host));
        let SourceOption::Kubernetes(cluster) = options.source else { panic!("no cluster") };
        assert_eq!((cluster.access, cluster.servers.len()), (Access::Found, 0));
        assert_eq!(options.timeouts.tcp_established, Duration::from_secs(86400));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file =
            file("socket-lb-tcp: off\nsocket-lb-udp: all\ntimeout-udp-stream: 5m\n").unwrap();
        let options = flags(&["--node-name", "a", "--socket-lb-tcp", "host"]).or(file);
        let options = options.resolve().unwrap();
        assert_eq!(scopes(&options), (Scope::Host, Scope::All));
        assert_eq!(options.timeouts.udp_stream, Duration::from_secs(300));
    }

    #[test]
    fn globs_may_be_repeated_separated_by_commas_or_a_list() {
        let given = flags(&["--workload-devices", "veth*,cali*", "--workload-devices", "tap*"]);
        let globs = given.workload_devices.unwrap();
        assert_eq!(globs, ["veth*", "cali*", "tap*"]);
        let list = file("workload-devices: [\"veth*\", \"tap*\"]\n").unwrap();
        assert_eq!(list.workload_devices.unwrap(), ["veth*", "tap*"]);
        let text = file("workload-devices: veth*, tap*\n").unwrap();
        assert_eq!(text.workload_devices.unwrap(), ["veth*", "tap*"]);
    }

    #[test]
    fn a_switch_may_stand_alone_or_with_its_value() {
        let switch = |line: &[&str]| flags(line).masquerade_all;
        assert_eq!(switch(&[]), None);
        assert_eq!(switch(&["--masquerade-all"]), Some(true));
        assert_eq!(switch(&["--masquerade-all=false"]), Some(false));
        assert_eq!(switch(&["--masquerade-all", "true", "--external-ips", "false"]), Some(true));
        assert_eq!(file("masquerade-all: true\n").unwrap().masquerade_all, Some(true));
    }

    #[test]
    fn what_serves_services_may_stand_in_the_file() {
        let file = file(
            "node-port-addresses: [192.0.2.0/24]\nalgorithm: least-connections\n\
             maglev-table-size: 251\nmasquerade-ports: 61000-62000\nexternal-cluster-ip: refuse\n",
        );
        let services = flags(&["--node-name", "a"]).or(file.unwrap()).resolve().unwrap().services;
        assert_eq!(services.algorithm, Algorithm::LeastConnections);
        assert_eq!((services.maglev_table_size, services.masquerade_ports), (251, 61_000..=62_000));
    }

    #[test]
    fn a_wrong_field_of_the_file_is_named() {
        let unknown = file("socket-lb-tpc: off\n").unwrap_err().to_string();
        assert!(unknown.contains("socket-lb-tpc"), "{unknown}");
        let value = file("node-name: a\nsocket-lb-tcp: maybe\n").unwrap_err().to_string();
        assert!(value.contains("maybe") && value.contains("line 2"), "{value}");
        assert_eq!(file("").unwrap(), Flags::default());
        assert_eq!(file("socket-lb-udp: host").unwrap().socket_lb_udp, Some(SocketScope::Host));
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_flag() {
        let message = |line: &[&str]| flags(line).resolve().unwrap_err().to_string();
        assert!(message(&["--node-name", "A b"]).starts_with("--node-name \"A b\":"));
        assert!(message(&["--pin-path", "pins"]).starts_with("--pin-path pins:"));
        assert!(message(&["--manifests", "/proc/nothing"]).starts_with("--manifests"));
        assert!(message(&["--node-name", "a", "--uplink-devices", "["]).contains("--uplink"));
        let small = message(&["--node-name", "a", "--new-flow-table-size", "10"]);
        assert!(small.starts_with("--new-flow-table-size 10: give a number from 256"), "{small}");
        let small = message(&["--node-name", "a", "--service-map-limit", "10"]);
        assert!(small.starts_with("--service-map-limit 10: give a number from 16"), "{small}");
    }
}
