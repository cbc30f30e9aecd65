//! The datapath loaded into the kernel with maps of its own, the counterpart of
//! [`proxy_ebpf::user::Machine`].

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use bytemuck::Pod;
use proxy_agent::datapath::{kernel::Kernel, object::OBJECT};
use proxy_common::{
    KERNEL_FACTS,
    layout::{MAPS, MapKind},
};
use proxy_ebpf::{
    transport::Hook,
    user::{ChecksumState, UserPacket},
};

use super::Raw;

/// Room for a packet that comes out.
const PACKET_MAX: usize = 8192;

const PROGRAMS: [&str; 4] = ["ingress_l2", "egress_l2", "ingress_l3", "egress_l3"];

/// How large the maps are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Frontends, backends, slots.
    pub services: u32,
    /// Each main flow table.
    pub flows: u32,
    /// Each table of new flows, and everything else.
    pub others: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { services: 8192, flows: 4096, others: 8192 }
    }
}

impl Sizes {
    fn of(self, map: &str) -> u32 {
        match map {
            "SLOTS" => self.services,
            _ if ["SERVICES_", "BACKENDS_", "OPEN_FLOWS_"]
                .iter()
                .any(|name| map.starts_with(name)) =>
            {
                self.services
            }
            _ if map.starts_with("DST_FLOWS_") || map.starts_with("SRC_FLOWS_") => self.flows,
            _ => self.others,
        }
    }
}

/// What the kernel is told to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelVerdict {
    /// On to the next program (`TC_ACT_UNSPEC`).
    GoesOn,
    /// Dropped (`TC_ACT_SHOT`).
    Dropped,
    /// Out by the device it came in by (`TC_ACT_REDIRECT`).
    SentBack,
    /// Something that the datapath never says.
    Unheard(u32),
}

impl KernelVerdict {
    fn from_number(number: u32) -> Self {
        match number {
            u32::MAX => Self::GoesOn,
            2 => Self::Dropped,
            7 => Self::SentBack,
            other => Self::Unheard(other),
        }
    }
}

/// The kernel refused to run a program on a packet.
#[derive(Debug)]
pub struct RunError {
    program: &'static str,
    length: usize,
    source: aya::programs::ProgramError,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, length, source } = self;
        write!(f, "program {program} can't be run on a packet of {length} bytes: {source:?}")
    }
}

impl std::error::Error for RunError {}

/// The datapath in the kernel.
pub struct KernelMachine {
    object: Ebpf,
    pub(super) filter: Vec<u64>,
}

impl KernelMachine {
    /// Loads the datapath with maps of these sizes. Nothing is pinned or attached.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses a program.
    pub fn load(sizes: Sizes) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the kernel runs BPF programs for root only: run this as root");
        }
        let mut loader = EbpfLoader::new();
        let facts = Kernel::probe().facts();
        loader.override_global(KERNEL_FACTS, bytemuck::bytes_of(&facts), true);
        for spec in MAPS {
            let fixed = matches!(spec.name, "CONFIG" | "ADDRESS_FILTER");
            if !fixed && spec.kind != MapKind::PerCpuArray {
                loader.map_max_entries(spec.name, sizes.of(spec.name));
            }
        }
        let mut object = loader.load(OBJECT).context("loading the datapath")?;
        for name in PROGRAMS {
            let program = object.program_mut(name).ok_or_else(|| anyhow!("no program {name}"))?;
            let program: &mut SchedClassifier = program.try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
        }
        Ok(Self { object, filter: vec![0; proxy_common::FILTER_WORDS as usize] })
    }

    pub(super) fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.object.map_mut(name).ok_or_else(|| anyhow!("no map {name}"))
    }

    /// A hash map of the datapath.
    ///
    /// # Errors
    /// When there is none of that name with keys and values of these sizes.
    pub fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, Raw<K>, Raw<V>>> {
        self.map(name)?.try_into().with_context(|| name.to_owned())
    }

    /// An array of the datapath.
    ///
    /// # Errors
    /// When there is none of that name with values of this size.
    pub fn array<V: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, Raw<V>>> {
        self.map(name)?.try_into().with_context(|| name.to_owned())
    }

    fn run_program(
        &self,
        name: &'static str,
        options: TestRunOptions<'_>,
    ) -> Result<(KernelVerdict, usize, Duration)> {
        let length = options.data_in.map_or(0, <[u8]>::len);
        let program = self.object.program(name).ok_or_else(|| anyhow!("no program {name}"))?;
        let program: &SchedClassifier = program.try_into()?;
        let result = program.test_run(options).map_err(|source| RunError {
            program: name,
            length,
            source,
        })?;
        let verdict = KernelVerdict::from_number(result.return_value);
        Ok((verdict, result.data_size_out as usize, result.duration))
    }

    /// Runs `packet`, whose checksum is complete, through the program for its hook and device.
    ///
    /// # Errors
    /// When the kernel doesn't take the packet: it is shorter than an Ethernet header, say.
    pub fn run(&self, hook: Hook, packet: &UserPacket) -> Result<(KernelVerdict, UserPacket)> {
        assert_eq!(packet.checksum, ChecksumState::Complete, "a test run has no device");
        let mut out = vec![0; PACKET_MAX];
        let options = TestRunOptions {
            data_in: Some(&packet.bytes),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let name = program_for(hook, packet.link_header);
        let (verdict, length, _) = self.run_program(name, options)?;
        out.truncate(length);
        Ok((verdict, UserPacket { bytes: out, ..packet.clone() }))
    }

    /// Runs `packet` that many times; how long one run takes, as the kernel says.
    ///
    /// The packet isn't restored between runs: each sees what the one before has made of it.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub fn time(
        &self,
        hook: Hook,
        packet: &UserPacket,
        repeat: u32,
    ) -> Result<(KernelVerdict, Duration)> {
        let options =
            TestRunOptions { data_in: Some(&packet.bytes), repeat, ..TestRunOptions::new() };
        let (verdict, _, mean) =
            self.run_program(program_for(hook, packet.link_header), options)?;
        Ok((verdict, mean))
    }
}

fn program_for(hook: Hook, link_header: usize) -> &'static str {
    match (hook, link_header) {
        (Hook::Ingress, 0) => "ingress_l3",
        (Hook::Egress, 0) => "egress_l3",
        (Hook::Ingress, _) => "ingress_l2",
        (Hook::Egress, _) => "egress_l2",
    }
}
