//! The kernel's side of the library's traits: all the unsafe code of the datapath.

pub(crate) mod env;
mod facts;
mod family;
pub(crate) mod maps;
pub(crate) mod skb;
pub(crate) mod socket_call;
mod socket_table;
pub(crate) mod tc;
