//! What the benches share: figures of samples, the way to say how far they are, and the objects of a
//! large cluster. Called by the binaries `sluice-bench-control` and `sluice-bench-traffic`.

mod figures;
mod progress;
pub mod seed;

pub use figures::{Figures, Samples};
pub use progress::Progress;
