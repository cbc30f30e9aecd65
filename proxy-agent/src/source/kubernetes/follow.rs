//! One list or one watch of one kind, to its end.
//!
//! Whether the list comes as a stream or in pages, what it told reaches the control plane when it is
//! complete, in one batch; what a watch tells, at once. When to ask again, and whom, is
//! [`super::feed`]'s business.

use std::time::Instant;

use futures::{AsyncBufReadExt, StreamExt};
use kube::core::{WatchEvent, response::Status};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    model::Object,
    source::{Batch, Closed, Event},
};

use super::{
    feed::Feed,
    first_lists::{Context, Patience},
    lister::{Lister, Told},
    resource::Resource,
    servers::{Connection, problem},
    trouble::WatchError,
    wire::Wire,
};

/// Changes that are ready at once are told at once, up to so many.
const BATCH: usize = 1024;
/// The annotation of the bookmark that ends a list.
const LIST_END: &str = "k8s.io/initial-events-end";

/// How lists come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the beginning of a watch.
    Stream,
    /// Page by page.
    Pages,
}

impl Way {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Pages => "pages",
        }
    }
}

/// Why a watch is over although nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The server ended it.
    Ended,
    /// Nothing came for too long.
    Silent,
    /// A list in pages is complete; nothing is watched yet.
    Listed,
}

/// Why there is no more to do.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something went wrong.
    Error(WatchError),
    /// Nobody listens.
    Closed,
}

impl<E: Into<WatchError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Over {
    /// A word for the metric.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Listed => "listed",
        }
    }
}

/// One kind of object, as far as it is known.
pub(super) struct Follower<W: Wire, T: Object> {
    pub(super) context: Context,
    resource: Resource,
    lister: Lister<W::Object, T>,
    /// Up to where everything was told; `None` before a list.
    pub(super) version: Option<String>,
    /// What was told since somebody asked, bookmarks included.
    pub(super) progress: u64,
    /// Changes among it.
    pub(super) changes: u64,
}

#[derive(Deserialize)]
struct Page<W> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<W>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl<W: Wire, T: Object> Follower<W, T> {
    /// Nothing is known yet.
    pub(super) fn new(feed: &Feed<W, T>, context: Context) -> Self {
        Self {
            context,
            resource: feed.resource.clone(),
            lister: Lister::new(feed.convert, feed.event),
            version: None,
            progress: 0,
            changes: 0,
        }
    }

    /// Lists in pages.
    pub(super) async fn pages(
        &mut self,
        connection: &Connection,
        path: &str,
    ) -> Result<Over, Stop> {
        self.take(vec![Told::Begun], Instant::now()).await?;
        let (mut token, mut whole) = (None, true);
        loop {
            let request = self.resource.page(path, token)?;
            let text = self.answer(connection.client.request_text(request)).await?;
            let page: Page<W> = match serde_json::from_str(&text) {
                Ok(page) => page,
                Err(_) => {
                    let (page, unreadable) = parse_one_by_one(&text)?;
                    whole &= unreadable.is_none();
                    self.tell_unreadable(unreadable).await?;
                    page
                }
            };
            let items = page.items.into_iter().flatten();
            let told: Vec<Told<W>> = items.map(Told::Listed).collect();
            self.take(told, Instant::now()).await?;
            token = page.metadata.token.filter(|token| !token.is_empty());
            if token.is_none() {
                let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or(WatchError::NoVersion)?;
                self.complete(Way::Pages, whole, version).await?;
                return Ok(Over::Listed);
            }
        }
    }

