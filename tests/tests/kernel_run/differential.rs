//! The kernel and user space, given the same packets and the same maps, must give the same verdict,
//! the same bytes and the same changes to every map; so must `sluice explain` ([`Explained`]). What is
//! left to chance is copied from the kernel; times are not compared.
//!
//! `SLUICE_SEED` starts with another episode, `SLUICE_EPISODES` says how many there are. What they
//! disagree about is made as short as it can be and written to a file; `SLUICE_REPLAY=<file>` sends it
//! once more.

use std::{env, path::Path};

use anyhow::{Context as _, Result, bail};
use lab::kernel_run::{KernelFamily, KernelMachine, KernelVerdict, Sizes};
use proxy_common::Nanoseconds;
use proxy_ebpf::{
    headers::Headers,
    user::{Machine, UserPacket, check::check},
    verdict::Decision,
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    choices::choices,
    explained::Explained,
    for_both_families,
    generator::{self, Random, Step},
    recording::{OPTIONS, Recording, hex},
    state::{Counts, State},
    world::machine,
};

for_both_families! {
    the_kernel_does_what_user_space_does
    the_kernel_does_what_user_space_does_when_tables_are_full
}

const STEPS: usize = 60;

/// Ids of backends are below this.
const BACKENDS: u32 = 64;

/// Both machines, and what is in their maps.
struct Both<A: KernelFamily> {
    kernel: KernelMachine,
    user: Machine,
    state: State<A>,
    /// How many packets were explained as well.
    explained: usize,
}

impl<A: KernelFamily> Both<A> {
    fn load(flows_max: u32) -> Result<Self> {
        let mut kernel = KernelMachine::load(Sizes { flows: flows_max, ..Sizes::default() })?;
        let state = State::of_kernel(&mut kernel)?;
        Ok(Self { kernel, user: Machine::default(), state, explained: 0 })
    }

    /// Begins an episode.
    fn begin(&mut self, recording: &Recording) -> Result<()> {
        self.user = machine::<A>();
        self.user.config.options = recording.options;
        A::of_mut(&mut self.user).flows_max = recording.flows_max as usize;
        self.kernel.forget::<A>()?;
        self.kernel.program::<A>(&self.user)?;
        *self.user.counters.borrow_mut() = self.kernel.counters()?;
        self.state = State::of_kernel(&mut self.kernel)?;
        Ok(())
    }

    /// Sends one packet through both.
    fn send(&mut self, step: &Step) -> Result<()> {
        let Step { hook, role, packet } = step;
        if self.user.role.replace(*role) != *role {
            self.kernel.put_device::<A>(&self.user, *role)?;
        }
        let well_formed = check(packet).is_ok();
        let (verdict, kernels) = self.kernel.run(*hook, packet)?;
        self.user.now.set(now());
        let after = State::of_kernel(&mut self.kernel)?;
        let numbers = choices(&self.user, &self.state, &after, step);
        let explained = Explained::of(&self.user, &self.state, step, &numbers);
        *self.user.scripted.borrow_mut() = numbers.into();
        let mut users = packet.clone();
        let decision = self.user.run::<A>(*hook, &mut users);
        self.user.scripted.borrow_mut().clear();
        let user = State::of_user(&self.user);
        if let Some(explained) = explained {
            explained.compare(decision, &users, &user)?;
            self.explained += 1;
        }
        let dropped = verdict == KernelVerdict::Dropped;
        let misplaced = is_misplaced::<A>(&users, decision);
        let same_bytes = dropped || misplaced || kernels == users;
        if !agrees(verdict, decision) || !same_bytes {
            bail!("kernel: {verdict:?} {}\nuser: {decision:?} {}", hex(&kernels), hex(&users));
        }
        if after != user {
            bail!("kernel: {verdict:?} {after:#?}\nuser: {decision:?} {user:#?}");
        }
        if well_formed
            && !(dropped || misplaced)
            && let Err(wrong) = check(&kernels)
        {
            bail!("a checksum is wrong: {wrong:?} in {}", hex(&kernels));
        }
        self.state = after;
        Ok(())
    }

    /// Sends a whole episode.
    fn replay(&mut self, recording: &Recording) -> Result<()> {
        self.begin(recording)?;
        recording.steps.iter().try_for_each(|step| self.send(step))?;
        self.compare_counts()
    }

