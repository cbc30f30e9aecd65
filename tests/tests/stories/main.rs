//! Stories of the lab: what clients, servers and operators see, on a real kernel.
//!
//! One module, one subject; one test, one behaviour. Each test has a lab of its own, so they run
//! side by side. A story that must hold on both paths and for every wiring is told once and run for
//! each [`cluster::Shape`].

#[macro_use]
mod cluster;

mod affinity;
mod agent_gone;
mod algorithms;
mod binding;
mod bookkeeping;
mod checksums;
mod cleanup;
mod cluster_ip;
mod collisions;
mod datagrams;
mod defaults;
mod devices;
mod errnos;
mod explain;
mod exposed;
mod flood;
mod growing;
mod ipvs;
mod lab_itself;
mod lifetimes;
mod manifests;
mod masquerade_ports;
mod moving;
mod netfilter;
mod not_permitted;
mod operator;
mod preflight;
mod refusals;
mod replacement;
mod rows;
mod rows_everywhere;
mod sctp;
mod several_nodes;
mod site;
mod smoke;
mod switches;
mod untouched;
