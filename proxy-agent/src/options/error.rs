//! What can be wrong with what the operator asks for: each message names the flag, the value and what
//! to give instead.
//!
//! Called by [`crate::options`].

use std::{io, path::PathBuf};

use super::DEFAULT_PIN_PATH;
use crate::{datapath::sizes::Sizes, devices::selector::GlobError, model::CidrError};

/// What is wrong with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file can't be read.
    #[error("--config {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What read(2) said.
        source: io::Error,
    },
    /// The file isn't what it should be.
    #[error(
        "--config {}: not the flags of `sluice agent`, each a field without the dashes: {source}",
        path.display()
    )]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and field.
        source: Box<serde_saphyr::Error>,
    },
    /// Both sources are named.
    #[error(
        "--manifests {}: --kubeconfig is given too: objects come from a directory or from a cluster, \
         leave one of the two out",
        .0.display()
    )]
    TwoSources(PathBuf),
    /// No directory.
    #[error("--manifests {}: not a directory: give the directory that the manifests are in", .0.display())]
    Manifests(PathBuf),
    /// A name that no Node can have.
    #[error(
        "--node-name {0:?}: not a node's name: give metadata.name of the Node object (lower-case \
         letters, digits, '-' and '.')"
    )]
    NodeName(String),
    /// The host has no name.
    #[error("--node-name: the host's name can't be read ({0}): give the node's name")]
    HostName(#[source] io::Error),
    /// A pin path that bpffs doesn't allow, or a relative one.
    #[error("--pin-path {}: {}: give an absolute path like {DEFAULT_PIN_PATH}", path.display(), why)]
    PinPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Neither prefixes nor `primary`.
    #[error(
        "--node-port-addresses {text:?}: {source}: give prefixes like 192.0.2.0/24, separated by commas, \
         or the word primary alone"
    )]
    NodePortAddresses {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: CidrError,
    },
    /// A Maglev table needs a prime number of slots.
    #[error("--maglev-table-size {size}: not a prime number: the nearest are {below} and {above}")]
    TableSizeNotPrime {
        /// What was given.
        size: u32,
        /// The next smaller prime.
        below: u32,
        /// The next larger one.
        above: u32,
    },
    /// A Maglev table that is too small or too large.
    #[error("--maglev-table-size {size}: give a prime number from {min} to {max}")]
    TableSizeRange {
        /// What was given.
        size: u32,
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// A flow table that is too small or too large.
    #[error("--{flag} {size}: give a number from {} to {}", Sizes::RANGE.start(), Sizes::RANGE.end())]
    FlowTableSize {
        /// The flag's name.
        flag: &'static str,
        /// What was given.
        size: u32,
    },
    /// A map of Services that is too small or too large.
    #[error(
        "--{flag} {size}: give a number from {} to {}",
        Sizes::SERVICES_RANGE.start(),
        Sizes::SERVICES_RANGE.end()
    )]
    ServiceMapSize {
        /// The flag's name.
        flag: &'static str,
        /// What was given.
        size: u32,
    },
    /// No URL.
    #[error(
        "--api-server {0:?}: not the URL of an API server: write it as in https://192.0.2.1:6443, \
         several with commas between"
    )]
    ApiServer(String),
    /// A relative path.
    #[error("--checkpoint {}: not an absolute path", .0.display())]
    Checkpoint(PathBuf),
    /// A glob that isn't one.
    #[error(transparent)]
    Glob(#[from] GlobError),
}
