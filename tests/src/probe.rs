//! The probe: the small program that the lab runs inside pods, nodes and outside hosts.
//!
//! It serves, asks and reports facts: who answered, which addresses each side saw, which error came
//! after how long. It judges nothing. Requests come as JSON lines on standard input, reports leave
//! as JSON lines on standard output. The binary `sluice-probe` calls [`run`]; `sluice-example`
//! brings the same code along as a hidden subcommand.

mod bind;
mod client;
mod conversation;
mod load;
mod pattern;
mod ping;
mod report;
mod request;
mod server;
mod socket;
mod tcp;
mod udp;

use std::{
    ffi::OsString,
    io::{self, Read as _},
    net::SocketAddr,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{identity::Identity, leftovers};

pub use pattern::Pattern;
pub use report::{Answer, BulkAnswer, CrowdAnswer, Failure, LoadAnswer, Phase, Report, Trouble};
pub use request::{
    BindRequest, Bulk, Common, CrowdRequest, LoadRequest, PingRequest, Question, Request,
    TcpRequest, UdpRequest,
};

/// What the probe is started as.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// Answer TCP and UDP requests until killed.
    Serve {
        /// The name to answer with.
        #[arg(long)]
        name: String,
        /// An address to serve TCP on.
        #[arg(long)]
        tcp: Vec<SocketAddr>,
        /// An address to serve UDP on.
        #[arg(long)]
        udp: Vec<SocketAddr>,
    },
    /// Do the requests that come as JSON lines on standard input.
    Client,
    /// Wait for the end of standard input, then remove what is left of a lab.
    Janitor {
        /// The lab's name.
        lab: String,
    },
}

/// Does what `role` says until there is nothing more to do.
pub fn run(role: Role) -> Result<()> {
    match role {
        Role::Serve { name, tcp, udp } => server::run(&name, &tcp, &udp),
        Role::Client => client::run(),
        Role::Janitor { lab } => {
            let Some(identity) = Identity::parse(&lab) else { bail!("{lab} is no lab's name") };
            io::stdin().read_to_end(&mut Vec::new())?;
            leftovers::remove(&identity)
        }
    }
}

/// How the probe is started.
#[derive(Clone, Debug)]
pub struct ProbeProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl ProbeProgram {
    /// The binary that cargo builds beside the tests.
    pub fn beside_test() -> Result<Self> {
        let test = std::env::current_exe()?;
        let program = test.ancestors().skip(1).map(|directory| directory.join("sluice-probe"));
        match program.take(2).find(|path| path.exists()) {
            Some(program) => Ok(Self { program, arguments: Vec::new() }),
            None => {
                bail!("no sluice-probe beside {}: cargo test -p tests builds it", test.display())
            }
        }
    }

    /// This very program, with `argument` in front of the probe's own.
    pub fn in_this_program(argument: &str) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the program's own file")?;
        Ok(Self { program, arguments: vec![argument.into()] })
    }

    /// A command that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}
