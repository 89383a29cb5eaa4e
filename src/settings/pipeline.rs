//! `[pipeline]`: the way from a request to a committed row, and from a quiet trace to its roll-up.

use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Queue, writer and settling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineSettings {
    /// Bytes of accepted spans that memory may hold until they are committed. Beyond it they wait in the journal; without
    /// one: 429 with Retry-After.
    pub queue_max_bytes: usize,
    /// The same, in spans.
    pub queue_max_spans: usize,
    /// Milliseconds that a free writer waits for more spans. Longer makes larger batches and later answers.
    pub linger_ms: u64,
    /// Spans in one transaction.
    pub batch_max_spans: usize,
    /// Rows that this process writes a second, at most, over any while longer than a second: a brake for the sake of what
    /// else lives in the database. What comes faster waits in the queue. 0: as fast as the store takes them.
    pub max_rows_per_second: u64,
    /// Milliseconds before the first retry of a failed commit; doubled with each further one.
    pub retry_base_ms: u64,
    /// Milliseconds between retries at most.
    pub retry_max_ms: u64,
    /// Seconds that a request with `?wait=stored` waits for its commit; then it is answered 202.
    pub wait_stored_max_secs: u64,
    /// Milliseconds of silence after which a trace's roll-up is computed.
    pub settle_quiet_ms: u64,
    /// Milliseconds after which the roll-up of a trace that never falls silent is computed all the same.
    pub settle_max_age_ms: u64,
    /// Seconds without a sign of life after which an open span reads as abandoned.
    pub abandoned_after_secs: u64,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            queue_max_bytes: 64 << 20,
            queue_max_spans: 200_000,
            linger_ms: 20,
            batch_max_spans: 10_000,
            max_rows_per_second: 0,
            retry_base_ms: 100,
            retry_max_ms: 5_000,
            wait_stored_max_secs: 10,
            settle_quiet_ms: 500,
            settle_max_age_ms: 1_500,
            abandoned_after_secs: 3_600,
        }
    }
}

impl PipelineSettings {
    /// [`PipelineSettings::abandoned_after_secs`] in nanoseconds.
    pub fn abandoned_after_ns(&self) -> i64 {
        i64::try_from(self.abandoned_after_secs.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        const HOUR_MS: u64 = 3_600_000;
        const YEAR_SECS: u64 = 365 * 86_400;
        problems.within("pipeline.queue_max_bytes", self.queue_max_bytes, (1 << 20)..=(64 << 30));
        problems.within("pipeline.queue_max_spans", self.queue_max_spans, 1..=100_000_000);
        problems.within("pipeline.linger_ms", self.linger_ms, 0..=10_000);
        problems.within("pipeline.batch_max_spans", self.batch_max_spans, 1..=100_000);
        problems.within("pipeline.max_rows_per_second", self.max_rows_per_second, 0..=10_000_000);
        problems.within("pipeline.retry_base_ms", self.retry_base_ms, 1..=HOUR_MS);
        problems.within("pipeline.retry_max_ms", self.retry_max_ms, 1..=HOUR_MS);
        problems.within("pipeline.wait_stored_max_secs", self.wait_stored_max_secs, 1..=3_599);
        problems.within("pipeline.settle_quiet_ms", self.settle_quiet_ms, 1..=HOUR_MS);
        problems.within("pipeline.settle_max_age_ms", self.settle_max_age_ms, 1..=HOUR_MS);
        problems.within("pipeline.abandoned_after_secs", self.abandoned_after_secs, 1..=YEAR_SECS);
        for (key, value, least, at_least) in [
            ("pipeline.retry_max_ms", self.retry_max_ms, "pipeline.retry_base_ms", self.retry_base_ms),
            ("pipeline.settle_max_age_ms", self.settle_max_age_ms, "pipeline.settle_quiet_ms", self.settle_quiet_ms),
        ] {
            if value < at_least {
                problems.add(key, format!("is {value}; accepted is at least {least}, {at_least}"));
            }
        }
    }
}