    /// Watches from where everything is known; before a list, has the list streamed first.
    pub(super) async fn stream(
        &mut self,
        connection: &Connection,
        path: &str,
    ) -> Result<Over, Stop> {
        let request = self.resource.watch(path, self.version.as_deref())?;
        let mut listing = self.version.is_none();
        let mut whole = true;
        let body = self.answer(connection.client.request_stream(request)).await?;
        let mut lines = std::pin::pin!(body.lines().ready_chunks(BATCH));
        if listing {
            self.take(vec![Told::Begun], Instant::now()).await?;
        }
        loop {
            let Patience { list_silence, watch_silence, .. } = self.context.patience;
            let silence = if listing { list_silence } else { watch_silence };
            let chunk = tokio::select! {
                chunk = tokio::time::timeout(silence, lines.next()) => chunk,
                () = self.context.outlet.closed() => return Err(Stop::Closed),
            };
            let seen = Instant::now();
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) if listing => return Err(WatchError::ListCut.into()),
                Ok(None) => return Ok(Over::Ended),
                Err(_) if listing => {
                    return Err(WatchError::ListStalled { after: silence }.into());
                }
                Err(_) => return Ok(Over::Silent),
            };
            let mut told: Vec<Told<W>> = Vec::with_capacity(chunk.len());
            for line in chunk {
                match line.map_err(WatchError::Cut).and_then(|line| parse(&line)) {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) if listing => {
                        told.push(Told::Listed(object));
                    }
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                        self.up_to(object.metadata().version());
                        told.push(Told::Changed(object));
                    }
                    Ok(WatchEvent::Deleted(object)) => {
                        if !listing {
                            self.up_to(object.metadata().version());
                        }
                        told.push(Told::Gone(object));
                    }
                    Ok(WatchEvent::Bookmark(bookmark)) => {
                        self.progress += 1;
                        let version = bookmark.metadata.resource_version;
                        if !listing {
                            self.up_to(Some(&version));
                        } else if bookmark.metadata.annotations.contains_key(LIST_END) {
                            self.take(std::mem::take(&mut told), seen).await?;
                            self.complete(Way::Stream, whole, version).await?;
                            listing = false;
                        }
                    }
                    Ok(WatchEvent::Error(status)) => {
                        self.take(told, seen).await?;
                        return Err(WatchError::Status(status).into());
                    }
                    // The object stays as it was; to ask for it again would give the same.
                    Err(WatchError::Unreadable(error)) => {
                        whole = false;
                        self.tell_unreadable(Some(error.to_string())).await?;
                    }
                    Err(error) => {
                        self.take(told, seen).await?;
                        return Err(error.into());
                    }
                }
            }
            self.take(told, seen).await?;
        }
    }

    fn up_to(&mut self, version: Option<&str>) {
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.version = Some(version.to_owned());
        }
    }

    async fn complete(&mut self, way: Way, whole: bool, version: String) -> Result<(), Closed> {
        self.take(vec![Told::Complete { whole }], Instant::now()).await?;
        self.version = Some(version);
        self.context.metrics.listed(self.resource.kind, way.word());
        self.context.listed().await;
        Ok(())
    }

    /// Takes in what was told, and sends what it comes to.
    async fn take(&mut self, told: Vec<Told<W>>, seen: Instant) -> Result<(), Closed> {
        let mut batch = Batch { events: Vec::new(), seen, triggers: Vec::new() };
        for told in told {
            self.progress += 1;
            let told = match told {
                Told::Begun => Told::Begun,
                Told::Complete { whole } => Told::Complete { whole },
                Told::Listed(object) => Told::Listed(object.into_object()),
                Told::Gone(object) => {
                    self.changes += 1;
                    Told::Gone(object.into_object())
                }
                Told::Changed(object) => {
                    self.changes += 1;
                    batch.triggers.extend(object.metadata().trigger());
                    Told::Changed(object.into_object())
                }
            };
            self.lister.take(told, &mut batch.events);
        }
        if batch.events.is_empty() {
            return Ok(());
        }
        self.context.servers.see(&batch.events);
        self.context.outlet.send(batch).await
    }

    async fn tell_unreadable(&self, reason: Option<String>) -> Result<(), Closed> {
        let Some(reason) = reason else { return Ok(()) };
        let reason = format!("an object can't be read: {reason}");
        let problem = problem(self.resource.kind, reason);
        self.context.outlet.send(vec![Event::Problem(problem)]).await
    }

    /// The answer to a question, if it comes in time.
    async fn answer<A>(&self, question: impl Future<Output = kube::Result<A>>) -> Result<A, Stop> {
        let after = self.context.patience.answer;
        tokio::select! {
            answer = tokio::time::timeout(after, question) => match answer {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(WatchError::NoAnswer { after }.into()),
            },
            () = self.context.outlet.closed() => Err(Stop::Closed),
        }
    }
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

/// A line of a watch.
fn parse<W: DeserializeOwned>(line: &str) -> Result<WatchEvent<W>, WatchError> {
    serde_json::from_str(line).map_err(|error| {
        // The server may fail halfway, and then says so without the frame of an event.
        let status = serde_json::from_str(line)
            .ok()
            .filter(|value: &serde_json::Value| value["kind"] == "Status")
            .and_then(|value| serde_json::from_value::<Status>(value).ok());
        match status {
            Some(status) => WatchError::Status(Box::new(status)),
            // The last line of a stream that was cut.
            None if error.is_eof() => WatchError::Cut(error.into()),
            None => WatchError::Unreadable(error),
        }
    })
}

/// A page of which something can't be read, without that; and why it can't.
fn parse_one_by_one<W: DeserializeOwned>(
    text: &str,
) -> Result<(Page<W>, Option<String>), kube::Error> {
    let page: Page<serde_json::Value> =
        serde_json::from_str(text).map_err(kube::Error::SerdeError)?;
    let mut unreadable = None;
    let items = page.items.into_iter().flatten().filter_map(|item| {
        let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        serde_json::from_value(item)
            .map_err(|error| unreadable = Some(format!("{name}: {error}")))
            .ok()
    });
    let items = Some(items.collect());
    Ok((Page { metadata: page.metadata, items }, unreadable))
}
