//! What is asked for, as requests: which kind, at which path, with which selectors.

use kube::{
    api::{ListParams, WatchParams},
    core::Request,
};

use super::trouble::WatchError;

/// Objects on a page, where a list comes in pages.
const PAGE: u32 = 500;
/// A watch ends after this many seconds and as many again at most: never all at once.
const WATCH: u32 = 300;

/// A kind of object, and which of them.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// What it is called in messages and metrics.
    pub(super) kind: &'static str,
    /// Where it is served, the best place first.
    pub(super) paths: &'static [&'static str],
    /// Which labels.
    pub(super) labels: Option<String>,
    /// Which fields.
    pub(super) fields: Option<String>,
}

impl Resource {
    /// A page of the list: the first, or the one that `token` stands for. The list is as new as
    /// can be: what a stale one lacks would be taken for gone.
    pub(super) fn page(
        &self,
        path: &str,
        token: Option<String>,
    ) -> Result<http::Request<Vec<u8>>, WatchError> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            continue_token: token,
            ..ListParams::default()
        };
        Request::new(path).list(&params).map_err(|error| kube::Error::BuildRequest(error).into())
    }

    /// A watch from `version` on, or, without one, a list that is streamed and then a watch.
    pub(super) fn watch(
        &self,
        path: &str,
        version: Option<&str>,
    ) -> Result<http::Request<Vec<u8>>, WatchError> {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH + fastrand::u32(..WATCH)),
            bookmarks: true,
            send_initial_events: version.is_none(),
        };
        // An empty version asks for a list as new as can be.
        let version = version.unwrap_or_default();
        Request::new(path)
            .watch(&params, version)
            .map_err(|error| kube::Error::BuildRequest(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn lists_are_as_new_as_can_be_and_watches_go_on_where_they_ended() {
        let resource = Resource {
            kind: "Services",
            paths: &["/api/v1/services"],
            labels: Some("!a".to_owned()),
            fields: None,
        };
        let stream = resource.watch(resource.paths[0], None).unwrap().uri().to_string();
        assert!(stream.contains("sendInitialEvents=true"), "{stream}");
        assert!(stream.ends_with("resourceVersion="), "{stream}");
        let watch = resource.watch(resource.paths[0], Some("7")).unwrap().uri().to_string();
        assert!(!watch.contains("sendInitialEvents"), "{watch}");
        assert!(watch.contains("resourceVersion=7"), "{watch}");
        assert!(watch.contains("allowWatchBookmarks=true"), "{watch}");
        assert!(watch.contains("labelSelector=%21a"), "{watch}");
        let page = resource.page(resource.paths[0], Some("t".to_owned())).unwrap();
        let page = page.uri().to_string();
        assert!(page.contains("continue=t") && page.contains("limit=500"), "{page}");
        assert!(!page.contains("resourceVersion"), "{page}");
    }
}
