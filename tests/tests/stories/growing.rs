//! Maps of Services that are too small: they grow while everything runs, or the agent says whom it
//! can't serve.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Addresses, Agent, AgentFlags, Bpftool, Family, Node, Wiring,
    manifest::{self, EndpointSlice, Protocol, endpoint_slice, service},
};

use crate::cluster::{Cluster, DNS, HTTP, Kind, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
/// The maps that the Services of the story fill.
const GROWING: [&str; 9] = [
    "SERVICES_V4",
    "SERVICES_V6",
    "SERVICE_NAMES",
    "SLOTS",
    "BACKENDS_V4",
    "BACKENDS_V6",
    "TURNS",
    "AFFINITY_MEMBERS",
    "SOURCE_RANGES_V4",
];
/// Room at first: enough for the Service that the load goes to.
const SMALL: u32 = 32;
/// Services that are added one after the other.
const ADDED: u8 = 32;

#[test]
fn maps_grow_under_load_and_no_connection_fails() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let outside = cluster.lab.outside("outside")?;
    let busy = cluster.expose("busy", 100, &cluster.all(), |it| it)?;
    let room = SMALL.to_string();
    let flags = AgentFlags::new().with("--service-map-size", &room).socket_lb_tcp("host");
    let agent = cluster.a.start_agent(&flags)?;
    for map in GROWING {
        ensure!(room_of(&cluster.a, map)? == u64::from(SMALL), "{map} is not small at first");
    }
    let lasts = Duration::from_secs(12);
    let start = Instant::now();
    let (mut loads, mut lasting) = (Vec::new(), Vec::new());
    for (client, kind, family) in [
        (&outside, Kind::NodePort, Family::V4),
        (&outside, Kind::NodePort, Family::V6),
        // By the packet path.
        (&cluster.client, Kind::ClusterIp, Family::V6),
    ] {
        let to = busy.at(kind, family, Protocol::Tcp);
        lasting.push(client.tcp(to).open()?.0);
        loads.push(client.load(to, lasts)?);
    }
    // At the socket.
    let to = busy.at(Kind::ClusterIp, Family::V4, Protocol::Tcp);
    lasting.push(cluster.a.tcp(to).open()?.0);
    loads.push(cluster.a.load(to, lasts)?);
    for number in 1..=ADDED {
        add(&cluster, number)?;
        if number % 8 != 0 {
            continue;
        }
        for connection in &mut lasting {
            connection.ask()?;
        }
    }
    let has_grown = || Ok(agent.log()?.contains("maps have grown").then_some(()));
    let ((), _) = eventually(PATIENCE, has_grown)?;
    ensure!(start.elapsed() < lasts, "the load ended before the maps had grown");
    for load in loads {
        let made = load.finish()?;
        println!("{} connections", made.endpoints.len());
        ensure!(made.failures.is_empty(), "{:?}", made.failures);
    }
    let all_have_grown = || {
        let rooms = GROWING.into_iter().map(|map| room_of(&cluster.a, map));
        let rooms = rooms.collect::<Result<Vec<_>>>()?;
        let all = rooms.into_iter().all(|room| room > u64::from(SMALL));
        let status = agent.json(&cluster.a, &["status"])?;
        let served = status["agent"]["says"]["unserved"] == serde_json::json!([]);
        Ok((all && served && left_beside(&cluster.a)?.is_empty()).then_some(()))
    };
    let ((), _) = eventually(PATIENCE, all_have_grown)?;
    println!("all are served after {:?}", start.elapsed());
    for connection in &mut lasting {
        connection.ask()?;
    }
    for number in [1, ADDED] {
        for family in Family::BOTH {
            let to = SocketAddr::new(Addresses::cluster_ips(number).of(family), HTTP.0);
            cluster.client.tcp(to).ask()?;
            cluster.a.tcp(to).ask()?;
        }
    }
    ensure!(!agent.log()?.contains("is full"), "what was only waited for was told as a failure");

    // What has grown stays so.
    let rooms = GROWING.map(|map| room_of(&cluster.a, map).ok());
    agent.kill()?;
    let _agent = cluster.a.start_agent(&flags)?;
    for connection in &mut lasting {
        connection.ask()?;
    }
    ensure!(GROWING.map(|map| room_of(&cluster.a, map).ok()) == rooms);
    Ok(())
}

