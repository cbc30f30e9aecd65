//! The programs of the object by name, and the hook each is for.
//!
//! Pure data. Called by the rest of [`crate::datapath`].

/// A program at a socket hook of the cgroup root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SocketProgram {
    /// connect(2) of an IPv4 socket.
    Connect4,
    /// connect(2) of an IPv6 socket.
    Connect6,
    /// sendmsg(2) of an unconnected UDP socket, IPv4.
    Sendmsg4,
    /// sendmsg(2) of an unconnected UDP socket, IPv6.
    Sendmsg6,
    /// recvmsg(2) of a UDP socket, IPv4.
    Recvmsg4,
    /// recvmsg(2) of a UDP socket, IPv6.
    Recvmsg6,
    /// getpeername(2), IPv4.
    Getpeername4,
    /// getpeername(2), IPv6.
    Getpeername6,
    /// The last close(2) of a socket.
    SockRelease,
    /// bind(2) of an IPv4 socket.
    Bind4,
    /// bind(2) of an IPv6 socket.
    Bind6,
}

impl SocketProgram {
    /// All of them, in an order in which they may be attached: answers are translated before the
    /// first question is, and what counts a socket is there after what forgets it.
    pub const ALL: [Self; 11] = [
        Self::Bind4,
        Self::Bind6,
        Self::SockRelease,
        Self::Getpeername4,
        Self::Getpeername6,
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Connect4,
        Self::Connect6,
    ];

    /// Its name in the object, and of its link's pin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Recvmsg4 => "recvmsg4",
            Self::Recvmsg6 => "recvmsg6",
            Self::Getpeername4 => "getpeername4",
            Self::Getpeername6 => "getpeername6",
            Self::SockRelease => "sock_release",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
        }
    }

    /// Whether it protects NodePorts, and is no part of the socket path.
    #[must_use]
    pub const fn protects_binds(self) -> bool {
        matches!(self, Self::Bind4 | Self::Bind6)
    }

    /// `enum bpf_attach_type`.
    pub(super) const fn attach_type(self) -> u32 {
        match self {
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::Sendmsg4 => 14,
            Self::Sendmsg6 => 15,
            Self::Recvmsg4 => 19,
            Self::Recvmsg6 => 20,
            Self::Getpeername4 => 29,
            Self::Getpeername6 => 30,
            Self::SockRelease => 34,
            Self::Bind4 => 8,
            Self::Bind6 => 9,
        }
    }
}

/// A direction of packets at a device, seen from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// What comes in by the device.
    Ingress,
    /// What goes out by the device.
    Egress,
}

impl Direction {
    /// Both, in the order in which they are attached: answers are translated before the first
    /// question is.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// The name that tables, logs and pins use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.name() == name)
    }

    /// `enum bpf_attach_type` of TCX (kernel ≥ 6.6).
    pub(super) const fn tcx_attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }
}

/// A program at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceProgram {
    /// Which way the packets go.
    pub direction: Direction,
    /// Whether packets start with an Ethernet header.
    pub ethernet: bool,
}

impl DeviceProgram {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self { direction: Direction::Ingress, ethernet: true },
        Self { direction: Direction::Egress, ethernet: true },
        Self { direction: Direction::Ingress, ethernet: false },
        Self { direction: Direction::Egress, ethernet: false },
    ];

    /// Its name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.direction, self.ethernet) {
            (Direction::Ingress, true) => "ingress_l2",
            (Direction::Egress, true) => "egress_l2",
            (Direction::Ingress, false) => "ingress_l3",
            (Direction::Egress, false) => "egress_l3",
        }
    }
}

/// Which programs of the object are to be loaded.
///
/// Few nodes have a device without Ethernet headers, and the verifier takes as long for its two
/// programs as for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    All,
    /// Those at devices without Ethernet headers.
    Layer3,
    /// All but these.
    WithoutLayer3,
}

impl Selection {
    /// Whether the program of that name is to be loaded.
    pub(super) fn contains(self, name: &str) -> bool {
        let is_layer3 = || DeviceProgram::ALL.iter().any(|it| !it.ethernet && it.name() == name);
        match self {
            Self::All => true,
            Self::Layer3 => is_layer3(),
            Self::WithoutLayer3 => !is_layer3(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DeviceProgram, Selection, SocketProgram};

    #[test]
    fn every_program_is_loaded_at_once_or_late() {
        let devices = DeviceProgram::ALL.iter().map(|program| program.name());
        let sockets = SocketProgram::ALL.iter().map(|program| program.name());
        for name in devices.chain(sockets) {
            let late = matches!(name, "ingress_l3" | "egress_l3");
            assert_eq!(Selection::Layer3.contains(name), late, "{name}");
            assert_eq!(Selection::WithoutLayer3.contains(name), !late, "{name}");
            assert!(Selection::All.contains(name), "{name}");
        }
    }
}
