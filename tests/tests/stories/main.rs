//! Stories of the lab: what clients, servers and operators see, on a real kernel.
//!
//! One module, one subject; one test, one behaviour. Each test has a lab of its own, so they run
//! side by side.

mod lab_itself;
