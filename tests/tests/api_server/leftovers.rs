//! What the real kube-proxy leaves in the kernel is removed on request, in each of its modes, and
//! what is not its own stays.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use lab::{
    Addresses, Lab, Sluice, Wiring,
    control_plane::{ControlPlane, KubeProxy, Settings},
    manifest::{self, Protocol, endpoint_slice, service},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// The tools that kube-proxy runs.
const TOOLS: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];
/// What others have in tables that kube-proxy uses: an administrator, and the kubelet.
const OTHERS: &str = "\
*nat
:MINE - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A PREROUTING -m comment --comment \"not -j KUBE-SERVICES\" -j MINE
-A MINE -p tcp -m tcp --dport 8443 -j REDIRECT --to-ports 443
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -p tcp -m tcp --dport 7 -j DROP
COMMIT
";
/// A table of another one beside.
const FIREWALL: &str = "table inet mine { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }";

#[test]
fn tables_of_the_nftables_mode_are_removed_and_others_stay() -> Result<()> {
    story("nftables", Iptables::Nft)
}

#[test]
fn chains_of_the_iptables_mode_are_removed_and_others_stay() -> Result<()> {
    story("iptables", Iptables::Nft)
}

#[test]
fn chains_of_legacy_iptables_are_removed_and_others_stay() -> Result<()> {
    story("iptables", Iptables::Legacy)
}

/// Where iptables keeps its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Iptables {
    Nft,
    Legacy,
}

fn story(mode: &str, iptables: Iptables) -> Result<()> {
    let lab = Lab::new()?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    let node = lab.node("node-a", Wiring::Ptp)?;
    let server = node.pod("web")?.serve(8080, 5353)?;
    let node_object = manifest::node_with_addresses(node.name(), &node.addresses().both());
    plane.api().create(std::slice::from_ref(&node_object))?;
    plane.api().set_status(&[node_object])?;
    let web = service("web", Addresses::cluster_ips(10))
        .port("http", 80, Protocol::Tcp)
        .node_port(30_080)
        .with("ipFamilyPolicy", "RequireDualStack");
    plane.api().create(&[web.object()])?;
    let slice = endpoint_slice("web").port("http", 8080, Protocol::Tcp);
    plane.api().create(&slice.endpoint(server.host(), &node).objects())?;

    let tools = tools(lab.directory(), iptables)?;
    let mut proxy = plane.start_kube_proxy_with(&node, &json!({ "mode": mode }), Some(&tools))?;
    let scene = Scene { proxy: &proxy, tools: &tools };
    scene.wait_for_rules(mode)?;
    proxy.namespace().nft(FIREWALL)?;
    for restore in ["iptables-restore", "ip6tables-restore"] {
        scene.feed(restore, OTHERS)?;
    }
    let others = scene.others()?;
    ensure!(others.len() > 8, "{others:?}");
    ensure!(scene.leftovers()?.len() > 3, "kube-proxy has no rules: {:?}", scene.leftovers()?);

    let levels = scene.preflight()?;
    ensure!(levels == ["warning", "note"], "kube-proxy runs, with rules: {levels:?}");
    let refused = scene.clean_up(&[])?;
    ensure!(refused.status.code() == Some(4), "while it runs: {refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(said.contains(&format!("process {}", proxy.pid())), "who runs isn't said: {said}");
    let told = scene.clean_up(&["--unless-running"])?;
    ensure!(told.status.success(), "{told:?}");
    ensure!(scene.leftovers()?.len() > 3, "it was removed while kube-proxy ran");

    proxy.stop(PATIENCE)?;
    let scene = Scene { proxy: &proxy, tools: &tools };
    ensure!(scene.leftovers()?.len() > 3, "kube-proxy leaves nothing: the test shows nothing");
    let levels = scene.preflight()?;
    ensure!(levels == ["ok", "note"], "kube-proxy has gone, its rules have not: {levels:?}");
    let done = scene.clean_up(&["-o", "json"])?;
    ensure!(done.status.success(), "{done:?}");
    let removed: Value = serde_json::from_slice(&done.stdout)?;
    let count = |field: &str| removed[field].as_array().map_or(0, Vec::len);
    ensure!(count("left") == 0, "{removed}");
    let expected = if mode == "nftables" { count("tables") == 2 } else { count("chains") > 10 };
    ensure!(expected, "{removed}");
    ensure!(scene.leftovers()?.is_empty(), "left: {:?}", scene.leftovers()?);
    ensure!(scene.others()? == others, "{:?} are not {others:?}", scene.others()?);

    let levels = scene.preflight()?;
    ensure!(levels == ["ok", "ok"], "nothing of kube-proxy is there: {levels:?}");
    let again = scene.clean_up(&[])?;
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    ensure!(said.starts_with("Nothing of kube-proxy was there."), "{said}");
    Ok(())
}

/// kube-proxy's namespace, and the tools there.
struct Scene<'a> {
    proxy: &'a KubeProxy,
    tools: &'a Path,
}

