//! Flows that share the client's port and the endpoint stay separate.

use anyhow::Result;
use lab::{Family, Wiring};

use crate::cluster::{Cluster, Path, Shape};

const SHAPE: Shape = Shape { wiring: Wiring::Ptp, path: Path::Packet };
/// Outside the range that the kernel gives to other sockets.
const PORT: u16 = 20_000;

#[test]
fn two_services_on_one_endpoint_and_one_client_port() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    let first = cluster.service("first", 11, &[&cluster.near])?;
    let second = cluster.service("second", 12, &[&cluster.near])?;
    let _agent = cluster.a.start_agent(&SHAPE.flags())?;
    for family in Family::BOTH {
        let (mut to_first, _) = cluster.client.tcp(first.http(family)).from_port(PORT).open()?;
        let (mut to_second, _) = cluster.client.tcp(second.http(family)).from_port(PORT).open()?;
        for _ in 0..10 {
            assert_eq!(to_first.ask()?.peer, Some(first.http(family)));
            assert_eq!(to_second.ask()?.peer, Some(second.http(family)));
        }
    }
    Ok(())
}

#[test]
fn a_service_and_then_its_endpoint_directly_from_one_client_port() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    let web = cluster.web(&[&cluster.near])?;
    let _agent = cluster.a.start_agent(&SHAPE.flags())?;
    for family in Family::BOTH {
        let (mut by_service, _) = cluster.client.tcp(web.http(family)).from_port(PORT).open()?;
        let direct = cluster.near.tcp(family);
        let (mut directly, _) = cluster.client.tcp(direct).from_port(PORT).open()?;
        for _ in 0..10 {
            assert_eq!(by_service.ask()?.peer, Some(web.http(family)));
            assert_eq!(directly.ask()?.peer, Some(direct));
        }
    }
    Ok(())
}

#[test]
fn datagrams_to_two_services_on_one_endpoint_from_one_client_port() -> Result<()> {
    let cluster = Cluster::new(SHAPE.wiring)?;
    let first = cluster.service("first", 11, &[&cluster.near])?;
    let second = cluster.service("second", 12, &[&cluster.near])?;
    let _agent = cluster.a.start_agent(&SHAPE.flags())?;
    for family in Family::BOTH {
        for _ in 0..5 {
            for service in [first, second] {
                let answer = cluster.client.udp(service.dns(family)).from_port(PORT).ask()?;
                assert_eq!(answer.received_from, Some(service.dns(family)));
            }
        }
    }
    Ok(())
}

#[test]
fn a_client_port_is_used_again_for_another_endpoint() -> Result<()> {
    let (cluster, web, _agent) = Cluster::serving(SHAPE)?;
    for family in Family::BOTH {
        for _ in 0..30 {
            let client = cluster.client.tcp(web.http(family)).from_port(PORT);
            assert_eq!(client.aborting().ask()?.peer, Some(web.http(family)));
        }
    }
    Ok(())
}
