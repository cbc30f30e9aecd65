//! Notices to the owners of Services, published as Events of the API (`kubectl describe service`).
//!
//! At a pace that no API server minds. What can't be published is logged and forgotten: an Event is
//! a courtesy, the log and `sluice status` have it too. Permission needed: create of
//! `events.events.k8s.io`, and the list of Services that the agent has anyway.
//!
//! Not kube-rs' recorder: it takes two Events of a Service with one reason for one, and publishes the
//! text of the first. What is repeated is known to [`crate::events`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Service},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    core::{ObjectMeta, PartialObjectMeta},
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
/// The API's limit for the name of who says it.
const INSTANCE: usize = 128;
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
    let mut pace = Pace::new();
    let mut told = String::new();
    while let Some(notice) = notices.next().await {
        pace.wait().await;
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        for attempt in 1..=ATTEMPTS {
            let connection = servers.connection().await;
            let sent = send(&connection.client, node_name, &notice);
            let error = match tokio::time::timeout(ANSWER, sent).await {
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

async fn send(client: &Client, node_name: &str, notice: &Notice) -> kube::Result<()> {
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
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let event = event(notice, regarding, node_name, Timestamp::now());
    events.create(&PostParams::default(), &event).await?;
    Ok(())
}

/// `notice` as an object of the API: a new one for each. `now` makes its name its own.
fn event(notice: &Notice, regarding: ObjectReference, node_name: &str, now: Timestamp) -> Event {
    let (namespace, name) = (&*notice.service.namespace, &*notice.service.name);
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        type_: Some("Warning".into()),
        reason: Some(notice.reason.name().into()),
        note: Some(shortened(&notice.note)),
        action: Some("Program".into()),
        regarding: Some(regarding),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(node_name.chars().take(INSTANCE).collect()),
        ..Event::default()
    }
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
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::{BURST, PACE, Pace, event, shortened};
    use crate::{
        events::{Notice, Reason},
        model::NamespacedName,
    };

    #[test]
    fn each_notice_is_an_event_of_its_own_as_the_api_wants_it() {
        let made = |note: &str, nanosecond| {
            let notice = Notice {
                service: NamespacedName::new("shop", "web"),
                reason: Reason::InvalidField,
                note: note.to_owned(),
            };
            let now = Timestamp::from_nanosecond(nanosecond).unwrap();
            event(&notice, ObjectReference::default(), &"n".repeat(200), now)
        };
        let (first, second) = (made("a", 255), made("b", 256));
        assert_eq!(first.metadata.name.as_deref(), Some("web.ff"));
        assert_eq!(second.metadata.name.as_deref(), Some("web.100"));
        assert_eq!((first.note.as_deref(), second.note.as_deref()), (Some("a"), Some("b")));
        assert_eq!(first.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(first.reason.as_deref(), Some("InvalidField"));
        assert_eq!(first.reporting_instance.map(|name| name.len()), Some(128));
        assert!(first.event_time.is_some() && first.action.is_some() && first.type_.is_some());
    }

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
