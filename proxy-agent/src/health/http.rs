//! A small HTTP server: a path in, a page out. No bodies are read, and nobody may take long.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

/// Connections of one server; others wait.
const CONNECTIONS: usize = 128;
/// How long somebody may take to ask, or be silent between two questions.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be accepted, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) content: &'static str,
    pub(super) header: Option<(&'static str, String)>,
    pub(super) body: String,
}

/// JSON.
pub(super) const JSON: &str = "application/json";
/// Words.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

impl Page {
    pub(super) fn new(status: u16, content: &'static str, body: impl Into<String>) -> Self {
        Self { status, content, header: None, body: body.into() }
    }

    /// There is nothing at this path.
    pub(super) fn not_found() -> Self {
        Self::new(404, TEXT, "not found\n")
    }
}

/// Answers requests at `listener` with the page that `pages` has for a path. Dropping the future
/// ends all of it.
pub(super) async fn serve<P, F>(listener: TcpListener, pages: P)
where
    P: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Page> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pages = pages.clone();
        connections.spawn(async move {
            let _permit = permit;
            let service = service_fn(|request| answer(request, pages.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::trace!(%error, "serving a connection");
            }
        });
    }
}

async fn answer<P, F>(
    request: Request<Incoming>,
    pages: P,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    P: Fn(String) -> F,
    F: Future<Output = Page>,
{
    let page = if matches!(*request.method(), Method::GET | Method::HEAD) {
        pages(request.uri().path().to_owned()).await
    } else {
        let header = Some((ALLOW.as_str(), "GET, HEAD".to_owned()));
        Page { header, ..Page::new(405, TEXT, "only GET and HEAD\n") }
    };
    let mut response = Response::new(Full::from(page.body));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some((name, value)) = page.header
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}
