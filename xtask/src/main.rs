//! `cargo xtask …`: what people and CI run. One command a file; this one only says which there are.

mod bench;
mod bpf_object;
mod build;
mod build_and_load;
mod image;
mod lint;
mod maps_doc;
mod process;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Sluice's development commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need and this machine lacks
    Setup(setup::Arguments),
    /// Build everything: the eBPF objects, embedded in the binary `sluice`, and its companions
    Build(build::Arguments),
    /// Build, load and attach, and serve: an embedded example, a directory or a cluster
    BuildAndLoad(build_and_load::Arguments),
    /// Run every layer of tests, from formatting to the lab
    Test(test::Arguments),
    /// Run the suites of verifier, packets and lab under Debian's other kernels
    Vm(vm::Arguments),
    /// Measure the datapath
    Bench(bench::Arguments),
    /// An OCI image of the agent
    Image(image::Arguments),
    /// Formatting, clippy, tidy, and cargo-deny where it is installed
    Lint,
    /// The rules of the code base that no compiler checks
    Tidy,
    /// Write docs/maps.md from the maps' definitions and the object's types
    MapsDoc(maps_doc::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Build(arguments) => build::run(&arguments).map(drop),
        Command::BuildAndLoad(arguments) => build_and_load::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Vm(arguments) => vm::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Lint => lint::run(),
        Command::Tidy => tidy::run(),
        Command::MapsDoc(arguments) => maps_doc::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
