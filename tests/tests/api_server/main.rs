//! Stories of an agent and a real API server.

mod follows;
mod moving_over;
