//! The sentences that an answer is made of.
//!
//! Called by [`super::steps`], which knows what there is to tell.

use std::net::{IpAddr, SocketAddr};

use proxy_common::{
    Address, Be16, Config, ConfigOptions, DropReason, FrontendKind, Protocol, RejectReason, Scope,
    Seconds, Service, ServiceFlags,
};

use super::{
    candidates::Set,
    question::{Entry, Question},
    run::Ruling,
    unused::Unused,
};

/// How many names a sentence has before it says "and more".
const NAMED: usize = 6;

/// Where nobody is masqueraded.
pub(super) const KEPT: &str = "The endpoint sees the sender's own address.";

/// Where nobody is concerned.
pub(super) const PASSES: &str = "It is no Service's: the packet goes on as it came.";

/// `10.0.0.1:80`, `[fd00::1]:80`.
pub(super) fn end<A: Address>(address: A, port: Be16) -> SocketAddr {
    SocketAddr::new(address.to_ip(), port.get())
}

/// Names with commas between, as many as one wants to read.
pub(super) fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMED);
    if more > 0 {
        names.truncate(NAMED);
        names.push(format!("{more} more"));
    }
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn endpoints(number: usize) -> String {
    match number {
        1 => "1 endpoint".to_owned(),
        _ => format!("{number} endpoints"),
    }
}

/// How the packet enters.
pub(super) fn entry(question: &Question) -> String {
    let Question { entry, source, to, protocol } = question;
    let packet = match *protocol {
        Protocol::TCP => "A TCP SYN",
        Protocol::UDP => "A UDP datagram",
        _ => "An SCTP packet",
    };
    let calls = if *protocol == Protocol::UDP { "sends to" } else { "connects to" };
    match entry {
        Entry::Pod => format!("{packet} from {source} to {to} comes in by a pod's device."),
        Entry::Outside => {
            format!("{packet} from {source} to {to} comes in by a device towards other machines.")
        }
        Entry::Node => format!(
            "A process in the node's network namespace {calls} {to}/{protocol}. It has no source \
             address yet: --source takes no part."
        ),
    }
}

/// A flow is there.
pub(super) fn existing(leads_to: SocketAddr) -> String {
    format!(
        "A flow of this very source exists and leads to {leads_to}: its packets go on there. What \
         follows is about a new connection."
    )
}

/// The filter knows enough.
pub(super) fn filtered(address: IpAddr) -> String {
    format!("{address} has no bit in the address filter: it is no frontend's address.")
}

/// The filter knows the address as the node's, and enough of the port.
pub(super) fn filtered_port(address: IpAddr, port: u16) -> String {
    format!(
        "{address} is an address of the node, and {port} has no bit in the filter: no NodePort."
    )
}

/// The sender's own loopback.
pub(super) fn loopback(address: IpAddr) -> String {
    format!("{address} is a loopback address: what comes in by a device is not for it.")
}

/// Whose frontend it is.
pub(super) fn frontend(frontend: &str, kind: Option<FrontendKind>, service: &str) -> String {
    let kind = match kind {
        Some(FrontendKind::ClusterIp) => "a ClusterIP",
        Some(FrontendKind::ExternalIp) => "an external IP",
        Some(FrontendKind::LoadBalancer) => "a load balancer IP",
        Some(FrontendKind::NodePort) => "a NodePort",
        None => "a frontend",
    };
    format!("{frontend} is {kind} of {service}.")
}

/// Nobody's frontend.
pub(super) fn no_frontend(frontend: &str) -> String {
    format!("No Service has the frontend {frontend}.")
}

/// What an address is whose port nobody has. `there`: whose ClusterIP it is, and which ports that
/// Service serves.
pub(super) fn cluster_ip(address: IpAddr, there: Option<(Option<String>, String)>) -> String {
    match there {
        None => format!("{address} is no ClusterIP."),
        Some((None, _)) => format!("{address} is a ClusterIP, and no port is served there."),
        Some((Some(owner), ports)) => {
            format!("{address} is a ClusterIP of {owner}, which serves {ports} there.")
        }
    }
}

/// Source ranges.
pub(super) fn admitted(who: &str, admitted: bool) -> String {
    if admitted {
        format!("loadBalancerSourceRanges admit {who}.")
    } else {
        format!("loadBalancerSourceRanges don't admit {who}.")
    }
}

