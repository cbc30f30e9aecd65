//! Packets in a file, one a line, so that a disagreement can be looked at again.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use lab::kernel_run::KernelFamily;
use proxy_common::{ConfigOptions, DeviceRole};
use proxy_ebpf::{
    transport::Hook,
    user::{ChecksumState, UserPacket},
};

use crate::generator::Step;

/// An episode: how the machines are set up, and what is sent through them.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    /// Room in each of the main flow tables.
    pub(crate) flows_max: u32,
    /// Options of the configuration.
    pub(crate) options: ConfigOptions,
    /// The packets.
    pub(crate) steps: Vec<Step>,
}

/// The options that an episode may have, in the order of their numbers in a file.
pub(crate) const OPTIONS: [ConfigOptions; 5] = [
    ConfigOptions::empty(),
    ConfigOptions::MASQUERADE_ALL,
    ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP,
    ConfigOptions::MASQUERADE_ALL.union(ConfigOptions::REFUSE_EXTERNAL_CLUSTER_IP),
    ConfigOptions::PASS_UNKNOWN_CONNECTIONS,
];

impl Recording {
    /// Writes the recording, and in front of it `why` as a comment.
    pub(crate) fn write<A: KernelFamily>(&self, path: &Path, why: &str) -> Result<()> {
        let mut text: String = why.lines().map(|line| format!("# {line}\n")).collect();
        let options = OPTIONS.iter().position(|options| *options == self.options).unwrap_or(0);
        writeln!(text, "family {}\noptions {options}\nflows {}", family::<A>(), self.flows_max)?;
        for Step { hook, role, packet } in &self.steps {
            let layer = if packet.link_header == 0 { "l3" } else { "l2" };
            writeln!(text, "{hook:?} {role:?} {layer} {}", hex(packet))?;
        }
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Reads a recording; `None` when it is of the other family.
    pub(crate) fn read<A: KernelFamily>(path: &Path) -> Result<Option<Self>> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut recording = Self { flows_max: 0, options: OPTIONS[0], steps: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["family", family] if family == self::family::<A>() => {}
                ["family", _] => return Ok(None),
                ["options", number] => {
                    let number: usize = number.parse()?;
                    recording.options = *OPTIONS.get(number).context("no such options")?;
                }
                ["flows", number] => recording.flows_max = number.parse()?,
                [hook, role, layer, bytes] => {
                    recording.steps.push(step(hook, role, layer, bytes).context(line.to_owned())?);
                }
                _ => bail!("not a line of a recording: {line}"),
            }
        }
        Ok(Some(recording))
    }
}

fn family<A: KernelFamily>() -> &'static str {
    if A::WORDS == 1 { "v4" } else { "v6" }
}

/// The packet's bytes.
pub(crate) fn hex(packet: &UserPacket) -> String {
    packet.bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn step(hook: &str, role: &str, layer: &str, bytes: &str) -> Result<Step> {
    let hook = match hook {
        "Ingress" => Hook::Ingress,
        "Egress" => Hook::Egress,
        _ => bail!("no hook {hook}"),
    };
    let role = match role {
        "Workload" => DeviceRole::Workload,
        "Uplink" => DeviceRole::Uplink,
        _ => bail!("no role {role}"),
    };
    ensure!(bytes.is_ascii(), "not hexadecimal");
    let digits = bytes.as_bytes().chunks(2);
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?);
    let bytes = digits.map(byte).collect::<Result<_>>()?;
    let link_header = if layer == "l3" { 0 } else { 14 };
    let packet = UserPacket { bytes, checksum: ChecksumState::Complete, link_header };
    Ok(Step { hook, role, packet })
}
