//! Notices to the owners of Services, published as Events of the API (`kubectl describe service`).
//!
//! At a pace that no API server minds. What can't be published is logged and forgotten: an Event is
//! a courtesy, the log and `sluice status` have it too. Permission needed: create and patch of
//! `events.events.k8s.io`, and the list of Services that the agent has anyway.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::{
    Api, Client,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::{
    events::{Notice, Notices},
    metrics::Metrics,
};

use super::{
    backoff::Backoff,
    servers::{Servers, reason},
};

/// One notice may follow another after so long, once the first [`BURST`] are out.
const PACE: Duration = Duration::from_secs(5);
/// How many may go out at once.
const BURST: u32 = 25;
/// A notice that takes longer is given up.
const ANSWER: Duration = Duration::from_secs(15);
/// The API's limit for a note.
const NOTE: usize = 1024;
/// Who says it.
const CONTROLLER: &str = "sluice";
/// How often a notice is tried.
const ATTEMPTS: usize = 3;

/// Publishes `notices` for ever.
pub(super) async fn publish(
    servers: &Servers,
    node_name: &str,
    mut notices: Notices,
    metrics: &Metrics,
) {
    let mut recorder: Option<(u64, Client, Recorder)> = None;
    let mut pace = Pace::new();
    let mut told = String::new();
    while let Some(notice) = notices.next().await {
        pace.wait().await;
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        for attempt in 1..=ATTEMPTS {
            let connection = servers.connection().await;
            if recorder.as_ref().is_none_or(|(selection, ..)| *selection != connection.selection) {
                let reporter =
                    Reporter { controller: CONTROLLER.into(), instance: Some(node_name.into()) };
                let client = connection.client.clone();
                let new = Recorder::new(client.clone(), reporter);
                recorder = Some((connection.selection, client, new));
            }
            let Some((_, client, recorder)) = &recorder else { continue };
            let error = match tokio::time::timeout(ANSWER, send(client, recorder, &notice)).await {
                Ok(Ok(())) => {
                    metrics.notice("published");
                    break;
                }
                Ok(Err(error)) => reason(&error),
                Err(_) => format!("no answer within {ANSWER:?}"),
            };
            if attempt < ATTEMPTS {
                tokio::time::sleep(backoff.wait()).await;
                continue;
            }
            metrics.notice("failed");
            if told != error {
                tracing::warn!(service = %notice.service, "Event {} not published: {error}", notice.reason.name());
                told = error;
            }
        }
    }
    // Nobody has anything to tell any more. That ends nothing else.
    std::future::pending::<()>().await;
}

async fn send(client: &Client, recorder: &Recorder, notice: &Notice) -> kube::Result<()> {
    let (namespace, name) = (&*notice.service.namespace, &*notice.service.name);
    // Who describes a Service asks for Events by its uid, which we don't keep.
    let services: Api<PartialObjectMeta<Service>> = Api::namespaced(client.clone(), namespace);
    let one = ListParams::default().fields(&format!("metadata.name={name}"));
    let Some(service) = services.list(&one).await?.items.pop() else { return Ok(()) };
    let regarding = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Service".into()),
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        uid: service.metadata.uid,
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: notice.reason.name().into(),
        note: Some(shortened(&notice.note)),
        action: "Program".into(),
        secondary: None,
    };
    recorder.publish(&event, &regarding).await
}

fn shortened(note: &str) -> String {
    const MORE: &str = "…";
    if note.len() <= NOTE {
        return note.to_owned();
    }
    let mut end = NOTE - MORE.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &note[..end])
}

/// So many at once, and then one after another.
struct Pace {
    left: u32,
    since: tokio::time::Instant,
}

impl Pace {
    fn new() -> Self {
        Self { left: BURST, since: tokio::time::Instant::now() }
    }

    async fn wait(&mut self) {
        loop {
            let passed = self.since.elapsed();
            let more = u32::try_from(passed.as_nanos() / PACE.as_nanos()).unwrap_or(BURST);
            if more > 0 {
                self.left = self.left.saturating_add(more).min(BURST);
                self.since += PACE * more;
            }
            if let Some(left) = self.left.checked_sub(1) {
                self.left = left;
                return;
            }
            tokio::time::sleep_until(self.since + PACE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, PACE, Pace, shortened};

    #[test]
    fn a_long_note_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ä".repeat(2000));
        assert!(cut.len() <= 1024 && cut.ends_with("ä…"), "{}", cut.len());
    }

    #[tokio::test]
    async fn a_burst_goes_out_at_once_and_the_rest_waits() {
        let mut pace = Pace::new();
        for _ in 0..BURST {
            pace.wait().await;
        }
        let more = tokio::time::timeout(PACE / 50, pace.wait()).await;
        assert!(more.is_err(), "no token is left");
        pace.since -= PACE * 2;
        pace.wait().await;
        assert_eq!(pace.left, 1);
    }
}