/// Which set counts, and why.
pub(super) fn policy(
    service: &Service,
    kind: FrontendKind,
    entry: Entry,
    set: Option<Set>,
) -> String {
    let internal = kind == FrontendKind::ClusterIp;
    let field = if internal { "internalTrafficPolicy" } else { "externalTrafficPolicy" };
    if !service.flags.contains(ServiceFlags::LOCAL_ONLY) {
        return format!("{field} is Cluster: the cluster set counts.");
    }
    match (internal, entry) {
        (true, _) => format!("{field} is Local: the local set counts."),
        (false, Entry::Outside) => {
            format!("{field} is Local, and the packet comes from outside: the local set counts.")
        }
        // The datapath has the last word on what is short-circuited.
        (false, Entry::Pod | Entry::Node) if set == Some(Set::Local) => {
            format!("{field} is Local: the local set counts.")
        }
        (false, Entry::Pod | Entry::Node) => format!(
            "{field} is Local, which is about packets from outside. This one is of the node itself: \
             the cluster set counts."
        ),
    }
}

/// How large the sets are: the cluster set and how many of it are here, the local set.
pub(super) fn sizes((cluster, here): (usize, usize), local: usize) -> String {
    let cluster = match (cluster, here) {
        (0, _) => "The cluster set is empty".to_owned(),
        (_, 0) => format!("The cluster set has {}, none on this node", endpoints(cluster)),
        (_, _) => format!("The cluster set has {}, {here} on this node", endpoints(cluster)),
    };
    let local = match local {
        0 => "the local set is empty".to_owned(),
        _ => format!("the local set has {}", endpoints(local)),
    };
    format!("{cluster}; {local}.")
}

/// Endpoints that are in no set.
pub(super) fn unused(unused: &[(SocketAddr, Unused)]) -> String {
    let named = unused.iter().map(|(end, why)| {
        let why = match why {
            Unused::NotReady => "not ready",
            Unused::Terminating => "terminating, and others are ready",
            Unused::Topology => "meant for others by its hints",
        };
        format!("{end} ({why})")
    });
    format!("In neither set: {}.", listed(named))
}

/// Session affinity.
pub(super) fn affinity(known: bool, stays: Option<SocketAddr>, timeout: Seconds) -> String {
    let seconds = timeout.get();
    match (stays, known) {
        (Some(end), _) => format!(
            "sessionAffinity is ClientIP, and this client has been with {end} within the last \
             {seconds} s: it stays there."
        ),
        (None, true) => "sessionAffinity is ClientIP. This client was with an endpoint too long \
                         ago, or with one that isn't used any more: it gets another."
            .to_owned(),
        (None, false) => format!(
            "sessionAffinity is ClientIP, and this client is not known yet: it will stay with the \
             endpoint that it gets until {seconds} s after its last packet."
        ),
    }
}

/// How an endpoint is picked.
pub(super) fn picking(algorithm: &str, entry: Entry) -> String {
    let how = match (algorithm, entry) {
        ("round-robin", _) => "in turn",
        ("least-connections", _) => "as the better of two by open connections",
        ("maglev", Entry::Node) => "by a Maglev table and the socket",
        ("maglev", _) => "by a Maglev table and the client's address and port",
        _ => "at random",
    };
    format!("An endpoint is picked {how} (algorithm {algorithm}).")
}

/// An endpoint that the packet can't go to.
pub(super) fn left_out(end: SocketAddr, ruling: Ruling) -> String {
    match ruling {
        Ruling::Drop(reason) => {
            format!("Whoever gets {end} is dropped ({}): {}.", reason.name(), why_dropped(reason))
        }
        Ruling::Reject(reason) => format!("Whoever gets {end} is rejected ({}).", reason.name()),
        Ruling::Translate | Ruling::Pass => format!("Whoever gets {end} goes on untranslated."),
    }
}

/// A pod that reaches itself.
pub(super) fn hairpin(names: &str) -> String {
    format!(
        "{names} is the sender itself, which would refuse a packet from its own address: it sees an \
         address of this node."
    )
}

/// Endpoints that see an address of this node.
pub(super) fn masquerade(names: &str, kind: FrontendKind, config: Option<&Config>) -> String {
    let all = config.is_some_and(|it| it.options.contains(ConfigOptions::MASQUERADE_ALL));
    let why = if all && kind == FrontendKind::ClusterIp {
        "--masquerade-all is on"
    } else {
        "on another node, and its answers have to come back through this one"
    };
    format!("Masqueraded towards {names} ({why}): the endpoint sees an address of this node.")
}

