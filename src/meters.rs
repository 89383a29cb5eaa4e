//! The one list of metric names. Rooms count with `metrics::counter!(meters::SPANS_ACCEPTED)` and the like; where the
//! numbers go is decided by `telemetry.rs`.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units in the name, `_total` on counters. Every
//! label has few values: never an id, never a caller's text (an operator's is bounded).

use metrics::Unit;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// A distribution, counted below each of these bounds.
    Histogram(&'static [f64]),
}

use Kind::{Counter, Gauge, Histogram};

/// Bounds for the time that work takes, in seconds: fine around the promise of 5 ms.
const WORK: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds for the time that spans wait for something, in seconds.
const WAIT: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];
/// Bounds for numbers of spans.
const SPANS: &[f64] = &[1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 50_000.0, 100_000.0];

/// Declares each metric once: a constant with its name, and its entry in [`ALL`].
macro_rules! meters {
    ($($constant:ident = $name:literal, $kind:expr, $unit:ident, [$($label:literal),*], $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// Every metric.
        pub const ALL: &[Meter] = &[
            $(Meter { name: $name, kind: $kind, unit: Unit::$unit, labels: &[$($label),*], help: $help },)+
        ];
    };
}

meters! {
    // Ingest
    SPANS_ACCEPTED = "tracefall_spans_accepted_total", Counter, Count, [],
        "Spans acknowledged.";
    SPANS_REJECTED = "tracefall_spans_rejected_total", Counter, Count, ["reason"],
        "Spans refused for good, because they are wrong or too large.";
    REDACTED = "tracefall_redacted_total", Counter, Count, ["rule"],
        "Values that were cut out of spans as secrets, by the rule that took them.";
    REQUESTS_REFUSED = "tracefall_requests_refused_total", Counter, Count, ["reason"],
        "Ingest requests of which nothing could be read: undecodable, too large, or no memory was free.";
    REQUESTS_DISABLED = "tracefall_requests_disabled_total", Counter, Count, [],
        "Ingest requests answered without being read, because ingest is switched off.";
    SPANS_SAMPLED = "tracefall_spans_sampled_total", Counter, Count, ["rule", "reason"],
        "Spans that were not kept because a rule of an operator says so, by the rule's name.";
    INGEST_ENABLED = "tracefall_ingest_enabled", Gauge, Count, [],
        "1 while spans are taken, 0 while ingest is switched off.";
    INGEST_RULES = "tracefall_ingest_rules", Gauge, Count, [],
        "Rules by which spans are not kept.";
    IN_FLIGHT_BYTES = "tracefall_in_flight_bytes", Gauge, Bytes, [],
        "Inflated bytes of request bodies being read or decoded.";

    // Queue and writer
    QUEUED_SPANS = "tracefall_queued_spans", Gauge, Count, [],
        "Spans accepted and not yet committed.";
    QUEUED_BYTES = "tracefall_queued_bytes", Gauge, Bytes, [],
        "Memory held by spans accepted and not yet committed.";
    JOURNAL_BYTES = "tracefall_journal_bytes", Gauge, Bytes, [],
        "Bytes of the journal on disk.";
    JOURNAL_MAX_BYTES = "tracefall_journal_max_bytes", Gauge, Bytes, [],
        "Bytes that the journal may take.";
    JOURNAL_SEGMENTS = "tracefall_journal_segments", Gauge, Count, [],
        "Files of the journal.";
    JOURNAL_WAITING = "tracefall_journal_waiting_records", Gauge, Count, [],
        "Requests that wait on disk alone for the store.";
    JOURNAL_FAILING = "tracefall_journal_failing", Gauge, Count, [],
        "1 while the journal does not take what is written to it.";
    JOURNAL_LOST = "tracefall_journal_lost_records", Gauge, Count, [],
        "Requests that could not be read back since the start, because the disk had damaged them.";
    JOURNAL_REPLAY = "tracefall_journal_replay_records", Gauge, Count, ["state"],
        "Requests that an earlier process left over: all of them, and those of them that are stored by now (done).";
    JOURNAL_KEPT = "tracefall_journal_kept_bytes", Gauge, Bytes, [],
        "Bytes of the journal that the store has and forward targets have not.";
    FLUSH_SECONDS = "tracefall_flush_duration_seconds", Histogram(WORK), Seconds, [],
        "Time from taking a batch to its commit, retries included.";
    BATCH_SPANS = "tracefall_batch_spans", Histogram(SPANS), Count, [],
        "Spans in one batch.";
    COMMIT_FAILURES = "tracefall_commit_failures_total", Counter, Count, [],
        "Commits that failed and are tried again.";
    DEAD_LETTERS = "tracefall_dead_letters_total", Counter, Count, [],
        "Spans that the store refused as data and that were put aside.";

    // Forwarding
    FORWARD_SENT = "tracefall_forward_spans_sent_total", Counter, Count, ["target"],
        "Spans that a forward target took.";
    FORWARD_REJECTED = "tracefall_forward_spans_rejected_total", Counter, Count, ["target"],
        "Spans that a forward target rejected while it took others of the same request (partial success).";
    FORWARD_DROPPED = "tracefall_forward_spans_dropped_total", Counter, Count, ["target", "reason"],
        "Spans that a forward target does not get: refused by it, no_room in its share of the disk, hops (too many services), unjournaled.";
    FORWARD_FAILURES = "tracefall_forward_failures_total", Counter, Count, ["target"],
        "Requests to a forward target that failed and are sent again.";
    FORWARD_LAG = "tracefall_forward_lag_seconds", Gauge, Seconds, ["target"],
        "For how long the oldest span has been here that is being sent to a forward target.";
    FORWARD_WAITING = "tracefall_forward_waiting_bytes", Gauge, Bytes, ["target"],
        "Bytes of the journal that a forward target has not taken.";
    FORWARD_RETURNED = "tracefall_forward_returned_requests_total", Counter, Count, [],
        "Ingest requests that this process had forwarded itself, and that came back.";

    // Settling
    TRACES_SETTLED = "tracefall_traces_settled_total", Counter, Count, [],
        "Roll-ups computed; a trace that is written to again is counted again.";
    TRACES_UNSETTLED = "tracefall_traces_unsettled", Gauge, Count, [],
        "Traces written to since their roll-up was computed.";
    SETTLE_LAG_SECONDS = "tracefall_settle_lag_seconds", Histogram(WAIT), Seconds, [],
        "Time from the first write since a trace's last roll-up to its next.";

    // Store
    STORE_CIRCUIT = "tracefall_store_circuit", Gauge, Count, ["state"],
        "1 for the state that the way to the store is in: opening, closed (all well), open, half_open; 0 for the others.";
    STORE_CIRCUIT_SINCE = "tracefall_store_circuit_since_timestamp_seconds", Gauge, Seconds, [],
        "Unix time at which the way to the store was last closed or opened.";
    STORE_FAILURES = "tracefall_store_consecutive_failures", Gauge, Count, [],
        "Tries of the store that failed one after the other; 0 while all is well.";
    STORE_CAUSE = "tracefall_store_cause", Gauge, Count, ["cause"],
        "1 for the cause of the trouble with the store; 0 for the others, and for all once it is over.";
    STORE_BYTES = "tracefall_store_bytes", Gauge, Bytes, [],
        "Size of the store.";
    STORE_CAPACITY_BYTES = "tracefall_store_capacity_bytes", Gauge, Bytes, [],
        "What the store may take, where storage.capacity_bytes says it.";
    STORE_FULL = "tracefall_store_full", Gauge, Count, [],
        "1 while ingest is refused because the store has reached storage.stop_percent of its capacity.";
    STORE_OPEN_SPANS = "tracefall_store_open_spans", Gauge, Count, [],
        "Spans in the store that have not ended.";

    STORE_DEAD_LETTERS = "tracefall_store_dead_letters", Gauge, Count, [],
        "Dead letters in the store.";

    // Retention
    RETENTION_RUNS = "tracefall_retention_runs_total", Counter, Count, ["outcome"],
        "Clean-ups by this process: done, or failed and tried again.";
    RETENTION_SPANS = "tracefall_retention_spans_total", Counter, Count, ["what"],
        "Spans of days that were dropped whole are not counted: those moved out of such days, and those removed one by one.";
    RETENTION_DAYS = "tracefall_retention_days_dropped_total", Counter, Count, [],
        "Days of spans that were dropped whole.";

    // HTTP
    HTTP_REQUESTS = "tracefall_http_requests_total", Counter, Count, ["method", "route", "status"],
        "Requests answered, by the route's pattern.";
    HTTP_REQUEST_SECONDS = "tracefall_http_request_duration_seconds", Histogram(WORK), Seconds, ["method", "route"],
        "Time from a request's head to its answer.";

    // Process
    BUILD_INFO = "tracefall_build_info", Gauge, Count, ["version"],
        "Always 1; the label tells the version.";
}

/// Tells the installed recorder what each metric means, and which version runs.
pub fn describe() {
    for meter in ALL {
        match meter.kind {
            Counter => metrics::describe_counter!(meter.name, meter.unit, meter.help),
            Gauge => metrics::describe_gauge!(meter.name, meter.unit, meter.help),
            Histogram(_) => metrics::describe_histogram!(meter.name, meter.unit, meter.help),
        }
    }
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tell_their_unit() {
        for (index, meter) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != meter.name), "{}", meter.name);
            assert!(meter.name.starts_with("tracefall_"), "{}", meter.name);
            let is_counter = meter.kind == Counter;
            assert_eq!(meter.name.ends_with("_total"), is_counter, "{}", meter.name);
            assert_eq!(meter.name.ends_with("_seconds"), meter.unit == Unit::Seconds, "{}", meter.name);
            assert_eq!(meter.name.ends_with("_bytes"), meter.unit == Unit::Bytes, "{}", meter.name);
            assert!(meter.help.ends_with('.'), "{}", meter.name);
            if let Histogram(bounds) = meter.kind {
                assert!(bounds.is_sorted(), "{}", meter.name);
            }
        }
    }
}
