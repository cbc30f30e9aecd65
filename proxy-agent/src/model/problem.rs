//! What is wrong with an object, in words that lead to the cure: which object, which field, which
//! value, what was done about it and what to change.
//!
//! A problem never stops the agent. Sources and [`crate::desired`] make them; the agent logs them.

use std::{fmt, path::PathBuf, sync::Arc};

use super::{CidrError, Family};

/// The kinds of object that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node.
    Node,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidr,
}

impl ObjectKind {
    /// Its `kind` in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// `namespace/name`, or the name of what has no namespace.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// A place in a file of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// Which document of the file, counted from 1.
    pub document: usize,
    /// Which line of the file, counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.file.display(), self.document)?;
        match self.line {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

/// Something that can't be served as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was read, when it came from a file.
    pub location: Option<Location>,
    /// The object, when it is known.
    pub object: Option<ObjectRef>,
    /// The field, as a path (`spec.ports[0].port`); empty when it isn't one field.
    pub field: String,
    /// The field's value, as text.
    pub value: String,
    /// What is wrong and what was done.
    pub trouble: Trouble,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}", self.field)?;
            if !self.value.is_empty() {
                write!(f, " is \"{}\"", self.value)?;
            }
            f.write_str(": ")?;
        } else if !self.value.is_empty() {
            write!(f, "\"{}\": ", self.value)?;
        }
        write!(f, "{}", self.trouble)
    }
}

/// What is wrong, what was done about it, what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No IP address.
    #[error(
        "not an IP address (IPv4 without leading zeros, or IPv6 without a zone); it is skipped"
    )]
    Address,
    /// An address of the wrong family.
    #[error("not an {expected} address, which is what the object says it is; it is skipped")]
    WrongFamily {
        /// What the object says.
        expected: Family,
    },
    /// An address that no endpoint can have.
    #[error(
        "an unspecified, loopback, link-local, multicast or IPv4-mapped address can't be an endpoint; it is skipped"
    )]
    EndpointAddress,
    /// An address that no frontend can have.
    #[error(
        "an unspecified, loopback, multicast or IPv4-mapped address can't be served; it is skipped"
    )]
    FrontendAddress,
    /// A port number out of range.
    #[error("not a port number from 1 to 65535; it is skipped")]
    Port,
    /// No protocol that Services have.
    #[error("not TCP, UDP or SCTP; the port is skipped")]
    Protocol,
    /// A value that isn't among those Kubernetes knows.
    #[error("not one of {allowed}; {done}")]
    UnknownValue {
        /// What is allowed.
        allowed: &'static str,
        /// What was done.
        done: &'static str,
    },
    /// No address prefix.
    #[error("not an address prefix such as 10.0.0.0/8: {0}; it is skipped")]
    Cidr(CidrError),
    /// A number out of range.
    #[error("not a number of seconds from 1 to 86400; {assumed} is assumed")]
    AffinitySeconds {
        /// What is used.
        assumed: u32,
    },
    /// A name that is missing or longer than Kubernetes allows.
    #[error("a name has 1 to {max} characters; the object is ignored")]
    Name {
        /// The limit.
        max: usize,
    },
    /// A port name longer than Kubernetes allows.
    #[error("a port name has at most 15 characters; the port is skipped")]
    PortName,
    /// Two ports of a Service have one name.
    #[error("another port of this Service has the same name and protocol; this one is skipped")]
    DuplicatePortName,
    /// Two ports of a Service have one number.
    #[error("another port of this Service has the same number and protocol; this one is skipped")]
    DuplicatePort,
    /// A Service of a manifest directory has no ClusterIP.
    #[error(
        "the Service has no ClusterIP, so nothing is served: a directory has no API server that would assign one; write one, or \"None\" for a headless Service"
    )]
    NoClusterIp,
    /// Two Services ask for one frontend.
    #[error("{owner} has this frontend already; it keeps it, since it is {why}")]
    FrontendTaken {
        /// Who has it.
        owner: ObjectRef,
        /// Why it wins.
        why: &'static str,
    },
    /// All source ranges are of the other family.
    #[error("no range of this list is {family}: {family} clients are not filtered")]
    SourceRangesOfOtherFamily {
        /// The family that isn't filtered.
        family: Family,
    },
    /// No source range is left.
    #[error("no valid range is left: nobody is admitted at the addresses of load balancers")]
    NoSourceRange,
    /// No weight.
    #[error(
        "not a weight such as 10.1.0.7=3: an endpoint's address, a pod or a node, \"=\", and a number from 1 to {max}; it is skipped"
    )]
    Weight {
        /// The largest weight.
        max: u8,
    },
    /// Two weights for one name.
    #[error("another weight is given for the same name before; this one is skipped")]
    DuplicateWeight,
    /// Weights that would take too many slots.
    #[error(
        "the weights ask for {wanted} slots for {endpoints} endpoints; they are scaled down to {given} slots, so shares are less exact; use smaller numbers"
    )]
    WeightsScaled {
        /// Slots that the weights ask for.
        wanted: u64,
        /// Endpoints in the set.
        endpoints: usize,
        /// Slots that are used.
        given: usize,
    },
    /// More endpoints than a Maglev table has slots.
    #[error(
        "the Maglev table has {slots} slots, and some of the {endpoints} endpoints get none; raise --maglev-table-size on every node, or pick another algorithm"
    )]
    MaglevTableSmall {
        /// Slots of a table.
        slots: usize,
        /// Endpoints in the set.
        endpoints: usize,
    },
    /// An SCTP port that isn't the endpoints'.
    #[error(
        "the endpoints listen at SCTP port {target}, and SCTP ports are not translated: what arrives at {number} is dropped there; set {field} to {target}, or let the endpoints listen at {number}"
    )]
    SctpPort {
        /// The port that traffic arrives at.
        number: u16,
        /// The endpoints' port.
        target: u16,
        /// Which field of the port gives the number.
        field: &'static str,
    },
    /// More ServiceCIDRs than the datapath has room for.
    #[error("the datapath has room for {max} ServiceCIDRs of a family; this one is ignored")]
    TooManyServiceCidrs {
        /// The limit.
        max: usize,
    },
    /// The document isn't YAML or JSON.
    #[error("{reason}; what this document said before stays in force")]
    Syntax {
        /// The parser's words.
        reason: Arc<str>,
    },
    /// The document is no object of its kind.
    #[error("{reason}; what this object said before stays in force")]
    Shape {
        /// The parser's words.
        reason: Arc<str>,
    },
    /// A file can't be read.
    #[error("the file can't be read ({reason}); what it said before stays in force")]
    Unreadable {
        /// The system's words.
        reason: Arc<str>,
    },
    /// The directory can't be read.
    #[error("the directory can't be read ({reason}); what it said before stays in force")]
    DirectoryUnreadable {
        /// The system's words.
        reason: Arc<str>,
    },
    /// The directory can't be watched.
    #[error(
        "the directory can't be watched ({reason}); it is looked through every second instead; see fs.inotify.max_user_watches and fs.inotify.max_user_instances"
    )]
    Unwatchable {
        /// The system's words.
        reason: Arc<str>,
    },
    /// The same object stands in two places.
    #[error("the same object stands in {first}, which is used; delete one of the two")]
    Duplicate {
        /// The place that is used.
        first: Location,
    },
    /// The API server refuses or can't be reached.
    #[error(
        "the API server doesn't answer as expected ({reason}); what is known stays in force and it is asked again"
    )]
    Api {
        /// The client's words.
        reason: Arc<str>,
    },
}
