//! `cargo xtask build-and-load`: from a clone to traffic. Builds, then becomes the agent (for a
//! cluster or a directory) or the embedded example, so that Ctrl-C and the exit status are theirs.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use anyhow::Result;

use crate::{build, process, setup};

#[derive(clap::Args)]
#[command(after_help = "With --manifests or KUBECONFIG: `sluice agent` on this host, for that \
                        directory or cluster. With neither: an example in network namespaces of \
                        its own, with real traffic.")]
pub(crate) struct Arguments {
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
    /// Serve the Services that the YAML files of this directory describe
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// The example only: end when its checks have, with their exit status
    #[arg(long, conflicts_with = "manifests")]
    once: bool,
    /// More flags for `sluice agent` (or for the example)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    more: Vec<OsString>,
}

/// Builds, and turns into what was built.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(setup::Purpose::Load)?;
    let binaries = build::run(&build::Arguments { release: arguments.release })?;
    let sluice = binaries.join("sluice");
    let kubeconfig = env::var_os("KUBECONFIG").filter(|file| !file.is_empty());
    let (program, flags) = match choose(arguments, kubeconfig) {
        Serve::Agent(flags) => (sluice, flags),
        Serve::Example(flags) => {
            let named = [OsString::from("--sluice"), sluice.into_os_string()];
            (binaries.join("sluice-example"), named.into_iter().chain(flags).collect())
        }
    };
    Err(process::become_as_root(&program, &flags))
}

/// What to become, with its arguments.
#[derive(Debug, PartialEq, Eq)]
enum Serve {
    Agent(Vec<OsString>),
    Example(Vec<OsString>),
}

fn choose(arguments: &Arguments, kubeconfig: Option<OsString>) -> Serve {
    let names_source = arguments.more.iter().any(|flag| {
        ["--manifests", "--kubeconfig", "--config"].iter().any(|name| is_flag(flag, name))
    });
    let mut flags = Vec::new();
    if arguments.once {
        flags.push("--once".into());
    } else if let Some(directory) = &arguments.manifests {
        flags.extend(["agent".into(), "--manifests".into(), directory.clone().into_os_string()]);
    } else if names_source {
        flags.push("agent".into());
    } else if let Some(kubeconfig) = kubeconfig {
        flags.extend(["agent".into(), "--kubeconfig".into(), kubeconfig]);
    }
    let agent = flags.first().is_some_and(|flag| flag == "agent");
    flags.extend(arguments.more.iter().cloned());
    if agent { Serve::Agent(flags) } else { Serve::Example(flags) }
}

/// `--name` or `--name=…`.
fn is_flag(argument: &OsStr, name: &str) -> bool {
    argument
        .to_str()
        .and_then(|argument| argument.strip_prefix(name))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Arguments, Serve, choose};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn chosen(line: &[&str], kubeconfig: Option<&str>) -> Serve {
        let line = Line::try_parse_from(["xtask"].iter().chain(line)).unwrap();
        choose(&line.arguments, kubeconfig.map(Into::into))
    }

    fn words(words: &[&str]) -> Vec<std::ffi::OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn without_a_cluster_and_a_directory_the_example_runs() {
        assert_eq!(chosen(&[], None), Serve::Example(words(&[])));
        assert_eq!(chosen(&["--once"], None), Serve::Example(words(&["--once"])));
    }

    #[test]
    fn a_kubeconfig_is_handed_to_the_agent() {
        let expected = words(&["agent", "--kubeconfig", "k", "--socket-lb-udp", "all"]);
        assert_eq!(chosen(&["--socket-lb-udp", "all"], Some("k")), Serve::Agent(expected));
    }

    #[test]
    fn a_directory_wins_over_a_kubeconfig_wherever_it_stands() {
        let expected = words(&["agent", "--manifests", "d", "--node-name", "n"]);
        assert_eq!(
            chosen(&["--manifests", "d", "--node-name", "n"], Some("k")),
            Serve::Agent(expected)
        );
        let expected = words(&["agent", "--node-name", "n", "--manifests=d"]);
        assert_eq!(
            chosen(&["--node-name", "n", "--manifests=d"], Some("k")),
            Serve::Agent(expected)
        );
    }

    #[test]
    fn once_is_the_examples_even_beside_a_cluster() {
        assert_eq!(chosen(&["--once"], Some("k")), Serve::Example(words(&["--once"])));
    }
}
