//! The lab without an agent: its network works, its probes tell the truth, and nothing is left.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lab::{Cgroup, Family, Lab, Uplink, Wiring, packet, probe::Trouble};

use crate::cluster::eventually;

#[test]
fn pods_talk_to_each_other_whatever_their_wiring() -> Result<()> {
    for wiring in Wiring::ALL {
        let lab = Lab::new()?;
        let (a, b) = (lab.node("a", wiring)?, lab.node("b", wiring)?);
        let client = a.pod("client")?;
        let near = a.pod("near")?.serve(8080, 5353)?;
        let far = b.pod("far")?.serve(8080, 5353)?;
        for family in Family::BOTH {
            for server in [&near, &far] {
                let answer = client.tcp(server.tcp(family)).ask()?;
                assert_eq!(answer.server, server.name());
                assert_eq!(answer.client_seen.ip(), client.address(family), "{wiring}");
                assert_eq!(answer.peer, Some(server.tcp(family)));
                let answer = client.udp(server.udp(family)).ask()?;
                assert_eq!(answer.server, server.name());
                assert_eq!(answer.received_from, Some(server.udp(family)));
            }
        }
    }
    Ok(())
}

#[test]
fn pods_of_two_nodes_talk_over_every_uplink_that_the_kernel_has() -> Result<()> {
    for uplink in Uplink::ALL {
        if !uplink.is_available()? {
            println!("this kernel has no {uplink} devices");
            continue;
        }
        let lab = Lab::with_uplinks(uplink)?;
        let (a, b) = (lab.node("a", Wiring::Ptp)?, lab.node("b", Wiring::Routed)?);
        let outside = lab.outside("outside")?;
        lab.route(&["198.51.100.0/24", "fd00:198:51:100::/64"], &a)?;
        let client = a.pod("client")?;
        let far = b.pod("far")?.serve(8080, 5353)?;
        let own = b.serve(8080, 5353)?;
        for family in Family::BOTH {
            let answer = client.tcp(far.tcp(family)).ask()?;
            assert_eq!(answer.client_seen.ip(), client.address(family), "{uplink}");
            let answer = client.udp(far.udp(family)).size(1400).ask()?;
            assert_eq!(answer.received_from, Some(far.udp(family)), "{uplink}");
            let bulk = client.tcp(far.tcp(family)).bulk(2_000_000, 2_000_000)?;
            assert_eq!((bulk.upload_fault, bulk.download_fault), (None, None), "{uplink}");
            let answer = outside.tcp(own.tcp(family)).ask()?;
            assert_eq!(answer.client_seen.ip(), outside.address(family), "{uplink}");
        }
        let wire = lab.watch_fabric("a")?;
        outside.udp("198.51.100.7:9".parse()?).patience_ms(20).attempt()?.ok();
        wire.expect(Duration::from_secs(1), |seen| seen.destination().port() == 9)?;
    }
    Ok(())
}

#[test]
fn a_lab_with_a_martian_says_so_at_its_end() -> Result<()> {
    for uplink in [Uplink::Ethernet, Uplink::Tun] {
        let lab = Lab::with_uplinks(uplink)?;
        let node = lab.node("a", Wiring::Ptp)?;
        let outside = lab.outside("outside")?;
        // An address of the node, used by somebody else.
        let stolen = Ipv4Addr::new(10, 244, 1, 1);
        for host in [&*node, &outside] {
            host.namespace().ip(&format!("address add {stolen}/32 dev lo"))?;
        }
        let to = (node.address(Family::V4), 9).into();
        outside.udp(to).from(stolen.into()).patience_ms(50).attempt()?.ok();
        let ended = catch_unwind(AssertUnwindSafe(|| drop(lab)));
        let panic = ended.err().context("the lab ended as if nothing had happened")?;
        let said = panic.downcast_ref::<String>().context("it said something else")?;
        assert!(said.contains("martian source"), "{said}");
    }
    Ok(())
}

#[test]
fn a_crowd_stays_and_a_load_comes_and_goes() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    let (mut crowd, opened) = client.crowd(server.tcp(Family::V6), 20, 1000)?;
    assert_eq!((opened.endpoints.len(), opened.failures.len()), (20, 0));
    let load = client.load(server.tcp(Family::V4), Duration::from_millis(50))?;
    assert_eq!(crowd.ask()?.endpoints, vec![server.tcp(Family::V6); 20]);
    let made = load.finish()?;
    assert!(made.failures.is_empty() && made.endpoints.contains(&server.tcp(Family::V4)));
    drop(server);
    let left = crowd.ask()?;
    assert_eq!((left.endpoints.len(), left.failures.len()), (0, 20));
    Ok(())
}

