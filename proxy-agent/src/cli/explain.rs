//! `sluice explain`: what would happen to a packet, and why.
//!
//! JSON: an [`Answer`]. The exit status doesn't tell the verdict: it is 0 whenever there is one.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

use super::{
    CliError, installed_maps,
    output::{Format, lines, show, table},
};
use crate::{
    datapath::pins::Pins,
    explain::{
        Answer, Candidate, Destination, Entry, Question, Sender, ServicePortRef, Verdict, explain,
        live, manifests,
    },
    options::{self, Flags, OptionsError, ServiceOptions, ServingFlags},
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Where the packet enters the node
    #[arg(long, value_name = "WHERE")]
    from: Entry,
    /// Who sends it; without a port, from port 40000
    #[arg(long, value_name = "IP[:PORT]")]
    source: Sender,
    /// Where it is to go
    #[arg(long, value_name = "IP:PORT/PROTOCOL")]
    to: Destination,
    /// Directory of manifests whose maps are asked, instead of those of this node
    #[arg(long, value_name = "DIR", requires = "node")]
    manifests: Option<PathBuf>,
    /// Name of the node that is meant, as its Node object and `nodeName` of endpoints have it
    #[arg(long, value_name = "NAME", alias = "node-name", requires = "manifests")]
    node: Option<String>,
    /// Addresses of that node [default: InternalIPs of its Node object]
    #[arg(long, value_name = "IP,…", value_delimiter = ',', requires = "manifests")]
    node_addresses: Option<Vec<IpAddr>>,
    #[command(flatten)]
    serving: ServingFlags,
    /// YAML file with flags of `sluice agent`; a flag wins over it
    #[arg(long, value_name = "FILE", requires = "manifests")]
    config: Option<PathBuf>,
    /// Where the maps of this node are pinned [default: /sys/fs/bpf/sluice]
    #[arg(long, value_name = "DIR", conflicts_with = "manifests")]
    pin_path: Option<PathBuf>,
    /// How to show the answer
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// The cookie of the network namespace of a node that isn't here.
const NETNS_COOKIE: u64 = 1;

pub(super) fn run(args: ExplainArgs) -> Result<(), CliError> {
    let question = Question::new(args.from, args.source, args.to)?;
    let format = args.output;
    let answer = match args.manifests.clone() {
        Some(directory) => over_manifests(&question, directory, args)?,
        None => over_live_maps(&question, args.pin_path)?,
    };
    show(format, &answer, text)
}

fn over_manifests(
    question: &Question,
    directory: PathBuf,
    args: ExplainArgs,
) -> Result<Answer, CliError> {
    if !directory.is_dir() {
        return Err(OptionsError::Manifests(directory).into());
    }
    let file = match &args.config {
        Some(path) => Flags::from_file(path)?,
        None => Flags::default(),
    };
    let options = ServiceOptions::resolve(&Flags::from(args.serving).or(file))?;
    // The command line lets no directory through without a node.
    let settings = options.settings(args.node.unwrap_or_default().into(), NETNS_COOKIE);
    let computed = manifests::read(&directory, settings, args.node_addresses)?;
    for problem in &computed.problems {
        eprintln!("warning: {problem}");
    }
    Ok(explain(question, &computed.world))
}

fn over_live_maps(question: &Question, pin_path: Option<PathBuf>) -> Result<Answer, CliError> {
    let world = live::open(&installed_maps(&Pins::new(&options::pin_path(pin_path)?))?)?;
    let answer = explain(question, &world);
    match world.source.take_error() {
        Some(error) => Err(error.into()),
        None => Ok(answer),
    }
}

fn text(answer: &Answer) -> String {
    let verdict = match answer.verdict {
        Verdict::Translate => "translate",
        Verdict::Reject => "reject",
        Verdict::Drop => "drop",
        Verdict::Pass => "pass",
    };
    let mut text = format!("{verdict} ({})\n", answer.reason);
    for (number, step) in (1..).zip(&answer.steps) {
        text.push_str(&format!("{number:3}. {step}\n"));
    }
    if let Some(ServicePortRef { namespace, name, port }) = &answer.service {
        let colon = if port.is_empty() { "" } else { ":" };
        text.push_str(&format!("\nService {namespace}/{name}{colon}{port}\n"));
    }
    if !answer.endpoints.is_empty() {
        text.push('\n');
        text.push_str(&endpoints(&answer.endpoints));
    }
    text
}

fn endpoints(endpoints: &[Candidate]) -> String {
    let mut table = table(["ENDPOINT", "NODE", "SEES"]);
    for endpoint in endpoints {
        let node = if endpoint.local { "this" } else { "another" };
        let sees = if endpoint.masquerade { "an address of this node" } else { "the sender" };
        table.add_row([endpoint.address.to_string(), node.to_owned(), sees.to_owned()]);
    }
    lines(&table)
}
