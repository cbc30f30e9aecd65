//! A netlink socket to the kernel's netfilter: requests out, answers in. What is asked is the business of
//! [`super::nftables`] and [`super::conntrack`].

use std::io;

use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily as Proto,
};
use rtnetlink::{
    packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload},
    sys::{Socket, protocols::NETLINK_NETFILTER},
};

#[derive(Debug)]
pub(super) struct Netfilter {
    netlink: Socket,
}

impl Netfilter {
    /// Opens one.
    ///
    /// # Errors
    /// What the kernel said; `EPROTONOSUPPORT` where it has no netfilter.
    pub(super) fn open() -> io::Result<Self> {
        let mut netlink = Socket::new(NETLINK_NETFILTER)?;
        netlink.bind_auto()?;
        Ok(Self { netlink })
    }

    /// Has everything listed that `request` is about.
    pub(super) fn dump(
        &self,
        family: Proto,
        request: impl Into<NetfilterMessageInner>,
        visit: impl FnMut(Proto, NetfilterMessageInner),
    ) -> io::Result<()> {
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), request);
        let mut bytes = Vec::new();
        append(&mut bytes, 1, NLM_F_REQUEST | NLM_F_DUMP, message);
        self.send(&bytes)?;
        self.receive(visit)
    }

    /// Sends messages that [`append`] made.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.netlink.send(bytes, 0).map(drop)
    }

    /// Receives until the kernel says that that was all. What can't be read is left out: something
    /// newer than we are is nothing that is looked for.
    pub(super) fn receive(
        &self,
        mut visit: impl FnMut(Proto, NetfilterMessageInner),
    ) -> io::Result<()> {
        loop {
            let (datagram, _) = self.netlink.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some(length) = rest.first_chunk().map(|word| u32::from_ne_bytes(*word)) {
                let (message, after) = rest.split_at((length as usize).clamp(4, rest.len()));
                // Messages begin at multiples of four bytes.
                let pad = message.len().next_multiple_of(4) - message.len();
                rest = after.get(pad..).unwrap_or_default();
                let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(message) else {
                    continue;
                };
                match message.payload {
                    NetlinkPayload::InnerMessage(NetfilterMessage { header, inner, .. }) => {
                        visit(header.family, inner);
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    // The acknowledgement is an error without a number.
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// Puts a message behind those that are in `bytes`.
pub(super) fn append(bytes: &mut Vec<u8>, number: u32, flags: u16, message: NetfilterMessage) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    let end = start + message.buffer_len();
    message.serialize(&mut bytes[start..end]);
}
