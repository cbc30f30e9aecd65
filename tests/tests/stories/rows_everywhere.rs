//! Every row, at every place: wirings of pods, kinds of uplink, and both paths.

use anyhow::Result;
use lab::{Uplink, Wiring};

use crate::{
    cluster::Path,
    rows::{self, bulk, cluster_ip, frontends, never, paths, policies, ranges, sources, verdicts},
    site::{Place, Site},
};

/// A test for each place: the name, the wiring of pods, the kind of uplink, and the path.
macro_rules! places {
    ($($name:ident: $wiring:ident $uplink:ident $path:ident),* $(,)?) => { $(
        #[test]
        fn $name() -> Result<()> {
            let (wiring, uplink, path) = (Wiring::$wiring, Uplink::$uplink, Path::$path);
            every_row_holds(Place { wiring, uplink, path })
        }
    )* };
}

places![
    ptp_pods_ethernet_uplinks_packet_path: Ptp Ethernet Packet,
    ptp_pods_ethernet_uplinks_socket_path: Ptp Ethernet Socket,
    bridge_pods_ethernet_uplinks_packet_path: Bridge Ethernet Packet,
    routed_pods_ethernet_uplinks_socket_path: Routed Ethernet Socket,
    ptp_pods_vxlan_overlay_packet_path: Ptp Vxlan Packet,
    bridge_pods_vxlan_overlay_socket_path: Bridge Vxlan Socket,
    routed_pods_tun_uplinks_packet_path: Routed Tun Packet,
    routed_pods_wireguard_uplinks_packet_path: Routed Wireguard Packet,
    ptp_pods_vlan_uplinks_packet_path: Ptp Vlan Packet,
    ptp_pods_bond_uplinks_packet_path: Ptp Bond Packet,
];

fn every_row_holds(place: Place) -> Result<()> {
    if !place.uplink.is_available()? {
        return lab::skipped(&format!("this kernel has no {} devices", place.uplink));
    }
    let site = Site::new(place)?;
    println!("{place}");
    rows::check(
        &site,
        &[
            cluster_ip::ROWS,
            frontends::ROWS,
            policies::ROWS,
            verdicts::ROWS,
            ranges::ROWS,
            sources::ROWS,
            paths::ROWS,
            bulk::ROWS,
            never::ROWS,
        ],
    )
}
