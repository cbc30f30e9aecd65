//! What goes wrong between the agent and an API server, and what is to be done about it.
//!
//! Called by [`super::feed`].

use std::{io, time::Duration};

use kube::core::response::Status;

use super::servers::reason;

/// Why a list or a watch ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The client's words.
    #[error("{}", reason(.0))]
    Client(#[from] kube::Error),
    /// The server's, within a watch.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// The connection ended within a watch.
    #[error("the connection was cut: {0}")]
    Cut(#[source] io::Error),
    /// An object isn't what it should be.
    #[error("an object can't be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// It doesn't answer.
    #[error("no answer within {after:?}")]
    NoAnswer {
        /// How long was waited.
        after: Duration,
    },
    /// It sends a list, but not to its end.
    #[error("a list that was begun went silent for {after:?}")]
    ListStalled {
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended within a list.
    #[error("the connection ended within a list")]
    ListCut,
    /// A list without a version can't be followed.
    #[error("a list came without metadata.resourceVersion")]
    NoVersion,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// What changed meanwhile is no longer known: list anew.
    List,
    /// This server doesn't stream lists: ask for pages.
    Page,
    /// The server doesn't have this kind.
    Unserved,
    /// The server won't tell us.
    Refused,
    /// Ask the same server again.
    Again,
    /// Look for another server, or for the same one with new credentials.
    Elsewhere,
}

impl WatchError {
    /// What to do, where `streaming` says that a list was being streamed.
    pub(super) fn remedy(&self, streaming: bool) -> Remedy {
        let status = match self {
            Self::Client(kube::Error::Api(status)) | Self::Status(status) => status,
            Self::Client(kube::Error::SerdeError(_)) | Self::Unreadable(_) | Self::NoVersion => {
                return Remedy::Again;
            }
            Self::ListStalled { .. } if streaming => return Remedy::Page,
            Self::Client(_)
            | Self::Cut(_)
            | Self::NoAnswer { .. }
            | Self::ListStalled { .. }
            | Self::ListCut => {
                return Remedy::Elsewhere;
            }
        };
        match status.code {
            410 => Remedy::List,
            401 => Remedy::Elsewhere,
            403 => Remedy::Refused,
            404 => Remedy::Unserved,
            429 => Remedy::Again,
            // Whatever is the matter: what it says of pages counts. Servers have many words for
            // that they, or their etcd, can't stream.
            _ if streaming => Remedy::Page,
            // A server that is behind the one that was asked before.
            504 if status.reason == "Timeout" => Remedy::Again,
            500.. => Remedy::Elsewhere,
            _ => Remedy::Again,
        }
    }

    /// A word for the metric.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Client(kube::Error::Api(status)) | Self::Status(status) => match status.code {
                410 => "expired",
                401 | 403 => "refused",
                404 => "unserved",
                429 => "throttled",
                _ => "status",
            },
            Self::Client(_) => "connection",
            Self::Unreadable(_) => "unreadable",
            Self::NoAnswer { .. } => "no-answer",
            Self::ListStalled { .. } => "stalled",
            Self::Cut(_) | Self::ListCut => "cut",
            Self::NoVersion => "no-version",
        }
    }

    /// What the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        const MOST: u64 = 30;
        let (Self::Client(kube::Error::Api(status)) | Self::Status(status)) = self else {
            return None;
        };
        let seconds = u64::from(status.details.as_ref()?.retry_after_seconds);
        (seconds > 0).then(|| Duration::from_secs(seconds.min(MOST)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::response::{Status, StatusDetails};

    use super::{Remedy, WatchError};

    fn status(code: u16, reason: &str) -> WatchError {
        let reason = reason.to_owned();
        WatchError::Status(Box::new(Status { code, reason, ..Status::default() }))
    }

    #[test]
    fn each_answer_has_its_remedy() {
        let remedy = |code, streaming| status(code, "").remedy(streaming);
        assert_eq!(remedy(410, false), Remedy::List);
        assert_eq!(remedy(422, true), Remedy::Page);
        assert_eq!(remedy(422, false), Remedy::Again);
        assert_eq!(remedy(404, false), Remedy::Unserved);
        assert_eq!(remedy(403, true), Remedy::Refused);
        assert_eq!(remedy(401, false), Remedy::Elsewhere);
        assert_eq!(remedy(500, true), Remedy::Page);
        assert_eq!(remedy(500, false), Remedy::Elsewhere);
        assert_eq!(remedy(429, true), Remedy::Again);
        assert_eq!(status(504, "Timeout").remedy(false), Remedy::Again);
        let stalled = WatchError::ListStalled { after: Duration::from_secs(1) };
        assert_eq!(stalled.remedy(true), Remedy::Page);
        assert_eq!(stalled.remedy(false), Remedy::Elsewhere);
    }

    #[test]
    fn a_server_that_asks_for_patience_gets_some() {
        let details = serde_json::from_value(serde_json::json!({"retryAfterSeconds": 3}));
        let details: StatusDetails = details.unwrap();
        let status = Status { code: 429, details: Some(details), ..Status::default() };
        let error = WatchError::Status(Box::new(status));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(WatchError::ListCut.retry_after(), None);
    }
}
