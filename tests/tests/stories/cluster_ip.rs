//! Endpoints of a ClusterIP share the work. What clients and endpoints see of each other: see
//! [`crate::rows::cluster_ip`].

use anyhow::Result;
use lab::{Family, Wiring};

use crate::cluster::{Cluster, Path, Shape, tally};

#[test]
fn endpoints_share_the_work_evenly() -> Result<()> {
    for path in [Path::Packet, Path::Socket] {
        let (cluster, web, _agent) = Cluster::serving(Shape { wiring: Wiring::Ptp, path })?;
        let mut most = 0;
        for _ in 0..4 {
            let answers = tally(|| cluster.client.tcp(web.http(Family::V4)).ask(), |_| Ok(()))?;
            most = most.max(answers.values().copied().max().unwrap_or(0));
        }
        // 30 of 90 each; 60 would be six standard deviations off.
        assert!(most < 57, "one endpoint got {most} of 90 connections on the {path:?} path");
    }
    Ok(())
}
