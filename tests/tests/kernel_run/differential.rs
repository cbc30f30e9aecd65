//! The kernel and user space, given the same packets and the same maps, must give the same verdict,
//! the same bytes and the same changes to every map. What either leaves to chance is copied from the
//! kernel; times are not compared.
//!
//! `SLUICE_SEED` starts with another episode, `SLUICE_EPISODES` says how many there are.

use std::{collections::BTreeMap, env, fmt::Write as _};

use anyhow::{Context as _, Result, bail};
use lab::kernel_run::{FlowsOf, KernelFamily, KernelMachine, KernelVerdict, Sizes};
use proxy_common::{
    Flow, FlowFlags, FlowKind, FragmentKey, FragmentPorts, Nanoseconds, Protocol, Tuple,
};
use proxy_ebpf::{
    env::FlowTable,
    transport::Hook,
    user::{Machine, UserPacket, check::check},
    verdict::Decision,
};

use crate::{
    for_both_families,
    generator::{self, Random},
    world::{MANY, machine},
};

for_both_families! {
    the_kernel_does_what_user_space_does
    the_kernel_does_what_user_space_does_when_tables_are_full
}

const TABLES: [FlowTable; 4] =
    [FlowTable::Dst, FlowTable::Src, FlowTable::NewDst, FlowTable::NewSrc];
const STEPS: usize = 60;

/// Everything that a packet may change.
#[derive(Clone, Debug, PartialEq)]
struct State<A: KernelFamily> {
    flows: [FlowsOf<A>; 4],
    fragments: BTreeMap<String, FragmentPorts>,
}

fn without_times<A: KernelFamily>(flow: Flow<A>) -> Flow<A> {
    Flow { created: Nanoseconds::default(), last_seen: Nanoseconds::default(), ..flow }
}

fn named<A: KernelFamily>(
    fragments: impl IntoIterator<Item = (FragmentKey<A>, FragmentPorts)>,
) -> BTreeMap<String, FragmentPorts> {
    fragments.into_iter().map(|(key, ports)| (format!("{key:?}"), ports)).collect()
}

impl<A: KernelFamily> State<A> {
    fn of_kernel(kernel: &mut KernelMachine) -> Result<Self> {
        let mut flows = [const { FlowsOf::<A>::new() }; 4];
        for (flows, table) in flows.iter_mut().zip(TABLES) {
            let there = kernel.flows::<A>(table)?;
            *flows = there.into_iter().map(|(key, flow)| (key, without_times(flow))).collect();
        }
        Ok(Self { flows, fragments: named(kernel.fragments::<A>()?) })
    }

    fn of_user(machine: &Machine) -> Self {
        let family = A::of(machine);
        let flows = TABLES.map(|table| {
            let flows = family.table(table).borrow();
            flows.iter().map(|(key, flow)| (*key, without_times(*flow))).collect()
        });
        let fragments = named(family.fragments.borrow().iter().map(|(key, ports)| (*key, *ports)));
        Self { flows, fragments }
    }
}

/// The smallest number that a choice of `count` things makes `index` of.
fn number_for(index: u64, count: u64) -> u32 {
    u32::try_from((index << 32).div_ceil(count)).unwrap_or(u32::MAX)
}

/// The random numbers that lead to what the kernel chose.
fn choices<A: KernelFamily>(machine: &Machine, before: &State<A>, after: &State<A>) -> Vec<u32> {
    let mut numbers = Vec::new();
    let is_new = |(key, _): &(&Tuple<A>, &Flow<A>)| !before.flows[2].contains_key(*key);
    for (key, flow) in after.flows[2].iter().filter(is_new) {
        if flow.flags.contains(FlowFlags::REPLY) {
            // SCTP keeps its port: there is nothing to choose.
            if key.protocol != Protocol::SCTP {
                let config = &machine.config;
                let port = key.destination_port.get() - config.masquerade_port_base;
                numbers.push(number_for(port.into(), config.masquerade_port_count.into()));
            }
            continue;
        }
        if flow.kind == FlowKind::Service as u8 {
            let family = A::of(machine);
            let chosen = (0..u32::from(MANY)).find(|index| {
                let service = family.services.iter().find(|(frontend, _)| {
                    (frontend.address, frontend.port, frontend.protocol)
                        == (key.destination, key.destination_port, key.protocol)
                });
                let slot = service.map(|(_, service)| service.cluster.base + index);
                let id = slot.and_then(|slot| machine.slots.get(&slot));
                id.and_then(|id| family.backends.get(id)).is_some_and(|backend| {
                    (backend.address, backend.port) == (flow.address, flow.port)
                })
            });
            let count = if key.destination == crate::world::large_frontend::<A>().0 {
                u64::from(MANY)
            } else {
                1
            };
            numbers.push(number_for(chosen.unwrap_or(0).into(), count));
        }
        if flow.other_port != key.source_port {
            numbers.push(number_for(u64::from(flow.other_port.get()) - 1024, 65_536 - 1024));
        }
    }
    numbers
}

