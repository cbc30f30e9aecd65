//! What a source tells: watches, lists, servers, and Events that were published.

use super::Metrics;

impl Metrics {
    /// A watch or list of `kind` ended.
    pub fn watch_over(&self, kind: &str, reason: &str) {
        self.all.watch_over.with_label_values(&[kind, reason]).inc();
    }

    /// A list of `kind` is complete.
    pub fn listed(&self, kind: &str, way: &str) {
        self.all.lists.with_label_values(&[kind, way]).inc();
    }

    /// `server` is asked from now on.
    pub fn api_server_selected(&self, server: &str) {
        self.all.api_server.reset();
        self.all.api_server.with_label_values(&[server]).set(1);
        self.all.api_servers_selected.inc();
    }

    /// A notice was published, or not.
    pub fn notice(&self, outcome: &str) {
        self.all.notices.with_label_values(&[outcome]).inc();
    }
}
