//! Where it is measured: a control plane, a node with a client for each proxy, and two servers
//! outside, which take turns behind the Service that clients ask.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    thread,
};

use anyhow::{Context as _, Result};
use lab::{
    Family, Host, Lab, Node, Sluice, Wiring,
    bench::seed::Seed,
    control_plane::{ControlPlane, Settings},
    manifest, probe,
};
use serde_json::{Value, json};

use crate::{
    Plan,
    prober::Prober,
    proxy::{Kind, Running},
};

/// The Service that clients ask.
pub(crate) const SERVICE: &str = "asked";
const CLUSTER_IP: &str = "10.96.0.250";
const PORT: u16 = 80;
const TARGET: u16 = 8080;
/// So many objects are made at a time: they are larger than what comes of them.
const PIECE: u32 = 2_000;

/// A node, and who asks there.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) node: Node,
    client: Host,
}

/// All of it. Fields are dropped in order.
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    pub(crate) places: Vec<Place>,
    /// Where what an agent comes to from nothing is looked at.
    fresh: Node,
    pub(crate) sluice: Sluice,
    pub(crate) peer_path: Option<PathBuf>,
    pub(crate) seed: Seed,
    /// How many Services there are.
    pub(crate) size: u32,
    /// Which server is behind the Service now.
    server: u8,
    servers: [Host; 2],
    _lab: Lab,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let lab = Lab::with_probe(probe::ProbeProgram::in_this_program("probe")?)?;
        let mut places = Vec::new();
        for &kind in &plan.proxies {
            let node = lab.node(kind.node(), Wiring::Ptp)?;
            let client = node.pod(&format!("client-of-{}", kind.node()))?;
            places.push(Place { kind, node, client });
        }
        let fresh = lab.node("fresh", Wiring::Ptp)?;
        let servers = [lab.outside("server-0")?, lab.outside("server-1")?];
        for (name, host) in (0..).zip(&servers) {
            serve(host, name)?;
        }
        let plane = ControlPlane::start(&lab, Settings::default())?;
        for place in &places {
            plane.api().create(&[manifest::node(place.node.name(), &[])])?;
        }
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": SERVICE, "labels": { "app": SERVICE } },
            "spec": {
                "clusterIP": CLUSTER_IP,
                "selector": { "app": SERVICE },
                "ports": [{ "name": "http", "port": PORT, "targetPort": TARGET }],
            },
        });
        let slice = slice(&servers[0]);
        plane.api().create(&[service, slice])?;
        let seed = Seed {
            service: template(&plane, "Service")?,
            slice: template(&plane, "EndpointSlice")?,
            endpoints: plan.endpoints,
        };
        Ok(Self {
            plane,
            places,
            fresh,
            sluice: Sluice::at(plan.sluice.as_deref().context("--sluice")?),
            peer_path: plan.peer_path.clone(),
            seed,
            size: 0,
            server: 0,
            servers,
            _lab: lab,
        })
    }

    /// Makes it `size` Services, if there are fewer.
    pub(crate) fn seed(&mut self, size: u32) -> Result<()> {
        while self.size < size {
            let end = size.min(self.size + PIECE);
            let objects: Vec<Value> =
                (self.size..end).flat_map(|number| self.seed.objects(number)).collect();
            self.plane.seed(&objects)?;
            self.size = end;
        }
        Ok(())
    }

    pub(crate) fn place(&self, kind: Kind) -> Result<&Place> {
        self.places.iter().find(|place| place.kind == kind).context("every proxy has a place")
    }

    /// A node without a proxy.
    pub(crate) fn fresh_node(&self) -> &Node {
        &self.fresh
    }

    /// Someone who asks at the place of `kind`.
    pub(crate) fn prober(&self, kind: Kind) -> Result<Prober> {
        let to = SocketAddr::new(CLUSTER_IP.parse()?, PORT);
        Ok(Prober::start(&self.place(kind)?.client, to))
    }

    /// Which server is behind the Service now.
    pub(crate) fn server(&self) -> u8 {
        self.server
    }

    /// The slice of the Service with the other server, and that one's number.
    pub(crate) fn swap(&mut self) -> (Value, u8) {
        self.server = 1 - self.server;
        (slice(&self.servers[usize::from(self.server)]), self.server)
    }

    /// Ends a proxy and takes away what it leaves.
    pub(crate) fn clean_up(&self, running: Running) -> Result<()> {
        let place = self.place(running.kind)?;
        running.end()?;
        place.kind.clean_up(self, &place.node)
    }
}

/// The slice of the Service, with one endpoint.
fn slice(server: &Host) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{SERVICE}-1"),
            "labels": { "kubernetes.io/service-name": SERVICE },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": TARGET, "protocol": "TCP" }],
        "endpoints": [{
            "addresses": [server.address(Family::V4)],
            "conditions": { "ready": true },
        }],
    })
}

/// An object as the API server has it, without what is its own.
fn template(plane: &ControlPlane, kind: &str) -> Result<Value> {
    let name = if kind == "Service" { SERVICE.to_owned() } else { format!("{SERVICE}-1") };
    let mut object = plane.api().get(kind, &name)?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(object)
}

/// Answers every connection to `host` with a byte, for as long as the process lives.
fn serve(host: &Host, name: u8) -> Result<()> {
    let address = SocketAddr::new(host.address(Family::V4), TARGET);
    let listener = host.namespace().run(|| Ok(TcpListener::bind(address)?))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(&[name]);
        }
    });
    Ok(())
}
