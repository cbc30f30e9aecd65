//! Large transfers through a frontend: GSO packets, and packets with IPv4 options.

use anyhow::Result;
use lab::Family;

use crate::cluster::{Cluster, Shape};

const UPLOAD: u64 = 24 << 20;
const DOWNLOAD: u64 = (32 << 20) + 1;

/// RFC 791: a time stamp option that three routers may fill in.
const TIME_STAMP: [u8; 16] = [68, 16, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// RFC 791: two no-operations, then the end of the list.
const NO_OPERATION: [u8; 4] = [1, 1, 0, 0];

in_every_shape![
    bulk_arrives_whole_in_both_directions,
    large_datagrams_arrive_whole,
    packets_with_ipv4_options_are_served,
];

fn bulk_arrives_whole_in_both_directions(shape: Shape) -> Result<()> {
    for endpoint in ["near", "far"] {
        let cluster = Cluster::new(shape.wiring)?;
        let server = if endpoint == "near" { &cluster.near } else { &cluster.far };
        let web = cluster.web(&[server])?;
        let _agent = cluster.a.start_agent(&shape.flags())?;
        for family in Family::BOTH {
            let answer = cluster.client.tcp(web.http(family)).bulk(UPLOAD, DOWNLOAD)?;
            assert_eq!(answer.server, endpoint);
            assert_eq!((answer.upload_fault, answer.download_fault), (None, None));
        }
    }
    Ok(())
}

fn large_datagrams_arrive_whole(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for family in Family::BOTH {
        // The probe's server and client check the content.
        for size in [8, 9, 512, 1200, 1400] {
            cluster.client.udp(web.dns(family)).size(size).ask()?;
        }
    }
    Ok(())
}

fn packets_with_ipv4_options_are_served(shape: Shape) -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(shape)?;
    for options in [&NO_OPERATION[..], &TIME_STAMP[..]] {
        for _ in 0..12 {
            let client = cluster.client.tcp(web.http(Family::V4)).ip_options(options);
            let answer = client.clone().ask()?;
            assert_eq!(answer.peer, Some(web.http(Family::V4)));
            assert_eq!(answer.client_seen.ip(), cluster.client.address(Family::V4));
        }
        let client = cluster.client.tcp(web.http(Family::V4)).ip_options(options);
        let answer = client.bulk(2 << 20, 2 << 20)?;
        assert_eq!((answer.upload_fault, answer.download_fault), (None, None));
    }
    Ok(())
}
