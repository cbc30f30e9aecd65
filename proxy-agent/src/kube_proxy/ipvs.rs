//! What the IPVS mode leaves: a device with the Services' addresses, virtual servers, ipsets.
//!
//! Virtual servers may be anybody's. Those at an address of `kube-ipvs0` are kube-proxy's for sure;
//! of the others, those of NodePorts, nothing tells, and they are named and left. Called by
//! [`crate::kube_proxy`].

use std::{collections::BTreeSet, fs, net::IpAddr};

use futures::TryStreamExt;
use rtnetlink::packet_route::{
    address::AddressAttribute,
    link::{LinkAttribute, LinkMessage},
};

use super::{
    leftovers::{Leftovers, output},
    names,
};

/// What there is of kube-proxy in IPVS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Virtual servers at an address of its device, as `ipvsadm` names them: a flag that says the
    /// protocol, and an address with a port.
    pub servers: Vec<(&'static str, String)>,
    /// Virtual servers elsewhere.
    pub others: Vec<String>,
    /// ipsets.
    pub sets: Vec<String>,
}

/// Adds what is found to `found`.
pub(super) fn find(found: &mut Leftovers) {
    let mut addresses = BTreeSet::new();
    match device() {
        Ok(None) => {}
        Ok(Some(there)) => {
            found.device = Some(names::IPVS_DEVICE.to_owned());
            addresses = there;
        }
        Err(error) => found.unknown.push(format!("devices can't be listed: {error}")),
    }
    if found.device.is_none() {
        return;
    }
    let table = fs::read_to_string("/proc/net/ip_vs").unwrap_or_default();
    for (flag, address, port) in servers(&table) {
        let place = std::net::SocketAddr::new(address, port).to_string();
        if addresses.contains(&address) {
            found.ipvs.servers.push((flag, place));
        } else {
            found.ipvs.others.push(place);
        }
    }
    let sets = output("ipset", &["list", "-name"]).unwrap_or_default();
    found.ipvs.sets = sets.lines().filter(|name| names::is_set(name)).map(str::to_owned).collect();
}

/// The virtual servers that `/proc/net/ip_vs` lists.
fn servers(table: &str) -> Vec<(&'static str, IpAddr, u16)> {
    let server = |line: &str| {
        // TCP  0A60000A:0050 rr
        let mut words = line.split_whitespace();
        let flag = match words.next()? {
            "TCP" => "-t",
            "UDP" => "-u",
            "SCTP" => "--sctp-service",
            _ => return None,
        };
        let (address, port) = words.next()?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let address = match address.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']')?.parse().ok()?,
            None => IpAddr::from(u32::from_str_radix(address, 16).ok()?.to_be_bytes()),
        };
        Some((flag, address, port))
    };
    table.lines().filter_map(server).collect()
}

/// The addresses of kube-proxy's device, if it is there.
fn device() -> std::io::Result<Option<BTreeSet<IpAddr>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = async {
            let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            let ours = links.iter().find(|link| {
                link.attributes.contains(&LinkAttribute::IfName(names::IPVS_DEVICE.to_owned()))
            });
            let Some(link) = ours else { return Ok(None) };
            let messages = handle.address().get().set_link_index_filter(link.header.index);
            let messages: Vec<_> = messages.execute().try_collect().await?;
            let attributes = messages.into_iter().flat_map(|message| message.attributes);
            Ok(Some(
                attributes
                    .filter_map(|attribute| match attribute {
                        AddressAttribute::Address(address) => Some(address),
                        _ => None,
                    })
                    .collect(),
            ))
        };
        let result: Result<_, rtnetlink::Error> = result.await;
        connection.abort();
        result.map_err(std::io::Error::other)
    })
}

/// Removes the device.
pub(super) fn remove_device() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = async {
            let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            for link in links {
                let name = LinkAttribute::IfName(names::IPVS_DEVICE.to_owned());
                if link.attributes.contains(&name) {
                    handle.link().del(link.header.index).execute().await?;
                }
            }
            Ok(())
        };
        let result: Result<(), rtnetlink::Error> = result.await;
        connection.abort();
        result.map_err(std::io::Error::other)
    })
}

#[cfg(test)]
mod tests {
    use super::servers;

    #[test]
    fn virtual_servers_are_read_with_their_protocol_and_place() {
        let table = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr
  -> 0AF40102:1F90      Masq    1      0          0
UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 rr
FWM  00000001 rr
";
        let found = servers(table);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], ("-t", "10.96.0.10".parse().unwrap(), 80));
        assert_eq!(found[1], ("-u", "fd00:10:96::a".parse().unwrap(), 53));
    }
}