/// Where it goes.
pub(super) fn goes_to(number: usize, ends: &str) -> String {
    match number {
        1 => format!("The connection goes to {ends}."),
        _ => format!("The connection goes to one of {}: {ends}.", endpoints(number)),
    }
}

/// What a refusal looks like to its sender.
fn refusal(question: &Question) -> &'static str {
    match (question.entry, question.protocol, question.to.is_ipv4()) {
        (Entry::Node, ..) => "the call fails with ECONNREFUSED",
        (_, Protocol::TCP, _) => "the sender gets a RST",
        (_, _, true) => "the sender gets an ICMP port unreachable",
        (_, _, false) => "the sender gets an ICMPv6 port unreachable",
    }
}

/// How it ends for a packet that is refused.
pub(super) fn rejected(reason: RejectReason, question: &Question) -> String {
    let why = match reason {
        RejectReason::NoEndpoint => {
            "no endpoint anywhere is ready, nor serving while it terminates"
        }
        RejectReason::UndefinedPort => "the Service doesn't define this port and protocol",
        RejectReason::NoFlow => "the packet continues a connection that nobody knows",
        RejectReason::ExternalClusterIp => {
            "from outside ClusterIPs are refused (--external-cluster-ip refuse)"
        }
    };
    format!("Rejected ({}): {why}; {}.", reason.name(), refusal(question))
}

fn why_dropped(reason: DropReason) -> &'static str {
    match reason {
        DropReason::UnallocatedClusterIp => {
            "the address is inside a ServiceCIDR, and no Service owns it"
        }
        DropReason::NoLocalEndpoint => "there are endpoints, and none of them is on this node",
        DropReason::SourceRange => "the source is not admitted",
        DropReason::SctpPort => {
            "its port differs from the frontend's, and SCTP's ports are never rewritten"
        }
        DropReason::BackendMissing => "a slot of the Service leads to no backend",
        _ => "the packet can't go on",
    }
}

/// How it ends for a packet that is dropped.
pub(super) fn dropped(reason: DropReason, question: &Question) -> String {
    let call = match question.entry {
        Entry::Node => "; the call fails with ETIMEDOUT at once",
        Entry::Pod | Entry::Outside => "",
    };
    format!("Dropped ({}): {}{call}.", reason.name(), why_dropped(reason))
}

/// Why a call of the node goes on although somebody has its address.
pub(super) fn not_served(question: &Question, config: Option<&Config>) -> (&'static str, String) {
    let (flag, scope) = match (question.protocol, config) {
        (_, None) => {
            return ("not-configured", "CONFIG isn't written: nothing is translated.".to_owned());
        }
        (Protocol::TCP, Some(config)) => ("--socket-lb-tcp", config.socket_lb_tcp),
        (Protocol::UDP, Some(config)) => ("--socket-lb-udp", config.socket_lb_udp),
        _ => {
            let text = "Processes of the node are served on the socket path, which serves TCP and \
                        UDP only: the call goes on as it came.";
            return ("socket-path-protocol", text.to_owned());
        }
    };
    let scope = if scope == Scope::Off as u8 { "off" } else { "not for the node" };
    let text = format!(
        "{flag} is {scope}, and processes of the node are served on the socket path alone: the call \
         goes on as it came."
    );
    ("out-of-scope", text)
}

/// What the socket path does about a pod's packet before it is sent; nothing when it leaves it to
/// the packet path.
pub(super) fn earlier(
    ruling: Ruling,
    same: bool,
    masquerades: bool,
    question: &Question,
) -> Option<String> {
    let call = match question.protocol {
        Protocol::UDP => "sendmsg() and connect()",
        _ => "connect()",
    };
    let what = match (ruling, same) {
        (Ruling::Pass | Ruling::Drop(_), _) => return None,
        (Ruling::Translate, true) if masquerades => {
            "chooses among the same endpoints and masquerades nothing,"
        }
        (Ruling::Translate, true) => "chooses among the same endpoints",
        (Ruling::Translate, false) => "chooses among other endpoints",
        (Ruling::Reject(_), _) => "fails with ECONNREFUSED",
    };
    Some(format!(
        "For a process below the agent's cgroup root {call} {what} before there is a packet."
    ))
}