fn agrees(verdict: KernelVerdict, decision: Decision) -> bool {
    match decision {
        Decision::Pass | Decision::Translated => verdict == KernelVerdict::GoesOn,
        Decision::Drop(_) => verdict == KernelVerdict::Dropped,
        Decision::Reject(_) | Decision::SendBack(_) => verdict == KernelVerdict::SentBack,
    }
}

fn hex(packet: &UserPacket) -> String {
    packet.bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs one packet through both machines.
fn compare<A: KernelFamily>(
    kernel: &mut KernelMachine,
    machine: &Machine,
    before: &State<A>,
    hook: Hook,
    packet: &UserPacket,
) -> Result<State<A>> {
    let well_formed = check(packet).is_ok();
    let (verdict, kernels) = kernel.run(hook, packet)?;
    let after = State::of_kernel(kernel)?;
    *machine.scripted.borrow_mut() = choices(machine, before, &after).into();
    let mut users = packet.clone();
    let decision = machine.run::<A>(hook, &mut users);
    machine.scripted.borrow_mut().clear();
    let user = State::of_user(machine);
    let dropped = verdict == KernelVerdict::Dropped;
    let same_bytes = dropped || kernels == users;
    if !agrees(verdict, decision) || !same_bytes {
        bail!("kernel: {verdict:?} {}\n  user: {decision:?} {}", hex(&kernels), hex(&users));
    }
    if after != user {
        bail!("kernel: {verdict:?} {after:#?}\n  user: {decision:?} {user:#?}");
    }
    if well_formed
        && !dropped
        && let Err(wrong) = check(&kernels)
    {
        bail!("a checksum is wrong: {wrong:?} in {}", hex(&kernels));
    }
    Ok(after)
}

fn number(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}: not a number")),
        Err(_) => Ok(default),
    }
}

fn run<A: KernelFamily>(flows_max: u32, episodes: u64) -> Result<()> {
    let sizes = Sizes { flows: flows_max, ..Sizes::default() };
    let mut kernel = KernelMachine::load(sizes)?;
    let first = number("SLUICE_SEED", 1)?;
    let episodes = number("SLUICE_EPISODES", episodes)?;
    let mut packets = 0;
    for seed in first..first + episodes {
        let mut machine = machine::<A>();
        A::of_mut(&mut machine).flows_max = flows_max as usize;
        kernel.forget::<A>()?;
        kernel.program::<A>(&machine)?;
        *machine.counters.borrow_mut() = kernel.counters()?;
        let mut state = State::<A>::of_kernel(&mut kernel)?;
        let mut random = Random::new(seed);
        let mut history = String::new();
        for step in 0..STEPS {
            let (hook, next) = generator::next::<A>(&mut random, &machine);
            for packet in next {
                let _ = writeln!(history, "{step:3} {hook:?} {}", hex(&packet));
                state =
                    compare(&mut kernel, &machine, &state, hook, &packet).with_context(|| {
                        format!(
                            "kernel and user space disagree: SLUICE_SEED={seed} SLUICE_EPISODES=1, \
                         step {step}\n{history}"
                        )
                    })?;
                packets += 1;
            }
        }
        // Reading them takes long: once an episode.
        if kernel.counters()? != *machine.counters.borrow() {
            bail!(
                "SLUICE_SEED={seed} SLUICE_EPISODES=1: kernel counted {:?}\nuser space {:?}\n{history}",
                kernel.counters()?,
                machine.counters.borrow()
            );
        }
    }
    println!("{packets} packets, the same in the kernel and in user space");
    Ok(())
}

fn the_kernel_does_what_user_space_does<A: KernelFamily>() -> Result<()> {
    run::<A>(4096, 50)
}

fn the_kernel_does_what_user_space_does_when_tables_are_full<A: KernelFamily>() -> Result<()> {
    run::<A>(2, 15)
}