/// Programs for devices without Ethernet headers are loaded when the first one comes, and from then on
/// they are replaced as all others are.
#[test]
fn a_tunnel_that_comes_later_has_programs_and_keeps_them() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let room = SMALL.to_string();
    let flags = AgentFlags::new().with("--service-map-size", &room).socket_lb_tcp("host");
    let agent = cluster.a.start_agent(&flags)?;
    ensure!(at_tunnel(&agent, &cluster.a)?.is_empty());
    cluster.a.namespace().ip("tuntap add dev tunnel mode tun")?;
    let first = replaced_at_tunnel(&agent, &cluster.a, &[])?;

    for number in 1..=ADDED {
        add(&cluster, number)?;
    }
    let has_grown = || Ok(agent.log()?.contains("maps have grown").then_some(()));
    let ((), _) = eventually(PATIENCE, has_grown)?;
    let second = replaced_at_tunnel(&agent, &cluster.a, &first)?;

    agent.kill()?;
    let agent = cluster.a.start_agent(&flags)?;
    replaced_at_tunnel(&agent, &cluster.a, &second)?;
    Ok(())
}

/// The programs at both hooks of the device `tunnel`, once they are others than `before`.
fn replaced_at_tunnel(agent: &Agent, node: &Node, before: &[Program]) -> Result<Vec<Program>> {
    let (found, after) = eventually(PATIENCE, || {
        let now = at_tunnel(agent, node)?;
        let both = now.iter().map(|(name, _)| name).eq(["egress_l3", "ingress_l3"]);
        let others = now.iter().all(|program| !before.contains(program));
        Ok((both && others).then_some(now))
    })?;
    println!("{found:?} after {after:?}");
    Ok(found)
}

/// A program's name and the kernel's id of it.
type Program = (String, u64);

fn at_tunnel(agent: &Agent, node: &Node) -> Result<Vec<Program>> {
    let status = agent.json(node, &["status"])?;
    let programs = status["programs"].as_array().context("programs are a list")?;
    let at_tunnel = programs.iter().filter(|program| program["at"] == "tunnel");
    let mut found = at_tunnel
        .map(|it| Some((it["program"].as_str()?.to_owned(), it["program_id"].as_u64()?)))
        .collect::<Option<Vec<_>>>()
        .context("a program has a name and an id")?;
    found.sort();
    Ok(found)
}

/// A Service that needs something in every map.
fn add(cluster: &Cluster, number: u8) -> Result<()> {
    let name = format!("added-{number}");
    let addresses = Addresses::cluster_ips(number);
    let object = service(&name, addresses)
        .port("http", HTTP.0, Protocol::Tcp)
        .port("dns", DNS.0, Protocol::Udp)
        .port("other", 81, Protocol::Tcp)
        .load_balancer(Addresses::load_balancer_ips(number))
        .annotation("sluice.dev/algorithm", "round-robin")
        .affinity(60)
        .with("loadBalancerSourceRanges", vec![format!("10.{number}.0.0/16"), "fd00::/8".into()]);
    let mut slice =
        endpoint_slice(&name).port("http", HTTP.1, Protocol::Tcp).port("dns", DNS.1, Protocol::Udp);
    slice = slice.endpoint(cluster.near.host(), &cluster.a);
    slice = slice.endpoint(cluster.far.host(), &cluster.b);
    // An endpoint that no other Service has, and that is nowhere.
    let nowhere = Addresses {
        v4: Ipv4Addr::new(10, 251, number, 1),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x251, number.into(), 0, 0, 0, 1),
    };
    let other = endpoint_slice(&name).port("other", 81, Protocol::Tcp);
    let other = other.endpoint_at(nowhere, &cluster.b);
    let mut objects = vec![object.object()];
    objects.extend(slice.objects());
    objects.extend(numbered(&other, 2)?);
    manifest::write(&cluster.lab.manifests(), &format!("{name}.yaml"), &objects)
}

