//! The documents, as a person follows them: what they tell to type is there, and does what they say.
//!
//! Every command of README.md, CONTRIBUTING.md, helm/README.md and docs is run, or its syntax is asked
//! of the program, or it stands in [`excepted::EXCEPTED`] with a reason. YAML is given to who reads it,
//! and what is shown as output is compared where it stays the same.

mod chart;
mod document;
mod excepted;
mod explained;
mod node;
mod syntax;
