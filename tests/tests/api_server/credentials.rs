//! Who the agent is: certificates, tokens in files and plugins, as a kubeconfig has them; and that
//! what replaces them is used.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use lab::{AgentFlags, control_plane::Settings};
use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn a_certificate_says_who_the_agent_is() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let [certificate, key] = site.plane.agent_certificate();
    follows(&site, &json!({ "client-certificate": certificate, "client-key": key }))
}

#[test]
fn a_token_in_a_file_is_used_and_so_is_the_one_that_replaces_it() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let file = site.a.manifests().with_file_name("agent.token");
    rotates(site, &json!({ "tokenFile": file }), |token| Ok(fs::write(&file, token)?))
}

#[test]
fn a_plugin_is_asked_for_a_token_and_asked_again_when_that_is_refused() -> Result<()> {
    let site = Site::new(Settings::default())?;
    let file: PathBuf = site.a.manifests().with_file_name("agent.credential");
    let plugin = json!({
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "cat",
            "args": [file],
            "interactiveMode": "Never",
        },
    });
    rotates(site, &plugin, |token| {
        let credential = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": { "token": token },
        });
        Ok(fs::write(&file, credential.to_string())?)
    })
}

/// An agent with these credentials follows the API server.
fn follows(site: &Site, user: &Value) -> Result<()> {
    let web = site.publish("web", 10, &[&site.near])?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent_with(user)?);
    let _agent = site.a.start_agent(&flags)?;
    site.assert_answers(&web, &site.near)?;
    site.point(&web, &[&site.far])?;
    site.until_answers(&web, &site.far)?;
    // It was taken for the account, with the account's rights and no others.
    let asked = site.plane.asked_by_agent()?;
    ensure!(asked.iter().any(|it| it.verb == "watch" && it.status == 200), "{asked:?}");
    Ok(())
}

/// Likewise, and it goes on when the API server knows another token only.
fn rotates(mut site: Site, user: &Value, write: impl Fn(&str) -> Result<()>) -> Result<()> {
    const TOKENS: [&str; 2] = ["the-first-token", "the-second-token"];
    site.plane.accept_agent_tokens(&TOKENS[..1])?;
    site.plane.kill_api_server()?;
    site.plane.start_api_server()?;
    write(TOKENS[0])?;
    let web = site.publish("web", 10, &[&site.near])?;
    let flags = AgentFlags::new().kubeconfig(site.plane.agent_with(user)?);
    let _agent = site.a.start_agent(&flags)?;
    site.assert_answers(&web, &site.near)?;

    write(TOKENS[1])?;
    site.plane.accept_agent_tokens(&TOKENS[1..])?;
    site.plane.kill_api_server()?;
    site.plane.start_api_server()?;
    site.point(&web, &[&site.far])?;
    let took = site.until_answers(&web, &site.far)?;
    println!("the new token is used after {took:?}");
    Ok(())
}