/// The objects of a slice under names that end in `number`, for a Service that has several.
fn numbered(slice: &EndpointSlice, number: u16) -> Result<[serde_json::Value; 2]> {
    let mut objects = slice.objects();
    for object in &mut objects {
        let name = object["metadata"]["name"].as_str().context("a slice has a name")?;
        object["metadata"]["name"] = format!("{name}-{number}").into();
    }
    Ok(objects)
}

#[test]
fn ten_thousand_endpoints_of_one_service() -> Result<()> {
    const ENDPOINTS: u16 = 10_000;
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&[&cluster.near])?;
    let agent = cluster.a.start_agent(&AgentFlags::new().with("--service-map-size", "1024"))?;
    let (mut connection, _) = cluster.client.tcp(web.http(Family::V4)).open()?;
    // Slices of a thousand, as the cluster's controllers make them. All but the first endpoint are
    // nowhere.
    let mut objects = Vec::new();
    for slice_number in 0..ENDPOINTS / 1000 {
        let mut slice = endpoint_slice("web").port("http", HTTP.1, Protocol::Tcp);
        for number in 0..1000 {
            let number = slice_number * 1000 + number;
            let [high, low] = number.to_be_bytes();
            let v4 = Ipv4Addr::new(10, 250, high, low);
            let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x250, 0, 0, 0, 0, number);
            slice = slice.endpoint_at(Addresses { v4, v6 }, &cluster.b);
        }
        objects.extend(numbered(&slice, slice_number)?);
    }
    manifest::write(&cluster.lab.manifests(), "many.yaml", &objects)?;
    let all = || -> Result<Option<()>> {
        let services = agent.json(&cluster.a, &["services"])?;
        let services = services.as_array().context("a list")?;
        let http = services.iter().filter(|it| it["service"]["port"] == "http");
        let counts: Vec<usize> =
            http.map(|it| it["endpoints"].as_array().map_or(0, Vec::len)).collect();
        let wanted = usize::from(ENDPOINTS) + 1;
        Ok((counts == [wanted, wanted]).then_some(()))
    };
    let ((), took) = eventually(PATIENCE, all)?;
    println!("{ENDPOINTS} endpoints of each family after {took:?}");
    connection.ask()?;
    Ok(())
}

#[test]
fn whom_a_full_map_leaves_out_is_told_and_the_others_are_served() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&[&cluster.near])?;
    for number in 20..40 {
        cluster.service(&format!("more-{number}"), number, &[&cluster.near, &cluster.far])?;
    }
    let flags =
        AgentFlags::new().with("--service-map-size", "16").with("--service-map-limit", "24");
    // It is ready all the same.
    let agent = cluster.a.start_agent(&flags)?;
    let status = agent.json(&cluster.a, &["status"])?;
    let says = &status["agent"]["says"];
    let unserved = says["unserved"].as_array().context("a list")?;
    ensure!((10..=20).contains(&unserved.len()), "{unserved:?}");
    ensure!(says["ready"] == true && says["synced"] == true, "{says}");
    let failures = says["failures"].to_string();
    ensure!(failures.contains("SERVICES_V4 is full"), "{failures}");
    ensure!(failures.contains("default/more-"), "{failures}");
    ensure!(agent.log()?.contains("is full"), "the log says nothing");
    let served: Vec<u8> = (20..40)
        .filter(|number| !unserved.contains(&format!("default/more-{number}").into()))
        .collect();
    if !unserved.contains(&"default/web".into()) {
        cluster.client.tcp(web.http(Family::V4)).ask()?;
    }
    for number in served {
        let to = SocketAddr::new(Addresses::cluster_ips(number).of(Family::V4), HTTP.0);
        cluster.client.tcp(to).ask()?;
    }
    // With room they come.
    for number in 20..38 {
        manifest::remove(&cluster.lab.manifests(), &format!("more-{number}.yaml"))?;
    }
    let none = || -> Result<Option<()>> {
        let status = agent.json(&cluster.a, &["status"])?;
        let says = &status["agent"]["says"];
        let all = says["unserved"] == serde_json::json!([]) && says["failures"] == says["unserved"];
        Ok(all.then_some(()))
    };
    eventually(PATIENCE, none)?;
    for family in Family::BOTH {
        cluster.client.tcp(web.http(family)).ask()?;
    }
    Ok(())
}

