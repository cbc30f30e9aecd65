//! What the datapath does, told as stories on the host: the library of `proxy-ebpf` over a machine
//! in user space. Every story is told for IPv4 and for IPv6 by one text.
//!
//! The kernel's part is elsewhere: `tests/tests/kernel_run` runs the programs themselves.

mod affinity;
mod algorithms;
mod binding;
mod call;
mod closing;
mod collisions;
mod connection;
mod datagrams;
mod edge;
mod equal_sums;
mod extensions;
mod fragments;
mod hairpin;
mod held;
mod icmp;
mod leaks;
mod masquerade;
mod masquerade_ports;
mod node_address;
mod outside;
mod processes;
mod properties;
mod refusals;
mod sockets;
mod source_ranges;
mod stage;
mod stretch;
