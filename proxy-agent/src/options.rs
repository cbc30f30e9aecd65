//! What the operator asks for: flags, a file of the same names, and the defaults behind both.
//!
//! [`Flags`] is what is written, [`Options`] what it means. A flag wins over the file. Everything
//! that can be wrong is found here, before anything is touched. Called by [`crate::cli`].

mod duration;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use proxy_common::Scope;
use serde::{Deserialize, Deserializer};

pub use self::duration::{DurationError, Span};
use crate::{
    datapath::DeviceHook,
    devices::selector::{GlobError, Selector},
    flows::Timeouts,
};

/// Where everything is pinned unless flags say otherwise.
pub const DEFAULT_PIN_PATH: &str = "/sys/fs/bpf/sluice";

/// Declares the flags once, for the command line and for `--config`, and how one set of them gives
/// way to another.
macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        /// Flags of `sluice agent`, and fields of the file that `--config` names.
        #[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Flags {
            $($(#[$meta])* pub $name: Option<$type>,)*
        }

        impl Flags {
            /// These flags, and `other`'s where they say nothing.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }
    };
}

flags! {
    /// Name of the node, as its Node object and `nodeName` of endpoints have it [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node_name: String,
    /// Directory of manifests (Service, EndpointSlice, Node, ServiceCIDR) to serve and follow,
    /// instead of a cluster
    #[arg(long, value_name = "DIR", conflicts_with = "kubeconfig")]
    manifests: PathBuf,
    /// Cluster to serve [default: $KUBECONFIG, or the cluster that this process runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Where programs' links and maps are pinned [default: /sys/fs/bpf/sluice]
    #[arg(long, value_name = "DIR")]
    pin_path: PathBuf,
    /// cgroup v2 directory whose processes the socket path serves [default: found]
    #[arg(long, value_name = "DIR")]
    cgroup_root: PathBuf,
    /// Devices towards other machines, as globs [default: found]
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    #[serde(deserialize_with = "globs")]
    uplink_devices: Vec<String>,
    /// Devices of pods and VMs, as globs [default: found]
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    #[serde(deserialize_with = "globs")]
    workload_devices: Vec<String>,
    /// Whose TCP connections are translated at connect() [default: all]
    #[arg(long, value_name = "SCOPE")]
    socket_lb_tcp: SocketScope,
    /// Whose UDP sockets are translated at connect() and sendmsg() [default: host]
    #[arg(long, value_name = "SCOPE")]
    socket_lb_udp: SocketScope,
    /// How programs are attached to devices [default: auto]
    #[arg(long, value_name = "HOOK")]
    device_hook: DeviceHook,
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
}

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

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOption {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// A cluster, by the kubeconfig that is named or the one that is found.
    Kubernetes(Option<PathBuf>),
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
    /// Whose TCP the socket path translates.
    pub socket_lb_tcp: Scope,
    /// Whose UDP the socket path translates.
    pub socket_lb_udp: Scope,
    /// How programs are attached to devices.
    pub device_hook: DeviceHook,
    /// How often flows are swept.
    pub sweep_interval: Duration,
    /// How long flows may be idle.
    pub timeouts: Timeouts,
}

/// What is wrong with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file can't be read.
    #[error("--config {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What read(2) said.
        source: io::Error,
    },
    /// The file isn't what it should be.
    #[error(
        "--config {}: {source}: fields are the flags of `sluice agent` without the dashes", path.display()
    )]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and field.
        source: Box<serde_saphyr::Error>,
    },
    /// Both sources are named.
    #[error(
        "--manifests {}: --kubeconfig is given too: objects come from a directory or from a cluster, \
         leave one of the two out",
        .0.display()
    )]
    TwoSources(PathBuf),
    /// No directory.
    #[error("--manifests {}: not a directory: give the directory that the manifests are in", .0.display())]
    Manifests(PathBuf),
    /// A name that no Node can have.
    #[error(
        "--node-name {0:?}: not a node's name: give metadata.name of the Node object (lower-case \
         letters, digits, '-' and '.')"
    )]
    NodeName(String),
    /// The host has no name.
    #[error("--node-name: the host's name can't be read ({0}): give the node's name")]
    HostName(#[source] io::Error),
    /// A pin path that bpffs doesn't allow, or a relative one.
    #[error("--pin-path {}: {}: give an absolute path like {DEFAULT_PIN_PATH}", path.display(), why)]
    PinPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A glob that isn't one.
    #[error(transparent)]
    Glob(#[from] GlobError),
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

    /// What the flags mean.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn resolve(self) -> Result<Options, OptionsError> {
        let source = match (self.manifests, self.kubeconfig) {
            (Some(manifests), Some(_)) => return Err(OptionsError::TwoSources(manifests)),
            (Some(manifests), None) if !manifests.is_dir() => {
                return Err(OptionsError::Manifests(manifests));
            }
            (Some(manifests), None) => SourceOption::Manifests(manifests),
            (None, kubeconfig) => SourceOption::Kubernetes(kubeconfig),
        };
        let globs = |globs: Option<Vec<String>>| globs.unwrap_or_default();
        let span = |span: Option<Span>, default| span.map_or(default, Span::get);
        let default = Timeouts::default();
        Ok(Options {
            node_name: node_name(self.node_name)?,
            source,
            pin_path: pin_path(self.pin_path)?,
            cgroup_root: self.cgroup_root,
            devices: Selector::new(&globs(self.uplink_devices), &globs(self.workload_devices))?,
            socket_lb_tcp: self.socket_lb_tcp.unwrap_or(SocketScope::All).into(),
            socket_lb_udp: self.socket_lb_udp.unwrap_or(SocketScope::Host).into(),
            device_hook: self.device_hook.unwrap_or_default(),
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
        })
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

/// A list of globs, or one string of them with commas between.
fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|glob| glob.trim().to_owned()).collect(),
        OneOrMany::Many(globs) => globs,
    }))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use clap::Parser;
    use proxy_common::Scope;

    use super::{Flags, OptionsError, SocketScope, SourceOption};

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

    #[test]
    fn defaults_are_those_of_the_manual() {
        let options = flags(&["--node-name", "a"]).resolve().unwrap();
        assert_eq!(options.pin_path, Path::new("/sys/fs/bpf/sluice"));
        assert_eq!((options.socket_lb_tcp, options.socket_lb_udp), (Scope::All, Scope::Host));
        assert_eq!(options.source, SourceOption::Kubernetes(None));
        assert_eq!(options.timeouts.tcp_established, Duration::from_secs(86400));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file =
            file("socket-lb-tcp: off\nsocket-lb-udp: all\ntimeout-udp-stream: 5m\n").unwrap();
        let options = flags(&["--node-name", "a", "--socket-lb-tcp", "host"]).or(file);
        let options = options.resolve().unwrap();
        assert_eq!((options.socket_lb_tcp, options.socket_lb_udp), (Scope::Host, Scope::All));
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
    }
}
