//! Which API server is asked: those that were configured, those that the cluster itself names, and
//! those of last time, whichever answers.
//!
//! All feeds share one client. When it fails them they say so, and whoever asks next looks for
//! another server; the others wait for what is found. A cluster needs no working Service for this:
//! once the endpoints of `default/kubernetes` are known they are candidates themselves.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use kube::{Client, Config};
use tokio::sync::Mutex;

use crate::{
    checkpoint::Checkpoint,
    metrics::Metrics,
    model::{Problem, Trouble},
    source::{Event, Outlet},
};

use super::{
    Cluster, KubernetesError,
    access::{self, Access, Server},
    backoff::Backoff,
    learned::Learned,
};

/// How long a server may take to say whether it is ready.
const PROBE: Duration = Duration::from_secs(4);
/// How long a candidate is ahead of the next one.
const HEAD_START: Duration = Duration::from_millis(200);
/// A client is made anew after so long: certificates and tokens may have changed.
const REFRESH: Duration = Duration::from_mins(10);
/// How long to wait when no server answers: at first, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The API servers of a cluster.
#[derive(Clone)]
pub(super) struct Servers {
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    configured: Vec<Uri>,
    checkpoint: Option<Checkpoint>,
    outlet: Outlet,
    metrics: Metrics,
    learned: SyncMutex<(Learned, Vec<SocketAddr>)>,
    state: Mutex<State>,
}

struct State {
    connection: Option<Connection>,
    selected: u64,
    backoff: Backoff,
    told: String,
}

/// A client, and whose.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) server: Server,
    made: Instant,
    /// Which selection it came from.
    pub(super) selection: u64,
}

/// What a server says when asked whether it is ready.
enum Answer {
    Ready,
    /// It answers, but not well.
    Unready(String),
    Silent(String),
}

impl Servers {
    pub(super) fn new(cluster: Cluster, outlet: Outlet, metrics: Metrics) -> Self {
        let Cluster { access, servers, checkpoint } = cluster;
        let remembered = checkpoint.as_ref().map(Checkpoint::read).transpose();
        let remembered = remembered.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        Self {
            shared: Arc::new(Shared {
                access,
                configured: servers,
                checkpoint,
                outlet,
                metrics,
                learned: SyncMutex::new((Learned::default(), remembered.unwrap_or_default())),
                state: Mutex::new(State {
                    connection: None,
                    selected: 0,
                    backoff: Backoff::new(WAIT.0, WAIT.1),
                    told: String::new(),
                }),
            }),
        }
    }

