//! Why a packet or a connection was refused. Numbers are stable: never reused, never renumbered.

/// Declares a numbered set of reasons with the text that people see.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $reason:ident = $number:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $($(#[doc = $doc])* $reason = $number,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// From its number.
            #[inline(always)]
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$reason),)*
                    _ => None,
                }
            }

            /// The name that metrics, tables and JSON use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// Inside a ServiceCIDR, and no Service owns the address.
        UnallocatedClusterIp = 1, "unallocated-cluster-ip";
        /// A ClusterIP was sent something that isn't TCP, UDP or SCTP (an echo request, say).
        ClusterIpProtocol = 2, "cluster-ip-protocol";
        /// The traffic policy is `Local`, and no endpoint is on this node.
        NoLocalEndpoint = 3, "no-local-endpoint";
        /// Headers end early or contradict themselves.
        Malformed = 4, "malformed";
        /// A slot or backend that a Service names is empty.
        BackendMissing = 5, "backend-missing";
        /// A flow table is full.
        FlowTableFull = 6, "flow-table-full";
        /// No free source port keeps this flow apart from another one.
        PortsExhausted = 7, "ports-exhausted";
        /// The packet could not be rewritten.
        RewriteFailed = 8, "rewrite-failed";
        /// A fragment came before the one that has the ports.
        FragmentUnknown = 9, "fragment-unknown";
        /// An ICMP redirect about a translated flow.
        Redirect = 10, "redirect";
        /// A refusal was due, and the limit on refusals was reached.
        RejectLimited = 11, "reject-limited";
        /// A refusal was due, and the packet may not be answered (a RST, an ICMP error, a fragment).
        RejectUnanswerable = 12, "reject-unanswerable";
        /// The address is not among `loadBalancerSourceRanges`.
        SourceRange = 13, "source-range";
        /// A packet of an SCTP Service port whose target port differs.
        SctpPort = 14, "sctp-port";
        /// The device that the packet leaves by has no address to masquerade with.
        NoMasqueradeAddress = 15, "no-masquerade-address";
        /// Every port that was tried for a masqueraded flow is taken.
        MasqueradePortsExhausted = 16, "masquerade-ports-exhausted";
        /// An answer of a masqueraded connection that isn't established yet, which would leave with its
        /// endpoint's address: data too early, or the connection's state was evicted.
        NotEstablished = 17, "not-established";
        /// It would open or settle a flow while the tables for that are being replaced.
        FlowTableMoving = 18, "flow-table-moving";
    }
}

reasons! {
    /// Why a packet or connection was refused with an answer.
    RejectReason {
        /// The Service port has no endpoint anywhere.
        NoEndpoint = 1, "no-endpoint";
        /// The ClusterIP exists, the port or protocol is not one of its Service's.
        UndefinedPort = 2, "undefined-port";
        /// A TCP packet to a frontend that belongs to no known connection and opens none.
        NoFlow = 3, "no-flow";
        /// From outside to a ClusterIP, where the operator doesn't want that.
        ExternalClusterIp = 4, "external-cluster-ip";
    }
}