impl Scene<'_> {
    fn wait_for_rules(&self, mode: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let (v4, v6) = match mode {
                "nftables" => {
                    let rules = self.text("nft", &["list", "ruleset"])?;
                    let has = |family: &str, ip: &str| {
                        rules.contains(&format!("table {family} kube-proxy")) && rules.contains(ip)
                    };
                    (has("ip", "10.96.0.10"), has("ip6", "fd00:10:96::a"))
                }
                _ => (
                    self.tool("iptables-save")?.contains("10.96.0.10/32"),
                    self.tool("ip6tables-save")?.contains("fd00:10:96::a/128"),
                ),
            };
            if v4 && v6 {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("no rules of kube-proxy within {PATIENCE:?}: {}", self.proxy.log()?);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Lines that are kube-proxy's.
    fn leftovers(&self) -> Result<BTreeSet<String>> {
        let ruleset = self.text("nft", &["list", "tables"])?;
        let tables = ruleset.lines().filter(|line| line.ends_with(" kube-proxy"));
        let mut found: BTreeSet<String> = tables.map(str::to_owned).collect();
        if !found.is_empty() {
            let rules = self.text("nft", &["list", "ruleset"])?;
            found.extend(rules.lines().filter(|line| line.contains("chain ")).map(str::to_owned));
        }
        let kubelets = ["KUBE-KUBELET-CANARY", "KUBE-FIREWALL", "not -j KUBE-SERVICES"];
        for tool in ["iptables-save", "ip6tables-save"] {
            let saved = self.tool(tool)?;
            let ours = |line: &&str| {
                line.contains("KUBE-") && !kubelets.iter().any(|name| line.contains(name))
            };
            found.extend(saved.lines().filter(ours).map(|line| format!("{tool}: {line}")));
        }
        Ok(found)
    }

    /// Rules that aren't.
    fn others(&self) -> Result<BTreeSet<String>> {
        let mut rules = BTreeSet::new();
        for tool in ["iptables-save", "ip6tables-save"] {
            let saved = self.tool(tool)?;
            let named = |line: &&str| {
                ["MINE", "KUBE-FIREWALL", "KUBE-KUBELET-CANARY"]
                    .iter()
                    .any(|name| line.contains(name))
            };
            // Without the counters of a chain.
            let line = |line: &str| line.split(" [").next().unwrap_or_default().to_owned();
            rules.extend(saved.lines().filter(named).map(|text| format!("{tool}: {}", line(text))));
        }
        let table = self.text("nft", &["list", "table", "inet", "mine"])?;
        rules.extend(table.lines().map(|line| line.trim().to_owned()));
        Ok(rules)
    }

    fn clean_up(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = self.proxy.command(Sluice::of_workspace()?.program())?;
        Ok(command.args(["cleanup", "--kube-proxy"]).args(arguments).output()?)
    }

    /// How `sluice preflight` takes a kube-proxy that runs, and its rules.
    fn preflight(&self) -> Result<Vec<String>> {
        let mut command = self.proxy.command(Sluice::of_workspace()?.program())?;
        command.args(["preflight", "-o", "json", "--unknown-connections", "pass"]);
        let output = command.output()?;
        let report: Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
        let findings = report["findings"].as_array().context("no findings")?;
        let checks = ["kube-proxy", "kube-proxy-rules"];
        let ours = findings.iter().filter(|finding| {
            finding["check"].as_str().is_some_and(|check| checks.contains(&check))
        });
        Ok(ours.filter_map(|finding| finding["level"].as_str().map(str::to_owned)).collect())
    }

    fn tool(&self, name: &str) -> Result<String> {
        let path = self.tools.join(name);
        self.text(path.to_str().context("UTF-8")?, &[])
    }

    fn text(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.proxy.command(program)?.args(arguments).output()?;
        ensure!(output.status.success(), "{program} {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn feed(&self, tool: &str, lines: &str) -> Result<()> {
        let file = self.tools.join("lines");
        fs::write(&file, lines)?;
        let mut command = self.proxy.command(self.tools.join(tool))?;
        let output = command.arg("--noflush").stdin(fs::File::open(&file)?).output()?;
        ensure!(output.status.success(), "{tool}: {output:?}");
        Ok(())
    }
}

/// A directory with kube-proxy's tools, all of one kind.
fn tools(directory: &Path, iptables: Iptables) -> Result<PathBuf> {
    let program = match iptables {
        Iptables::Nft => "xtables-nft-multi",
        Iptables::Legacy => "xtables-legacy-multi",
    };
    let program = ["/usr/sbin", "/sbin"]
        .iter()
        .map(|place| Path::new(place).join(program))
        .find(|path| path.exists())
        .with_context(|| format!("no {program}: install iptables"))?;
    let tools = directory.join("tools");
    fs::create_dir(&tools)?;
    for tool in TOOLS {
        symlink(&program, tools.join(tool))?;
    }
    Ok(tools)
}
