//! `sluice`: the agent, and the commands that show and remove what it has installed. All of it is
//! in the library, see [`proxy_agent::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    proxy_agent::cli::run()
}
