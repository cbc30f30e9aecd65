//! Questions to the kernel that only a program can ask: loaded, run once, gone.
//!
//! Pins and attaches nothing. The programs are in `proxy-ebpf/src/questions.rs`. Called by
//! [`super::kernel`] and [`super::ticks`].

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::Map,
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/questions"));

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The object.
    #[error("loading the programs that ask the kernel: {}", super::object::chain(.0))]
    Object(#[from] EbpfError),
    /// One of its programs.
    #[error("a program that asks the kernel: {}", super::object::chain(.0))]
    Program(#[from] ProgramError),
    /// What this version embeds is incomplete.
    #[error("the object that asks the kernel has no {0}")]
    Missing(&'static str),
}

/// A question.
pub(super) struct Question {
    object: Ebpf,
    name: &'static str,
}

impl Question {
    /// Loads the program `name`.
    pub(super) fn load(name: &'static str) -> Result<Self, QuestionError> {
        let mut object = EbpfLoader::new().load(OBJECT)?;
        let program = object.program_mut(name).ok_or(QuestionError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load()?;
        Ok(Self { object, name })
    }

    /// Asks, and returns what the program says.
    pub(super) fn run(&self) -> Result<u32, QuestionError> {
        let program = self.object.program(self.name).ok_or(QuestionError::Missing(self.name))?;
        let program: &SchedClassifier = program.try_into()?;
        // The kernel wants an Ethernet header to run a program on.
        let options = TestRunOptions { data_in: Some(&[0; 64]), ..TestRunOptions::new() };
        Ok(program.test_run(options)?.return_value)
    }

    /// A map of the object.
    pub(super) fn map(&self, name: &'static str) -> Result<&Map, QuestionError> {
        self.object.map(name).ok_or(QuestionError::Missing(name))
    }
}

/// Whether `bpf_l4_csum_replace` knows [`BPF_F_IPV6`](proxy_common::BPF_F_IPV6).
pub(super) fn knows_csum_ipv6() -> Result<bool, QuestionError> {
    Ok(Question::load("repair_ipv6")?.run()? == 0)
}
