//! A random cluster on the API server: Services and their EndpointSlices, and the Node. A step
//! changes some of it, as a busy day does.

mod endpoints;
mod service;

use std::collections::BTreeMap;

use anyhow::Result;
use lab::control_plane::Api;
use serde_json::{Value, json};

use crate::random::Random;

pub(crate) use endpoints::is_local;
pub(crate) use service::NODE_PORTS;

/// How many Services there may be.
const SERVICES: usize = 24;
/// Zones that the node may be in, and that hints name.
pub(crate) const ZONES: [&str; 3] = ["a", "b", "c"];

/// The label of Services that another proxy serves.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// The label of what no proxy serves.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// What is on the API server.
pub(crate) struct Cluster<'a> {
    api: &'a Api,
    random: Random,
    node: Value,
    zone: Option<&'static str>,
    services: BTreeMap<usize, Value>,
    slices: BTreeMap<usize, BTreeMap<String, Value>>,
    states: usize,
    /// How many Services there have been.
    used: u64,
}

/// What has to be done to objects, all of a kind of doing at once.
#[derive(Default)]
struct Work {
    delete: Vec<Value>,
    create: Vec<Value>,
    replace: Vec<Value>,
    status: Vec<Value>,
}

impl<'a> Cluster<'a> {
    /// With the Node `node` there, and no Services.
    pub(crate) fn new(api: &'a Api, node: Value, seed: u64) -> Self {
        Self {
            api,
            random: Random::new(seed),
            node,
            zone: None,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            states: 0,
            used: 0,
        }
    }

    /// Where the node is.
    pub(crate) fn zone(&self) -> Option<&'static str> {
        self.zone
    }

    /// The EndpointSlices of the Service `name`.
    pub(crate) fn slices_of(&self, name: &str) -> impl Iterator<Item = &Value> {
        let number = service::number(name);
        number.and_then(|number| self.slices.get(&number)).into_iter().flat_map(BTreeMap::values)
    }

    /// Goes on to the next state: the first time to one with every Service, later to one that
    /// differs in some.
    pub(crate) fn step(&mut self) -> Result<()> {
        let mut work = Work::default();
        let touched = if self.states == 0 { SERVICES } else { 2 + self.random.below(6) };
        let first = self.random.below(SERVICES);
        for number in first..first + touched {
            let number = number % SERVICES;
            match self.services.contains_key(&number) {
                false => self.change(number, &mut work),
                true if self.random.percent(20) => self.remove(number, &mut work),
                true if self.random.percent(60) => self.change(number, &mut work),
                true => self.change_slices(number, &mut work),
            }
        }
        if self.states == 0 || self.random.percent(20) {
            self.move_node(&mut work);
        }
        self.states += 1;
        self.api.delete(&work.delete)?;
        self.api.create(&work.create)?;
        self.api.replace(&work.replace)?;
        self.api.set_status(&work.status)
    }

    /// To another zone, or to none.
    fn move_node(&mut self, work: &mut Work) {
        self.zone = self.random.percent(80).then(|| self.random.pick(&ZONES));
        self.node["metadata"]["labels"] = match self.zone {
            None => json!({}),
            Some(zone) => json!({ "topology.kubernetes.io/zone": zone }),
        };
        work.replace.push(self.node.clone());
    }

    fn remove(&mut self, number: usize, work: &mut Work) {
        work.delete.extend(self.services.remove(&number));
        // A controller would remove its EndpointSlices; who wrote them by hand may leave them.
        if self.random.percent(50) {
            let slices = self.slices.remove(&number).into_iter();
            work.delete.extend(slices.flat_map(BTreeMap::into_values));
        }
    }

    fn change(&mut self, number: usize, work: &mut Work) {
        let old = self.services.get(&number);
        let new = service::any(&mut self.random, number, old, self.used);
        self.used += 1;
        if old.is_some() { &mut work.replace } else { &mut work.create }.push(new.clone());
        if new["spec"]["type"] == "LoadBalancer" {
            work.status.push(new.clone());
        }
        self.services.insert(number, new);
        self.change_slices(number, work);
    }

    fn change_slices(&mut self, number: usize, work: &mut Work) {
        let new = endpoints::any(&mut self.random, number, &self.services[&number]);
        let old = self.slices.insert(number, new.clone()).unwrap_or_default();
        for (name, slice) in &new {
            let there = old.contains_key(name);
            if there { &mut work.replace } else { &mut work.create }.push(slice.clone());
        }
        work.delete
            .extend(old.into_iter().filter(|(name, _)| !new.contains_key(name)).map(|it| it.1));
    }
}
