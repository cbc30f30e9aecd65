//! The kernel answers EPERM for one hook: that is told with hook and reason, and what is left serves
//! all that it can.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::{EbpfLoader, programs::CgroupSockAddr};
use lab::{AgentFlags, Family, Wiring};
use proxy_agent::datapath::object::OBJECT;

use crate::cluster::Cluster;

#[test]
fn a_hook_that_is_not_permitted_is_told_and_everything_else_serves() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&cluster.all())?;
    // Somebody has the hook to himself (BPF_PROG_ATTACH without BPF_F_ALLOW_MULTI): the kernel
    // permits no other program there. This one knows no Service and lets everything go on.
    let mut loader = EbpfLoader::new();
    let mut object = loader.load(OBJECT)?;
    let program: &mut CgroupSockAddr =
        object.program_mut("connect4").context("the object has connect4")?.try_into()?;
    program.load()?;
    let id = program.info()?.id().to_string();
    let path = cluster.a.cgroup().path();
    let attach = |verb| {
        let output = Command::new("bpftool")
            .args(["cgroup", verb])
            .arg(path)
            .args(["connect4", "id", &id])
            .output()
            .context("cannot run bpftool")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    };
    attach("attach")?;

    let agent = cluster.a.start_agent(&AgentFlags::new())?;
    let log = agent.log()?;
    let told = log
        .lines()
        .any(|line| ["ERROR", "connect4", "not permitted"].iter().all(|word| line.contains(word)));
    ensure!(told, "nothing of connect4 and why:\n{log}");
    let status = agent.json(&cluster.a, &["status"])?.to_string();
    ensure!(status.contains("connect4"), "{status}");
    // Pods have the packet path; the node's own processes have the other family.
    for family in Family::BOTH {
        let answer = cluster.client.tcp(web.http(family)).ask()?;
        ensure!(answer.peer == Some(web.http(family)), "{answer:?}");
        cluster.client.udp(web.dns(family)).ask()?;
    }
    cluster.a.tcp(web.http(Family::V6)).ask()?;
    cluster.a.udp(web.dns(Family::V4)).ask()?;

    // When the hook is free, the next start has everything.
    attach("detach")?;
    agent.kill()?;
    let _agent = cluster.a.start_agent(&AgentFlags::new())?;
    cluster.a.tcp(web.http(Family::V4)).ask()?;
    Ok(())
}
