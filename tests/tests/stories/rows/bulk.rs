//! Large transfers through a frontend: GSO packets, and packets with IPv4 options.

use anyhow::{Result, ensure};
use lab::{Family, manifest::Protocol};

use crate::{cluster::Kind, rows::rows, site::Site};

rows![Site:
    bulk_arrives_whole_in_both_directions,
    large_datagrams_arrive_whole,
    packets_with_ipv4_options_are_served,
];

const UPLOAD: u64 = 24 << 20;
const DOWNLOAD: u64 = (32 << 20) + 1;

/// RFC 791: a time stamp option that three routers may fill in.
const TIME_STAMP: [u8; 16] = [68, 16, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// RFC 791: two no-operations, then the end of the list.
const NO_OPERATION: [u8; 4] = [1, 1, 0, 0];

fn bulk_arrives_whole_in_both_directions(site: &Site) -> Result<()> {
    let [near, _, far, _] = site.by_endpoint;
    for family in Family::BOTH {
        for service in [near, far] {
            for (client, kind) in
                [(&site.cluster.client, Kind::ClusterIp), (&site.outside, Kind::NodePort)]
            {
                let to = service.at(kind, family, Protocol::Tcp);
                let answer = client.tcp(to).bulk(UPLOAD, DOWNLOAD)?;
                let faults = (answer.upload_fault, answer.download_fault);
                ensure!(faults == (None, None), "{} to {to}: {answer:?}", client.name());
            }
        }
    }
    Ok(())
}

fn large_datagrams_arrive_whole(site: &Site) -> Result<()> {
    for family in Family::BOTH {
        for (client, kind) in
            [(&site.cluster.client, Kind::ClusterIp), (&site.outside, Kind::NodePort)]
        {
            // The probe's server and client check the content.
            for size in [8, 9, 512, 1200, 1400] {
                client.udp(site.everywhere.at(kind, family, Protocol::Udp)).size(size).ask()?;
            }
        }
    }
    Ok(())
}

fn packets_with_ipv4_options_are_served(site: &Site) -> Result<()> {
    let to = site.everywhere.at(Kind::ClusterIp, Family::V4, Protocol::Tcp);
    for client in [&site.cluster.client, &site.outside] {
        for options in [&NO_OPERATION[..], &TIME_STAMP[..]] {
            for _ in 0..12 {
                let answer = client.tcp(to).ip_options(options).ask()?;
                ensure!(answer.peer == Some(to), "{answer:?}");
            }
            let answer = client.tcp(to).ip_options(options).bulk(2 << 20, 2 << 20)?;
            let faults = (answer.upload_fault, answer.download_fault);
            ensure!(faults == (None, None), "{answer:?}");
        }
    }
    Ok(())
}
