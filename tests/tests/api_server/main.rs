//! Stories of an agent and a real API server.

mod follows;
