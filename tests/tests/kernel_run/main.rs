//! The programs themselves, run by the kernel packet by packet. What each packet ought to become is
//! told in `proxy-ebpf/tests/stories`; here the kernel must do the same, byte for byte. And maps of the
//! kernel under a cluster that is larger than they are.

mod byte_exact;
mod choices;
mod choosing;
mod differential;
mod explained;
mod generator;
mod netns_cookie;
mod outside;
mod recording;
mod scale;
mod state;
mod ticks;
mod world;

/// Tells each story for both families.
macro_rules! for_both_families {
    ($($story:ident)*) => {
        mod v4 {
            $(#[test] fn $story() { super::$story::<proxy_common::V4>().unwrap(); })*
        }
        mod v6 {
            $(#[test] fn $story() { super::$story::<proxy_common::V6>().unwrap(); })*
        }
    };
}
use for_both_families;
