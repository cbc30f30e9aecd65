//! `sluice`: the agent and the commands that look at what it has done. Decides nothing; see
//! [`proxy_agent`].

fn main() {}