/// Services of the cluster in [`many_services`]; `kernel_run/scale.rs` has more, without an agent.
const MANY: u32 = 2_000;
/// Endpoints of each of them.
const EACH: u32 = 10;

#[test]
fn many_services() -> Result<()> {
    let cluster = Cluster::new(Wiring::Ptp)?;
    let web = cluster.web(&[&cluster.near])?;
    let text: String = (0..MANY).map(one_of_many).collect();
    manifest::write_text(&cluster.lab.manifests(), "many.yaml", &text)?;
    let flags = AgentFlags::new().with("--service-map-size", "1024");
    let start = Instant::now();
    let agent = cluster.a.start_agent(&flags)?;
    println!("{MANY} Services with {EACH} endpoints each, ready after {:?}", start.elapsed());
    cluster.client.tcp(web.http(Family::V4)).ask()?;
    let status = agent.json(&cluster.a, &["status"])?;
    let says = &status["agent"]["says"];
    ensure!(says["unserved"] == serde_json::json!([]), "{}", says["unserved"]);
    let used = |map: &str| {
        let maps = status["maps"].as_array()?;
        maps.iter().find(|it| it["name"] == map)?["used"].as_u64()
    };
    let at_least = |map, wanted: u32| {
        let used = used(map).unwrap_or_default();
        ensure!(used >= u64::from(wanted), "{map} holds {used}, not {wanted}");
        Ok(())
    };
    // A frontend and a marker each.
    at_least("SERVICES_V4", MANY * 2)?;
    at_least("SERVICE_NAMES", MANY)?;
    at_least("BACKENDS_V4", MANY * EACH)?;
    at_least("SLOTS", MANY * EACH)?;
    // Of IPv6 there is little, and so there is room for little.
    ensure!(room_of(&cluster.a, "BACKENDS_V6")? == 1024);
    Ok(())
}

/// A Service of `number` and its endpoints, which are nowhere, as text: there are many.
fn one_of_many(number: u32) -> String {
    let [_, high, middle, low] = number.to_be_bytes();
    // Inside the ServiceCIDR or not makes no difference to who is served.
    let cluster_ip = Ipv4Addr::new(100, 64 + high, middle, low);
    let endpoints: String = (0..EACH)
        .map(|endpoint| {
            let [_, high, middle, low] = (number * EACH + endpoint).to_be_bytes();
            let address = Ipv4Addr::new(30, high, middle, low);
            format!("- {{addresses: [{address}], conditions: {{ready: true}}, nodeName: node-b}}\n")
        })
        .collect();
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: many-{number}, namespace: many}}
spec:
  clusterIP: {cluster_ip}
  clusterIPs: [{cluster_ip}]
  ipFamilies: [IPv4]
  ports: [{{name: http, port: 80, protocol: TCP, targetPort: 8080}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: many-{number}, namespace: many, labels: {{kubernetes.io/service-name: many-{number}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
{endpoints}"
    )
}

/// What a map has room for.
pub(crate) fn room_of(node: &Node, map: &str) -> Result<u64> {
    Bpftool::map(&node.map_pin(map))?["max_entries"].as_u64().context("max_entries")
}

/// Maps that are still pinned beside those that have taken their place, or never did.
pub(crate) fn left_beside(node: &Node) -> Result<Vec<String>> {
    let pins = node.map_pin("CONFIG");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(pins.parent().context("a directory")?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("-old") || name.ends_with("-next") {
            names.push(name);
        }
    }
    Ok(names)
}