#[test]
fn a_port_is_free_or_not() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let server = node.serve(8080, 5353)?;
    for family in Family::BOTH {
        for (address, datagrams) in [(server.tcp(family), false), (server.udp(family), true)] {
            let taken = node.bind(address, datagrams)?;
            assert_eq!(taken.unwrap_err().trouble, Trouble::Other(libc::EADDRINUSE));
            assert!(node.bind((address.ip(), 4711).into(), datagrams)?.is_ok());
        }
    }
    Ok(())
}

#[test]
fn nodes_and_outside_hosts_reach_pods() -> Result<()> {
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a", Wiring::Ptp)?, lab.node("b", Wiring::Bridge)?);
    let outside = lab.outside("outside")?;
    let server = b.pod("server")?.serve(8080, 5353)?;
    for family in Family::BOTH {
        for host in [&*a, &*b, &outside] {
            let answer = host.tcp(server.tcp(family)).ask()?;
            assert_eq!(answer.server, "server", "from {}", host.name());
        }
    }
    Ok(())
}

#[test]
fn the_probe_tells_how_a_request_failed() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    for family in Family::BOTH {
        let mut closed = server.tcp(family);
        closed.set_port(9);
        assert_eq!(client.tcp(closed).refusal()?.trouble, Trouble::Refused);
        assert_eq!(client.udp(closed).refusal()?.trouble, Trouble::Refused);
        assert_eq!(client.udp(closed).connected().refusal()?.trouble, Trouble::Refused);
    }
    let nobody = "172.18.0.99:80".parse()?;
    let failure = client.tcp(nobody).patience_ms(200).refusal()?;
    assert_eq!(failure.trouble, Trouble::TimedOut);
    assert!(failure.after() >= Duration::from_millis(190));
    Ok(())
}

#[test]
fn bulk_arrives_whole_in_both_directions() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    let answer = client.tcp(server.tcp(Family::V4)).bulk(3_000_000, 5_000_001)?;
    assert_eq!((answer.upload_fault, answer.download_fault), (None, None));
    Ok(())
}

#[test]
fn a_connection_stays_open_between_questions() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    let (mut connection, first) = client.tcp(server.tcp(Family::V6)).from_port(4711).open()?;
    let again = connection.ask()?;
    assert_eq!(first.client_seen, again.client_seen);
    assert_eq!(first.client_seen.port(), 4711);
    let (mut socket, first) = client.udp(server.udp(Family::V4)).open()?;
    assert_eq!(first.client_seen, socket.ask()?.client_seen);
    drop(server);
    assert!(connection.attempt()?.is_err());
    Ok(())
}

#[test]
fn mapped_sockets_reach_ipv4_servers() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    let answer = client.tcp(server.tcp(Family::V4)).mapped().ask()?;
    assert_eq!(answer.client_seen.ip(), client.address(Family::V4));
    let answer = client.udp(server.udp(Family::V4)).mapped().ask()?;
    assert_eq!(answer.received_from, Some(server.udp(Family::V4)));
    Ok(())
}

#[test]
fn pods_answer_pings() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Bridge)?;
    let (client, server) = (node.pod("client")?, node.pod("server")?);
    for family in Family::BOTH {
        let address = server.address(family);
        assert_eq!(client.ping(address, 1000)?, Some(address));
        assert_eq!(client.ping("172.18.0.99".parse()?, 100)?, None);
    }
    Ok(())
}

#[test]
fn frames_are_sent_and_seen_as_they_are() -> Result<()> {
    let lab = Lab::new()?;
    let node = lab.node("a", Wiring::Ptp)?;
    let client = node.pod("client")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    for family in Family::BOTH {
        client.tcp(server.tcp(family)).ask()?;
        let hop = client.next_hop(server.host().address(family))?;
        let sent = packet::udp(
            (client.address(family), 4711).into(),
            (server.host().address(family), 9).into(),
            b"as it is",
        );
        let arriving = server.host().wire("eth0")?;
        client.wire("eth0")?.send(&packet::ethernet(hop.source, hop.destination, &sent))?;
        let seen = arriving.expect(Duration::from_secs(1), |seen| {
            seen.source().port() == 4711 && seen.destination().port() == 9
        })?;
        assert_eq!(seen.bytes(), packet::after_one_hop(&sent));
    }
    Ok(())
}

