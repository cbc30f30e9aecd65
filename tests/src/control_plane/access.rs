//! Who may do what: the administrator, by a token that is written down, and the agent, as a service
//! account with the role that SEMANTICS §8 grants it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};

use super::Api;

/// The agent's service account.
pub const AGENT: &str = "sluice";
/// The namespace of the agent's service account.
pub const AGENT_NAMESPACE: &str = "kube-system";

const ADMINISTRATOR: &str = "lab-administrator";

/// What kubeconfigs are made of.
pub(super) struct Access {
    authority: PathBuf,
    tokens: PathBuf,
}

impl Access {
    /// Writes the administrator's token down.
    pub(super) fn make(directory: &Path, authority: PathBuf) -> Result<Self> {
        let access = Self { authority, tokens: directory.join("tokens.csv") };
        access.accept(&[])?;
        Ok(access)
    }

    /// The API server, when it is started next, knows the administrator's token, and takes `agents`
    /// for tokens of the agent.
    pub(super) fn accept(&self, agents: &[&str]) -> Result<()> {
        let mut lines = format!("{ADMINISTRATOR},admin,admin,\"system:masters\"\n");
        for token in agents {
            let user = agent_user();
            lines += &format!("{token},{user},{user}\n");
        }
        fs::write(&self.tokens, lines).with_context(|| self.tokens.display().to_string())
    }

    /// The file of tokens that the API server knows.
    pub(super) fn tokens(&self) -> &Path {
        &self.tokens
    }

    /// The administrator's kubeconfig for the server at `url`.
    pub(super) fn administrator(&self, url: &str) -> Value {
        self.kubeconfig(url, ADMINISTRATOR)
    }

    /// A kubeconfig for the server at `url`, with a token.
    pub(super) fn kubeconfig(&self, url: &str, token: &str) -> Value {
        self.kubeconfig_of(url, &json!({ "token": token }))
    }

    /// A kubeconfig for the server at `url`, with credentials.
    pub(super) fn kubeconfig_of(&self, url: &str, user: &Value) -> Value {
        let cluster = json!({ "server": url, "certificate-authority": self.authority });
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "lab", "cluster": cluster }],
            "users": [{ "name": "user", "user": user }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "user" } }],
            "current-context": "lab",
        })
    }
}

/// What the API server calls the agent.
pub(super) fn agent_user() -> String {
    format!("system:serviceaccount:{AGENT_NAMESPACE}:{AGENT}")
}

/// What the agent may do (SEMANTICS §8), and nothing else.
#[must_use]
pub fn agent_role() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": AGENT },
        "rules": [
            rule("", &["services"], &["list", "watch"]),
            rule("discovery.k8s.io", &["endpointslices"], &["list", "watch"]),
            rule("networking.k8s.io", &["servicecidrs"], &["list", "watch"]),
            rule("", &["nodes"], &["list", "watch"]),
            rule("events.k8s.io", &["events"], &["create"]),
        ],
    })
}

/// The agent's service account, with its role.
pub(super) fn agent_account() -> [Value; 3] {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": AGENT, "namespace": AGENT_NAMESPACE },
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": AGENT },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": AGENT,
        },
        "subjects": [{ "kind": "ServiceAccount", "name": AGENT, "namespace": AGENT_NAMESPACE }],
    });
    [account, agent_role(), binding]
}

/// A token of the agent's service account, as a kubelet gets it for a pod.
pub(super) fn agent_token(api: &Api) -> Result<String> {
    let path = format!("/api/v1/namespaces/{AGENT_NAMESPACE}/serviceaccounts/{AGENT}/token");
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": { "expirationSeconds": 3600 },
    });
    let answer = api.request(Method::POST, &path, "application/json", &request)?;
    Ok(answer["status"]["token"].as_str().context("the server hands out no token")?.to_owned())
}
