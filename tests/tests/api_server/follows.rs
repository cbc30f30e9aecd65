//! An agent follows a real API server: what is created, changed and deleted there is served here.

use anyhow::{Result, ensure};
use lab::{
    AgentFlags, Lab, Wiring,
    control_plane::{ControlPlane, Settings},
};

#[test]
fn the_api_servers_own_service_is_served_with_the_rights_of_the_agents_account() -> Result<()> {
    let lab = Lab::new()?;
    let a = lab.node("node-a", Wiring::Ptp)?;
    let plane = ControlPlane::start(&lab, Settings::default())?;
    plane.api().apply(&[lab::manifest::node("node-a", &[])])?;
    let agent = a.start_agent(&AgentFlags::new().kubeconfig(plane.agent()?))?;
    let services = agent.json(&a, &["services"])?;
    let server = plane.host().addresses().v4.to_string();
    ensure!(services[0]["endpoints"][0]["address"] == server.as_str(), "{services}");
    Ok(())
}
