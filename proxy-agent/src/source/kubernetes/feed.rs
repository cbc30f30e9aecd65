//! One kind of object, followed for ever: lists and watches one after another, whatever happens.
//!
//! A watch that ends is taken up where it ended. An error is told once and answered with what helps
//! against it: another server, a new list, another way of listing, or a wait. What is known stays
//! known meanwhile.

use std::time::{Duration, Instant};

use crate::{
    model::Object,
    source::{Change, Event},
};

use super::{
    access::Server,
    backoff::Backoff,
    first_lists::Context,
    follow::{Follower, Over, Stop, Way},
    lister::Convert,
    resource::Resource,
    servers::{Connection, problem},
    trouble::{Remedy, WatchError},
    wire::Wire,
};

/// How long to wait after an error: at first, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often to ask whether the server serves a kind that it did not.
const ASK_AGAIN: Duration = Duration::from_mins(10);
/// A watch that ended sooner, and told of no change, was none.
const SHORT: Duration = Duration::from_secs(1);
/// What lasted so long went well.
const STEADY: Duration = Duration::from_secs(5);
/// After so many errors in a row, what is known of versions is doubted: all is listed anew.
const DOUBT: u32 = 5;
/// After so many errors in a row, a list that is streamed is asked for in pages.
const CUT: u32 = 3;

/// Whether a cluster may do without a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

/// A kind of object.
pub(super) struct Feed<W: Wire, T: Object> {
    pub(super) resource: Resource,
    pub(super) presence: Presence,
    pub(super) convert: Convert<W::Object, T>,
    pub(super) event: fn(Change<T>) -> Event,
}

/// How things stand between questions.
struct Course {
    way: Way,
    /// Which of the resource's paths is served.
    path: usize,
    backoff: Backoff,
    /// The last error that was told.
    told: String,
    /// Which server `way` and `path` were found out with.
    server: Option<Server>,
    /// Errors in a row.
    errors: u32,
}

impl<W: Wire, T: Object> Feed<W, T> {
    /// Tells of every change, until nobody listens.
    pub(super) async fn run(self, context: Context) {
        let outlet = context.outlet.clone();
        let mut follower = Follower::new(&self, context);
        let mut course = Course {
            way: Way::Stream,
            path: 0,
            backoff: Backoff::new(WAIT.0, WAIT.1),
            told: String::new(),
            server: None,
            errors: 0,
        };
        loop {
            let wait = tokio::select! {
                wait = self.once(&mut follower, &mut course) => wait,
                () = outlet.closed() => return,
            };
            let Some(wait) = wait else { return };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = outlet.closed() => return,
            }
        }
    }

    /// Asks once, follows to the end, and says how long to wait; `None` when nobody listens.
    async fn once(&self, follower: &mut Follower<W, T>, course: &mut Course) -> Option<Duration> {
        let connection = follower.context.servers.connection().await;
        if course.server.as_ref() != Some(&connection.server) {
            // Another server may be of another version.
            (course.way, course.path) = (Way::Stream, 0);
            course.server = Some(connection.server.clone());
        }
        let path = self.resource.paths[course.path];
        let began = Instant::now();
        let result = if follower.version.is_none() && course.way == Way::Pages {
            follower.pages(&connection, path).await
        } else {
            follower.stream(&connection, path).await
        };
        let changes = std::mem::take(&mut follower.changes);
        if std::mem::take(&mut follower.progress) > 0 {
            course.errors = 0;
            course.told.clear();
            // A server that answers well and then ends it, again and again, is waited for too.
            if began.elapsed() >= STEADY {
                course.backoff.reset();
            }
        }
        let metrics = &follower.context.metrics;
        match result {
            Err(Stop::Closed) => None,
            Ok(Over::Listed) => Some(Duration::ZERO),
            Ok(over) => {
                metrics.watch_over(self.resource.kind, over.word());
                // A server that has more to tell than it can keep ends watches that are slow: to wait
                // would make this one slower still.
                let in_vain = changes == 0 && began.elapsed() < SHORT;
                Some(if in_vain { course.backoff.wait() } else { Duration::ZERO })
            }
            Err(Stop::Error(error)) => {
                metrics.watch_over(self.resource.kind, error.word());
                course.errors += 1;
                self.mend(&error, follower, course, &connection).await
            }
        }
    }

    /// Does what helps against `error`, and says how long to wait.
    async fn mend(
        &self,
        error: &WatchError,
        follower: &mut Follower<W, T>,
        course: &mut Course,
        connection: &Connection,
    ) -> Option<Duration> {
        let kind = self.resource.kind;
        let streaming = follower.version.is_none() && course.way == Way::Stream;
        let remedy = error.remedy(streaming);
        tracing::debug!(kind, ?remedy, %error, "watch");
        let mut wait = course.backoff.wait();
        match remedy {
            // No harm was done, and nothing is to be told.
            Remedy::List if follower.version.take().is_some() => return Some(wait),
            Remedy::Page => {
                tracing::info!(kind, %error, "the API server doesn't stream this list; paging");
                course.way = Way::Pages;
                return Some(Duration::ZERO);
            }
            Remedy::Unserved if course.path + 1 < self.resource.paths.len() => {
                course.path += 1;
                return Some(Duration::ZERO);
            }
            Remedy::Unserved | Remedy::Refused if self.presence == Presence::Optional => {
                // What was known of it stays.
                course.path = 0;
                follower.context.listed().await;
                wait = ASK_AGAIN;
                if remedy == Remedy::Unserved {
                    return Some(wait);
                }
            }
            Remedy::Elsewhere => follower.context.servers.failed(connection).await,
            Remedy::List | Remedy::Unserved | Remedy::Refused | Remedy::Again => {}
        }
        if remedy == Remedy::Again && course.errors >= DOUBT {
            course.errors = 0;
            follower.version = None;
        }
        if streaming && course.errors >= CUT {
            course.way = Way::Pages;
        }
        // What helps at once is not worth a word.
        if course.errors > 1 || remedy != Remedy::Elsewhere {
            self.tell(error, follower, course).await?;
        }
        Some(wait.max(error.retry_after().unwrap_or_default()))
    }

    /// Tells of `error`, unless it is what was told last.
    async fn tell(
        &self,
        error: &WatchError,
        follower: &Follower<W, T>,
        course: &mut Course,
    ) -> Option<()> {
        let reason = error.to_string();
        if course.told == reason {
            return Some(());
        }
        course.told.clone_from(&reason);
        let problem = problem(self.resource.kind, reason);
        follower.context.outlet.send(vec![Event::Problem(problem)]).await.ok()
    }
}
