//! The flags that say where the agent is asked how it is, and how it reaches the cluster.
//!
//! Called by [`crate::options`].

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use http::Uri;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Flags, OptionsError, Span};
use crate::{
    checkpoint::{self, Checkpoint},
    source::kubernetes::{Access, Cluster},
};

/// Where health is told unless flags say otherwise.
const HEALTHZ: &str = "0.0.0.0:10256";
/// Where metrics are told unless flags say otherwise.
const METRICS: &str = "127.0.0.1:10249";
/// How long a change may wait for the maps unless flags say otherwise: twice kube-proxy's
/// `--iptables-sync-period`.
const MAX_LAG: Duration = Duration::from_secs(60);

/// Where and when the agent is asked how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// Where `/healthz`, `/livez` and `/readyz` are; `None` for nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// How long a change may wait for the maps before the agent counts as unhealthy.
    pub max_lag: Duration,
}

impl Surface {
    /// What `flags` say.
    pub(super) fn resolve(flags: &Flags) -> Self {
        let place = |given: Option<Place>, default: &str| {
            given.map_or_else(|| default.parse().ok(), |place| place.address)
        };
        Self {
            healthz: place(flags.healthz_bind_address, HEALTHZ),
            metrics: place(flags.metrics_bind_address, METRICS),
            max_lag: flags.max_lag.map_or(MAX_LAG, Span::get),
        }
    }
}

/// The cluster that `flags` name.
pub(super) fn cluster(flags: &Flags) -> Result<Cluster, OptionsError> {
    let given = flags.api_server.clone().unwrap_or_default();
    let servers = given.iter().map(|text| server(text)).collect::<Result<_, _>>()?;
    let access = flags.kubeconfig.clone().map_or(Access::Found, Access::Kubeconfig);
    let path = flags.checkpoint.clone().unwrap_or_else(|| checkpoint::DEFAULT_PATH.into());
    if !path.is_absolute() {
        return Err(OptionsError::Checkpoint(path));
    }
    Ok(Cluster { access, servers, checkpoint: Some(Checkpoint::new(path)) })
}

fn server(text: &str) -> Result<Uri, OptionsError> {
    let bad = || OptionsError::ApiServer(text.to_owned());
    let url: Uri = text.trim().parse().map_err(|_| bad())?;
    let schemed = matches!(url.scheme_str(), Some("https" | "http"));
    if schemed && url.authority().is_some_and(|authority| !authority.host().is_empty()) {
        Ok(url)
    } else {
        Err(bad())
    }
}

/// A place to listen at, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    address: Option<SocketAddr>,
}

/// A text that is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen at: write ADDRESS:PORT, as in 0.0.0.0:10256 or [::1]:10249, or off"
)]
pub struct PlaceError(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PlaceError(text.to_owned());
        if text.trim() == "off" {
            return Ok(Self { address: None });
        }
        let address: SocketAddr = text.trim().parse().map_err(|_| bad())?;
        let usable = address.port() != 0 && !address.ip().is_multicast();
        if usable { Ok(Self { address: Some(address) }) } else { Err(bad()) }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::{Place, Surface, cluster};
    use crate::{options::Flags, source::kubernetes::Access};

    #[test]
    fn defaults_are_those_of_kube_proxy() {
        let surface = Surface::resolve(&Flags::default());
        assert_eq!(surface.healthz, Some("0.0.0.0:10256".parse().unwrap()));
        assert_eq!(surface.metrics, Some("127.0.0.1:10249".parse().unwrap()));
        assert_eq!(surface.max_lag, Duration::from_secs(60));
    }

    #[test]
    fn a_place_is_an_address_with_a_port_or_off() {
        let off: Place = "off".parse().unwrap();
        let flags = Flags { healthz_bind_address: Some(off), ..Flags::default() };
        assert_eq!(Surface::resolve(&flags).healthz, None);
        assert_eq!("[::]:1".parse::<Place>().unwrap().to_string(), "[::]:1");
        for text in ["", "10256", "0.0.0.0", "localhost:80", "0.0.0.0:0", "224.0.0.1:80"] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("10256"), "{error}");
        }
    }

    #[test]
    fn api_servers_are_urls() {
        let flags = |servers: &[&str]| Flags {
            api_server: Some(servers.iter().map(|&text| text.to_owned()).collect()),
            kubeconfig: Some(PathBuf::from("/etc/k")),
            ..Flags::default()
        };
        let found = cluster(&flags(&["https://192.0.2.1:6443", " https://[2001:db8::1]:6443"]));
        let found = found.unwrap();
        assert_eq!(found.servers.len(), 2);
        assert_eq!(found.access, Access::Kubeconfig(PathBuf::from("/etc/k")));
        for text in ["192.0.2.1:6443", "192.0.2.1", "ftp://a", "https://", ""] {
            let error = cluster(&flags(&[text])).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--api-server {text:?}")), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_has_an_absolute_path() {
        let flags = Flags { checkpoint: Some(PathBuf::from("a.json")), ..Flags::default() };
        assert!(cluster(&flags).unwrap_err().to_string().starts_with("--checkpoint a.json"));
    }
}
