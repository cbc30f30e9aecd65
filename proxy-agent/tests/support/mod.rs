//! What the tests of the control plane share. Each test program uses a part of it.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod agent;
pub(crate) mod dump;
pub(crate) mod guard;
pub(crate) mod universe;
pub(crate) mod written;
