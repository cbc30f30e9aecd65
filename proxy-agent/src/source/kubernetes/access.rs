//! How to speak with an API server: credentials, certificates, connections.
//!
//! Read anew for every client, so that tokens, certificates and plugins may change. Which server is
//! asked is [`super::servers`]' business.

use std::{path::PathBuf, time::Duration};

use http::{HeaderValue, Uri, header::USER_AGENT};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder};

use super::KubernetesError;

/// What every API server's certificate says, whatever its addresses.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// A connection that takes longer is no connection.
const CONNECT: Duration = Duration::from_secs(5);
/// When nothing comes for so long, the peer's kernel is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long apart, and how often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// What was sent and isn't acknowledged for so long won't be.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Making a client may run a plugin.
const MAKE: Duration = Duration::from_secs(30);

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A kubeconfig.
    Kubeconfig(PathBuf),
    /// The kubeconfig that `KUBECONFIG` names, or the service account of this pod.
    Found,
}

/// A server as a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) url: Uri,
    /// Whether its address was learned: then its certificate is looked at for the name that all API
    /// servers have.
    pub(super) learned: bool,
}

impl Access {
    /// What is configured now. Where no address is, `elsewhere` says that it will come from
    /// somewhere else.
    pub(super) async fn config(&self, elsewhere: bool) -> Result<Config, KubernetesError> {
        let path = match self {
            Self::Kubeconfig(path) => path,
            Self::Found => {
                return match Config::infer().await {
                    Ok(config) => Ok(config),
                    // A service account without the environment of a pod.
                    Err(error) if elsewhere => Config::incluster_dns().or(Err(error.into())),
                    Err(error) => Err(error.into()),
                };
            }
        };
        let kubeconfig = Kubeconfig::read_from(path)?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }
}

/// A client of `server`.
pub(super) async fn client(mut config: Config, server: &Server) -> Result<Client, KubernetesError> {
    config.cluster_url = server.url.clone();
    if server.learned && config.tls_server_name.is_none() {
        config.tls_server_name = Some(SERVER_NAME.to_owned());
    }
    let agent = concat!("sluice/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    // It reads files and may run a plugin.
    let made = tokio::task::spawn_blocking(move || make(&config));
    match tokio::time::timeout(MAKE, made).await {
        Ok(Ok(client)) => Ok(client?),
        Ok(Err(panicked)) => Err(KubernetesError::Task(panicked)),
        Err(_) => Err(KubernetesError::Plugin { after: MAKE }),
    }
}

/// As [`Client::try_from`], but a dead peer is noticed, and errors are told by us alone.
fn make(config: &Config) -> kube::Result<Client> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let https = config.rustls_https_connector_with_connector(http)?;
    let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}
