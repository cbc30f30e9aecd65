//! Metrics of the table, registered with the library. Nothing here knows what they count.

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, core::Collector,
};

use super::table::Row;

/// Makes and registers metrics. The table's names are checked by a test that makes them all: what
/// can go wrong goes wrong there.
#[derive(Debug, Default)]
pub(super) struct Maker {
    pub(super) registry: Registry,
}

impl Maker {
    pub(super) fn counters(&self, row: &Row) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(row), row.labels), row)
    }

    pub(super) fn counter(&self, row: &Row) -> IntCounter {
        self.register(IntCounter::with_opts(opts(row)), row)
    }

    pub(super) fn gauges(&self, row: &Row) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(row), row.labels), row)
    }

    pub(super) fn gauge(&self, row: &Row) -> IntGauge {
        self.register(IntGauge::with_opts(opts(row)), row)
    }

    pub(super) fn seconds(&self, row: &Row) -> Counter {
        self.register(Counter::with_opts(opts(row)), row)
    }

    pub(super) fn float(&self, row: &Row) -> Gauge {
        self.register(Gauge::with_opts(opts(row)), row)
    }

    pub(super) fn histogram(&self, row: &Row, buckets: Vec<f64>) -> Histogram {
        let opts = HistogramOpts::new(row.name, row.help).buckets(buckets);
        self.register(Histogram::with_opts(opts), row)
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<C>,
        row: &Row,
    ) -> C {
        let metric = metric.expect(row.name);
        self.registry.register(Box::new(metric.clone())).expect(row.name);
        metric
    }
}

fn opts(row: &Row) -> Opts {
    Opts::new(row.name, row.help)
}