    /// Reading them takes long: once an episode.
    fn compare_counts(&mut self) -> Result<()> {
        let kernel = Counts::of_kernel::<A>(&mut self.kernel, BACKENDS)?;
        let user = Counts::of_user::<A>(&self.user);
        if kernel != user {
            bail!("kernel: {kernel:?}\nuser: {user:?}");
        }
        Ok(())
    }

    /// Leaves out of `recording` what its disagreement doesn't need.
    fn shorten(&mut self, mut recording: Recording) -> Recording {
        let mut chunk = recording.steps.len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < recording.steps.len() {
                let mut shorter = recording.clone();
                let end = (at + chunk).min(shorter.steps.len());
                shorter.steps.drain(at..end);
                // What the kernel chooses may differ from one time to the next.
                if (0..3).any(|_| self.replay(&shorter).is_err()) {
                    recording = shorter;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        recording
    }
}

/// Whether a header was put in front of a packet without an Ethernet header. A test run takes its first
/// bytes for one, and puts the room behind them.
fn is_misplaced<A: KernelFamily>(packet: &UserPacket, decision: Decision) -> bool {
    let mut headers = Headers::<A>::empty();
    packet.link_header == 0
        && matches!(decision, Decision::SendBack(_))
        && A::parse(packet, 0, &mut headers).is_some()
        && headers.tuple.protocol == A::ICMP
}

/// The clock that flows are stamped with.
fn now() -> Nanoseconds {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    Nanoseconds::new(u64::try_from(nanoseconds).unwrap_or(0))
}

fn agrees(verdict: KernelVerdict, decision: Decision) -> bool {
    match decision {
        Decision::Pass | Decision::Translated => verdict == KernelVerdict::GoesOn,
        Decision::Drop(_) => verdict == KernelVerdict::Dropped,
        Decision::Reject(_) | Decision::SendBack(_) => verdict == KernelVerdict::SentBack,
    }
}

fn number(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}: not a number")),
        Err(_) => Ok(default),
    }
}

fn run<A: KernelFamily>(flows_max: u32, episodes: u64) -> Result<()> {
    if let Some(path) = env::var_os("SLUICE_REPLAY") {
        let Some(recording) = Recording::read::<A>(Path::new(&path))? else { return Ok(()) };
        return Both::<A>::load(recording.flows_max)?.replay(&recording);
    }
    let mut both = Both::<A>::load(flows_max)?;
    let first = number("SLUICE_SEED", 1)?;
    let mut packets = 0;
    for seed in first..first + number("SLUICE_EPISODES", episodes)? {
        let mut random = Random::new(seed);
        let options = OPTIONS[usize::try_from(seed)? % OPTIONS.len()];
        let mut recording = Recording { flows_max, options, steps: Vec::new() };
        both.begin(&recording)?;
        let result = (0..STEPS)
            .try_for_each(|_| {
                for step in generator::next::<A>(&mut random, &both.user) {
                    recording.steps.push(step.clone());
                    both.send(&step)?;
                }
                Ok(())
            })
            .and_then(|()| both.compare_counts());
        packets += recording.steps.len();
        if let Err(error) = result {
            return Err(report::<A>(&mut both, seed, recording, &error));
        }
    }
    println!(
        "{packets} packets, the same in the kernel and in user space; {} explained alike",
        both.explained
    );
    Ok(())
}

/// Writes the disagreement to a file; the error that names it.
fn report<A: KernelFamily>(
    both: &mut Both<A>,
    seed: u64,
    recording: Recording,
    error: &anyhow::Error,
) -> anyhow::Error {
    let recording = both.shorten(recording);
    let error = match both.replay(&recording) {
        Err(shorter) => format!("{shorter:#}"),
        Ok(()) => format!("{error:#}"),
    };
    let family = if A::WORDS == 1 { "v4" } else { "v6" };
    let name = format!("kernel-and-user-space-{family}-{}-{seed}.txt", recording.flows_max);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let written = match recording.write::<A>(&path, &error) {
        Ok(()) => format!("SLUICE_REPLAY={}", path.display()),
        Err(error) => format!("SLUICE_SEED={seed} SLUICE_EPISODES=1 ({error:#})"),
    };
    anyhow::anyhow!("kernel and user space disagree: {written}\n{error}")
}

fn the_kernel_does_what_user_space_does<A: KernelFamily>() -> Result<()> {
    run::<A>(4096, 600)
}

fn the_kernel_does_what_user_space_does_when_tables_are_full<A: KernelFamily>() -> Result<()> {
    run::<A>(2, 15)
}
