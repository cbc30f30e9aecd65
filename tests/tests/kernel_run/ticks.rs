//! Flows are stamped by the kernel's count of ticks: with the time that the kernel's clock shows.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::kernel_run::{KernelMachine, Sizes};
use proxy_agent::{datapath::ticks::learn, host::clock};
use proxy_common::V4;
use proxy_ebpf::{env::FlowTable, transport::Hook::Ingress, user::build::tcp_syn};

use crate::world::{client, frontend, machine};

/// How far apart the two may be: a tick each, of a kernel that counts 100 in a second.
const TICKS: u64 = 2 * 10_000_000;

#[test]
fn flows_are_stamped_with_the_time_of_the_clock() -> Result<()> {
    let known = learn()?;
    assert!((1_000_000..=10_000_000).contains(&known.tick), "{known:?}");
    let mut kernel = KernelMachine::load(Sizes::default())?;
    kernel.program::<V4>(&machine::<V4>())?;
    for _ in 0..5 {
        let before = clock::now().get();
        kernel.run(Ingress, &tcp_syn(client::<V4>(), frontend()).packet())?;
        let after = clock::now().get();
        let flows = kernel.flows::<V4>(FlowTable::NewDst)?;
        let (_, flow) = flows.into_iter().next().context("no flow")?;
        let stamp = flow.last_seen.get();
        let window = before.saturating_sub(TICKS)..=after + TICKS;
        ensure!(window.contains(&stamp), "{stamp} is not in {window:?}");
        thread::sleep(Duration::from_millis(150));
    }
    Ok(())
}
