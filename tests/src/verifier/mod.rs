//! What the kernel's verifier has to say of each program: how many instructions it went through, how
//! much stack it counted, how long it took.
//!
//! aya throws the verifier's log away when a program is accepted, so the object is linked by
//! `aya_obj` here, as aya does it, and loaded by hand. Nothing is attached or pinned. Called by
//! `tests/tests/verifier`.

mod budget;
mod syscall;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    os::fd::{AsFd as _, AsRawFd as _},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
};
use aya_obj::{
    Object, Program, ProgramSection,
    generated::{bpf_attach_type, bpf_insn, bpf_prog_type},
};
use proxy_agent::datapath::{kernel::Kernel, object::OBJECT};
use proxy_common::{
    KERNEL_FACTS, KernelFacts, KernelLacks, TickClock,
    layout::{MAPS, MapKind},
};

pub use budget::{Budget, Excess, Row};

/// What the programs are told about the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// That it lacks nothing.
    Full,
    /// That it lacks everything that they know a substitute for.
    Least,
}

impl Variant {
    /// Those that this kernel can run, the one that it does run first.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Vec<Self> {
        let facts = kernel.facts();
        if facts.lacks.contains(KernelLacks::SET_RETVAL) || !facts.clock.is_known() {
            vec![Self::Least]
        } else {
            vec![Self::Full, Self::Least]
        }
    }

    fn facts(self) -> KernelFacts {
        let nothing = KernelFacts::nothing();
        match self {
            Self::Full => KernelFacts { clock: TickClock { epoch: 1, tick: 4_000_000 }, ..nothing },
            Self::Least => KernelFacts {
                lacks: KernelLacks::SET_RETVAL.union(KernelLacks::CSUM_IPV6),
                ..nothing
            },
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Least => "least",
        })
    }
}

/// What the verifier counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Instructions that it went through, of a million that it may.
    pub instructions: u32,
    /// Bytes of stack, of all functions of the program together.
    pub stack: u32,
    /// How long it took.
    pub microseconds: u64,
}

/// Has the kernel verify every program of a variant, by name. An error is its refusal, and ends with
/// the end of its log.
///
/// # Errors
/// Without root, or when the maps can't be made.
pub fn verify(variant: Variant) -> Result<BTreeMap<String, Result<Effort>>> {
    if !rustix::process::geteuid().is_root() {
        bail!("the kernel verifies BPF programs for root only: run this as root");
    }
    let maps = maps(&variant.facts())?;
    let object = linked(&maps)?;
    let object = &object;
    let verify = move |program: &Program| {
        let function = object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| anyhow!("it has no code"))?;
        verify_program(program, &function.instructions)
    };
    // All at the same time: the large ones take a minute each where there is no KVM.
    thread::scope(|scope| {
        let started: Vec<_> = object
            .programs
            .iter()
            .map(|(name, program)| (name.clone(), scope.spawn(move || verify(program))))
            .collect();
        let finished = started.into_iter().map(|(name, thread)| {
            let effort = thread.join().unwrap_or_else(|_| bail!("the thread has panicked"));
            (name, effort)
        });
        Ok(finished.collect())
    })
}

/// The object's maps and constants, as small as they may be: their sizes are nothing to the verifier.
fn maps(facts: &KernelFacts) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.override_global(KERNEL_FACTS, bytemuck::bytes_of(facts), true);
    for spec in MAPS.iter().filter(|spec| spec.name != "CONFIG") {
        if spec.kind != MapKind::PerCpuArray {
            loader.map_max_entries(spec.name, 64);
        }
    }
    loader.load(OBJECT).context("making the datapath's maps")
}

/// The object with its calls resolved and these maps in the places where it names them.
fn linked(maps: &Ebpf) -> Result<Object> {
    let mut object = Object::parse(OBJECT)?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let mut places = Vec::new();
    for (name, map) in object.maps.drain() {
        let made = maps.map(&name).and_then(data).ok_or_else(|| anyhow!("no map {name}"))?;
        places.push((name, made.fd().as_fd().as_raw_fd(), map));
    }
    let places = places.iter().map(|(name, fd, map)| (name.as_str(), *fd, map));
    object.relocate_maps(places, &sections)?;
    object.relocate_calls(&sections)?;
    Ok(object)
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

fn verify_program(program: &Program, instructions: &[bpf_insn]) -> Result<Effort> {
    let (kind, hook) = match program.section {
        ProgramSection::SchedClassifier => (bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, None),
        ProgramSection::CgroupSockAddr { attach_type } => {
            (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, Some(attach_type.into()))
        }
        ProgramSection::CgroupSock { attach_type } => {
            (bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK, Some(attach_type.into()))
        }
        ref other => bail!("a program of a kind that the datapath has none of: {other:?}"),
    };
    let hook = hook.map_or(0, |hook: bpf_attach_type| hook as u32);
    let (result, log) = syscall::load(kind as u32, hook, instructions, &program.license);
    match result {
        Ok(()) => Effort::read(&log),
        Err(error) => {
            let lines: Vec<_> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            bail!("{error}; the verifier's last words:\n{}", end.join("\n"))
        }
    }
}

/// How many lines of its log a refusal shows.
const LOG_TAIL: usize = 30;

impl Effort {
    /// Reads the closing lines of a log (`BPF_LOG_STATS`).
    fn read(log: &str) -> Result<Self> {
        let after = |word: &str| {
            let (_, rest) =
                log.split_once(word).with_context(|| format!("no {word:?}: {log:?}"))?;
            rest.split_whitespace().next().with_context(|| format!("nothing after {word:?}"))
        };
        let number = |word: &str| word.parse::<u32>().with_context(|| format!("{word:?}: {log:?}"));
        // All functions in a line; kernel ≥ 7: a line for each.
        let functions = log.lines().filter(|line| line.starts_with("subprog "));
        let depths: Vec<_> = functions.filter_map(|line| line.rsplit(' ').next()).collect();
        let stack = match depths.is_empty() {
            true => after("stack depth ")?.split('+').map(number).sum::<Result<_>>(),
            false => depths.into_iter().map(number).sum::<Result<_>>(),
        };
        Ok(Self {
            instructions: number(after("processed ")?)?,
            stack: stack?,
            microseconds: number(after("verification time ")?)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Effort;

    #[test]
    fn the_closing_lines_of_a_log_are_read() {
        let log = "verification time 16523 usec\nstack depth 8+88+16+0\nprocessed 312 insns (limit \
                   1000000) max_states_per_insn 1 total_states 19 peak_states 19 mark_read 9\n";
        let effort = Effort { instructions: 312, stack: 112, microseconds: 16523 };
        assert_eq!(Effort::read(log).unwrap(), effort);
        let newer = "verification time 9 usec\nstack depth max 96\nsubprog 0 (<unknown>) main \
                     insns_self 75 insns_total 80 stack 8\nsubprog 1 (x) static insns_self 5 \
                     insns_total 5 stack 80\nprocessed 80 insns (limit 1000000)\n";
        let effort = Effort { instructions: 80, stack: 88, microseconds: 9 };
        assert_eq!(Effort::read(newer).unwrap(), effort);
        assert!(Effort::read("processed many insns").is_err());
    }
}
