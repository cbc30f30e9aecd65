//! What the agent has asked of the API server, and what it was answered: the server's audit log.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{ControlPlane, access::agent_user};

/// A request of the agent that the server has answered, or begun to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `list`, `watch`, `create` and so on, as the server understands it.
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// The status of the answer.
    pub status: u64,
}

/// Writes the policy: the agent's requests, without their content.
pub(super) fn write_policy(file: &Path) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": [agent_user()] }, { "level": "None" }],
    });
    fs::write(file, policy.to_string()).with_context(|| file.display().to_string())
}

impl ControlPlane {
    /// Everything that the agent has asked for, each request once, in the order of the answers.
    pub fn asked_by_agent(&self) -> Result<Vec<Asked>> {
        let log = self.log("audit");
        // No log before the first request.
        let text = fs::read_to_string(&log).unwrap_or_default();
        let mut asked = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            // A watch is answered twice: when it begins and when it ends.
            if seen.insert(event["auditID"].as_str().unwrap_or_default().to_owned()) {
                let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
                let status = event["responseStatus"]["code"].as_u64().unwrap_or_default();
                asked.push(Asked { verb: text("verb"), uri: text("requestURI"), status });
            }
        }
        Ok(asked)
    }
}
