//! Stories of an agent and a real API server: what is followed, what is asked for, what is told, and
//! what happens to traffic when the server, its etcd or the way there fails.

mod bootstrapping;
mod clock;
mod controllers;
mod credentials;
mod expiry;
mod follows;
mod full;
mod garbage;
mod health;
mod leftovers;
mod lists;
mod moving_over;
mod outages;
mod restarts;
mod rights;
mod site;
mod storms;
