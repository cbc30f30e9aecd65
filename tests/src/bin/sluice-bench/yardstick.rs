//! What the datapath is measured against: an empty program, and one look-up in a hash table.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::HashMap,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use bytemuck::Zeroable as _;
use lab::kernel_run::Raw;
use proxy_agent::datapath::object::YARDSTICK;
use proxy_common::{Be16, Flow, Protocol, Tuple, V4};

/// A program to measure against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// Nothing at all.
    Empty,
    /// One look-up in a flow table, of a key that is there.
    OneLookup,
}

impl Baseline {
    const fn program(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::OneLookup => "one_lookup",
        }
    }
}

/// The programs to measure against, loaded.
pub(crate) struct Yardstick {
    object: Ebpf,
}

impl Yardstick {
    /// Loads them, for packets of `length` bytes.
    pub(crate) fn load(length: usize) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the kernel runs BPF programs for root only: run this as root");
        }
        let mut object = EbpfLoader::new().load(YARDSTICK).context("loading the yardstick")?;
        for baseline in [Baseline::Empty, Baseline::OneLookup] {
            let name = baseline.program();
            let program = object.program_mut(name).ok_or_else(|| anyhow!("no program {name}"))?;
            let program: &mut SchedClassifier = program.try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
        }
        let map = object.map_mut("YARDSTICK_FLOWS").ok_or_else(|| anyhow!("no YARDSTICK_FLOWS"))?;
        let mut flows: HashMap<_, Raw<Tuple<V4>>, Raw<Flow<V4>>> = map.try_into()?;
        let address = V4::from_word(u32::try_from(length)?);
        let key = Tuple::new((address, Be16::ZERO), (address, Be16::ZERO), Protocol::TCP);
        flows.insert(Raw(key), Raw(Flow::zeroed()), 0)?;
        Ok(Self { object })
    }

    /// How long one of `repeat` runs takes.
    pub(crate) fn time(&self, baseline: Baseline, packet: &[u8], repeat: u32) -> Result<Duration> {
        let name = baseline.program();
        let program = self.object.program(name).ok_or_else(|| anyhow!("no program {name}"))?;
        let program: &SchedClassifier = program.try_into()?;
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::new() };
        let result = program.test_run(options)?;
        let found = result.return_value == 0;
        if found != (baseline == Baseline::OneLookup) {
            bail!("{name} said {}, so it did not do what it is there for", result.return_value);
        }
        Ok(result.duration)
    }
}