#[test]
fn a_lab_that_was_dropped_has_left_nothing() -> Result<()> {
    let traces = {
        let lab = Lab::new()?;
        populate(&lab)?
    };
    traces.assert_gone();
    Ok(())
}

#[test]
fn a_lab_whose_test_panicked_has_left_nothing() -> Result<()> {
    let mut traces = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new().unwrap();
        traces = Some(populate(&lab).unwrap());
        let _running = lab.node("late", Wiring::Ptp).unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    traces.expect("the lab was populated").assert_gone();
    Ok(())
}

#[test]
fn a_lab_whose_process_was_killed_has_left_nothing() -> Result<()> {
    const TOLD_TO_HANG: &str = "LAB_TOLD_TO_HANG";
    if env::var_os(TOLD_TO_HANG).is_some() {
        let lab = Lab::new()?;
        let server = lab.node("a", Wiring::Ptp)?.serve(8080, 5353)?;
        println!("\n{}", lab.directory().display());
        thread::sleep(Duration::from_secs(60));
        drop(server);
        return Ok(());
    }
    let mut killed = Command::new(env::current_exe()?)
        .args(["--exact", "lab_itself::a_lab_whose_process_was_killed_has_left_nothing"])
        .arg("--nocapture")
        .env(TOLD_TO_HANG, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(killed.stdout.take().context("stdout is a pipe")?);
    let directory = output
        .lines()
        .map_while(Result::ok)
        .map(PathBuf::from)
        .find(|line| line.is_absolute())
        .context("the process ended before its lab stood")?;
    let name = directory.file_name().and_then(|name| name.to_str()).context("a lab has a name")?;
    let cgroup = Cgroup::root()?.below(name);
    assert_eq!(cgroup.processes()?.len(), 1);
    killed.kill()?;
    killed.wait()?;
    eventually(Duration::from_secs(5), || {
        Ok((!directory.exists() && !cgroup.path().exists()).then_some(()))
    })?;
    Ok(())
}

/// Where a lab would leave something.
struct Traces {
    directory: PathBuf,
    cgroup: Cgroup,
    namespaces: BTreeSet<PathBuf>,
}

/// Hosts of every kind, with processes that are still running.
fn populate(lab: &Lab) -> Result<Traces> {
    let node = lab.node("a", Wiring::Bridge)?;
    let client = node.pod("client")?;
    let outside = lab.outside("outside")?;
    let server = node.pod("server")?.serve(8080, 5353)?;
    client.tcp(server.tcp(Family::V4)).ask()?;
    outside.tcp(server.tcp(Family::V6)).ask()?;
    assert_eq!(lab.cgroup().processes()?.len(), 3);
    let hosts = [&*node, &client, &outside, server.host()];
    let namespaces = hosts.iter().map(|host| namespace_of(host.namespace().path()));
    let namespaces = namespaces.collect::<Result<_, _>>()?;
    Ok(Traces { directory: lab.directory().to_owned(), cgroup: lab.cgroup().clone(), namespaces })
}

impl Traces {
    fn assert_gone(&self) {
        assert!(!self.directory.exists());
        assert!(!self.cgroup.path().exists());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.to_str().unwrap()));
        // A process that another test has forked holds copies of descriptors until it executes.
        eventually(Duration::from_secs(5), || {
            Ok(self.namespaces.is_disjoint(&held_namespaces()).then_some(()))
        })
        .expect("no namespace of the lab is held");
    }
}

/// Network namespaces that a process is in or holds open.
fn held_namespaces() -> BTreeSet<PathBuf> {
    let mut held = BTreeSet::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        held.extend(fs::read_link(process.path().join("ns/net")));
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        held.extend(descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()));
    }
    held
}

/// The namespace that a path of the lab leads to, as `/proc` names it (`net:[…]`).
fn namespace_of(link: &Path) -> std::io::Result<PathBuf> {
    fs::read_link(fs::read_link(link)?)
}