    /// A client of a server that answers, when there is one.
    pub(super) async fn connection(&self) -> Connection {
        let mut state = self.shared.state.lock().await;
        loop {
            match &state.connection {
                Some(connection) if connection.made.elapsed() < REFRESH => {
                    return connection.clone();
                }
                Some(connection) => {
                    let connection = self.refreshed(connection).await;
                    state.connection = Some(connection.clone());
                    return connection;
                }
                None => {}
            }
            match self.select().await {
                Ok((server, client)) => {
                    state.selected += 1;
                    state.backoff.reset();
                    state.told.clear();
                    self.shared.metrics.api_server_selected(&server.url.to_string());
                    tracing::info!(server = %server.url, "API server");
                    let (made, selection) = (Instant::now(), state.selected);
                    state.connection = Some(Connection { client, server, made, selection });
                }
                Err(reason) => {
                    if state.told != reason {
                        state.told.clone_from(&reason);
                        let problem = problem("API servers", reason);
                        // Who doesn't listen doesn't need to know.
                        let _ = self.shared.outlet.send(vec![Event::Problem(problem)]).await;
                    }
                    let wait = state.backoff.wait();
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// `connection` has failed: another one is to be found, unless that was done already.
    pub(super) async fn failed(&self, connection: &Connection) {
        let mut state = self.shared.state.lock().await;
        let current = state.connection.as_ref().map(|current| current.selection);
        if current == Some(connection.selection) {
            state.connection = None;
        }
    }

    /// Takes in what is told: the cluster's own servers may be in it.
    pub(super) fn see(&self, events: &[Event]) {
        let news = {
            let mut known = self.shared.learned.lock().unwrap_or_else(PoisonError::into_inner);
            let mut news = None;
            for event in events {
                news = known.0.see(event).or(news);
            }
            if let Some(servers) = &news {
                known.1.clone_from(servers);
            }
            news
        };
        let (Some(servers), Some(checkpoint)) = (news, self.shared.checkpoint.clone()) else {
            return;
        };
        tokio::task::spawn_blocking(move || match checkpoint.write(&servers) {
            Ok(()) => tracing::debug!(servers = servers.len(), "API servers written down"),
            Err(error) => tracing::warn!("{error}; a start without kube-proxy may need it"),
        });
    }

    /// The same server with the credentials of now; the old client when they can't be read.
    async fn refreshed(&self, old: &Connection) -> Connection {
        let made = Instant::now();
        let client = match self.config().await {
            Ok(config) => access::client(config, &old.server).await,
            Err(error) => Err(error),
        };
        let client = client.unwrap_or_else(|error| {
            tracing::warn!("credentials can't be read anew, the old ones are used: {error}");
            old.client.clone()
        });
        Connection { client, made, ..old.clone() }
    }

    /// What is configured now.
    pub(super) async fn config(&self) -> Result<Config, KubernetesError> {
        let configured = &self.shared.configured;
        let config = self.shared.access.config(!configured.is_empty()).await;
        // Nothing is to be proven to a server without TLS.
        let open = |url: &Uri| url.scheme_str() == Some("http");
        match (config, configured.first()) {
            (Err(KubernetesError::NoConfig(_)), Some(first)) if configured.iter().all(open) => {
                Ok(Config::new(first.clone()))
            }
            (config, _) => config,
        }
    }

    /// The first candidate that is ready; else one that answers. Each has a head start over the
    /// next.
    async fn select(&self) -> Result<(Server, Client), String> {
        let config = self.config().await.map_err(|error| error.to_string())?;
        let candidates = self.candidates(&config.cluster_url);
        let mut asked: FuturesUnordered<_> = candidates
            .into_iter()
            .enumerate()
            .map(|(index, server)| {
                let config = config.clone();
                async move {
                    let ahead = u32::try_from(index).unwrap_or(u32::MAX);
                    tokio::time::sleep(HEAD_START.saturating_mul(ahead)).await;
                    match access::client(config, &server).await {
                        Ok(client) => {
                            let answer = ask(&client).await;
                            (index, server, Some(client), answer)
                        }
                        Err(error) => (index, server, None, Answer::Silent(error.to_string())),
                    }
                }
            })
            .collect();
        let mut unready: Option<(usize, Server, Client)> = None;
        let mut silent = Vec::new();
        while let Some((index, server, client, answer)) = asked.next().await {
            match (answer, client) {
                (Answer::Ready, Some(client)) => return Ok((server, client)),
                (Answer::Unready(reason), Some(client)) => {
                    tracing::debug!(server = %server.url, reason, "API server is not ready");
                    if unready.as_ref().is_none_or(|(best, ..)| index < *best) {
                        unready = Some((index, server, client));
                    }
                }
                (Answer::Silent(reason) | Answer::Unready(reason), _) => {
                    silent.push((index, format!("{}: {reason}", server.url)));
                }
                (Answer::Ready, None) => {}
            }
        }
        silent.sort();
        let silent: Vec<String> = silent.into_iter().map(|(_, reason)| reason).collect();
        unready.map(|(_, server, client)| (server, client)).ok_or_else(|| silent.join("; "))
    }

    /// Those that were named, or the one of the configuration, and then those that were learned.
    fn candidates(&self, default: &Uri) -> Vec<Server> {
        let configured = &self.shared.configured;
        let named = if configured.is_empty() { std::slice::from_ref(default) } else { configured };
        let named: Vec<Server> =
            named.iter().map(|url| Server { url: url.clone(), learned: false }).collect();
        let scheme = named[0].url.scheme_str().unwrap_or("https");
        let learned = self.shared.learned.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let learned: Vec<Server> = learned
            .into_iter()
            .filter(|address| {
                let address = address.to_string();
                !named.iter().any(|server| server.url.authority().is_some_and(|a| *a == *address))
            })
            .filter_map(|address| format!("{scheme}://{address}").parse().ok())
            .map(|url| Server { url, learned: true })
            .collect();
        named.into_iter().chain(learned).collect()
    }
}

async fn ask(client: &Client) -> Answer {
    let request = match http::Request::get("/readyz").body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return Answer::Silent(error.to_string()),
    };
    match tokio::time::timeout(PROBE, client.request_text(request)).await {
        Ok(Ok(_)) => Answer::Ready,
        // Who isn't allowed to ask has been answered all the same.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => Answer::Ready,
        Ok(Err(kube::Error::Api(status))) => Answer::Unready(status.to_string()),
        Ok(Err(error)) => Answer::Silent(reason(&error)),
        Err(_) => Answer::Silent(format!("no answer within {PROBE:?}")),
    }
}

/// An error in all its words: those of the libraries say little without what is behind them.
pub(super) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

/// A problem with the API server.
pub(super) fn problem(what: &str, reason: String) -> Problem {
    Problem {
        location: None,
        object: None,
        field: String::new(),
        value: what.to_owned(),
        trouble: Trouble::Api { reason: reason.into() },
    }
}
