//! The agent dies and is started again, under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::control_plane::Settings;

use crate::site::Site;

const TIMES: usize = 10;

#[test]
fn killing_the_agent_ten_times_under_load_fails_not_one_connection() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let web = site.publish("web", 10, &[&site.near, &site.far])?;
    let mut agent = site.start_agent()?;
    let (mut long_lived, _) = site.client.tcp(web.at(lab::Family::V4)).open()?;
    let (mut crowd, _) = site.client.crowd(web.at(lab::Family::V6), 50, 2000)?;
    for time in 0..TIMES {
        let load = site.load(&web, Duration::from_secs(2))?;
        agent.kill()?;
        agent = site.start_agent()?;
        let answer = load.finish()?;
        ensure!(answer.failures.is_empty(), "restart {time}: {:?}", answer.failures);
        ensure!(answer.endpoints.len() > 20, "restart {time}: {}", answer.endpoints.len());
        long_lived.ask()?;
    }
    let answer = crowd.ask()?;
    ensure!(answer.failures.is_empty(), "{:?}", answer.failures);
    drop(agent);
    Ok(())
}
