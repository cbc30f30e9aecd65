//! Stories of an agent and a real API server.

mod bootstrapping;
mod follows;
mod health;
mod moving_over;
mod pages;
