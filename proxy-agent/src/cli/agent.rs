//! `sluice agent`: flags and file into options, logging, the runtime; then [`crate::agent`].

use std::{io::IsTerminal, path::PathBuf};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::CliError;
use crate::{
    agent,
    host::heap,
    options::{Flags, LogFormat},
};

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    flags: Flags,
    /// YAML file with the same fields as these flags, without the dashes; a flag wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: AgentArgs) -> Result<(), CliError> {
    let file = match &args.config {
        Some(path) => Flags::from_file(path)?,
        None => Flags::default(),
    };
    let flags = args.flags.or(file);
    log(flags.log_level.as_deref().unwrap_or("info"), flags.log_format.unwrap_or_default())?;
    let options = flags.resolve()?;
    heap::share_arena();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let result = runtime.block_on(agent::run(options));
    // A task that hangs in the kernel must not keep the agent from ending.
    runtime.shutdown_background();
    Ok(result?)
}

fn log(level: &str, format: LogFormat) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(level)
        .map_err(|source| CliError::LogLevel { level: level.to_owned(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
