//! The substitute for `SO_NETNS_COOKIE`, beside the kernel's own answer where it has one.

use std::os::fd::AsFd as _;

use anyhow::Result;
use proxy_agent::{
    datapath::netns_cookie::learn,
    host::{cgroup, netns},
};

#[test]
fn a_program_reads_the_cookie_that_the_kernel_tells() -> Result<()> {
    let root = cgroup::open(&cgroup::find()?)?;
    let learned = learn(root.as_fd())?;
    assert_eq!(learned, learn(root.as_fd())?, "a namespace keeps its cookie");
    if let Ok(told) = netns::cookie() {
        assert_eq!(learned, told);
    }
    Ok(())
}
