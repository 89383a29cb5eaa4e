//! What is too old goes, what is failed or pinned stays, on both stores and by any clock.

mod backup;
mod model;
mod postgres;
mod service;
mod shrinking;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tracefall::analysis::summary;
use tracefall::clock::Clock;
use tracefall::model::ids::TraceId;
use tracefall::model::rollup::{Keeping, TraceRollup};
use tracefall::model::search::TraceQuery;
use tracefall::model::span::{DEFAULT_DEADLINE_NS, End, Outcome, Span, Status};
use tracefall::model::time::UnixNanos;
use tracefall::model::trace::Trace;
use tracefall::pipeline::retention::{Outcome as Ran, Report, Retention, keep_by};
use tracefall::settings::retention::RetentionSettings;
use tracefall::store::error::Cause;
use tracefall::store::{
    Cleared, DeadLetter, Due, KeepBy, Place, Result, Retention as Steps, Store, StoreError, TraceRows,
};

use crate::store_suite::Home;
use crate::store_suite::records::*;
use crate::store_suite::sqlite::File;
use crate::support::postgres::Database;

/// A span of a second, told whole when it began.
fn told(trace: u64, span: u64, at: UnixNanos, status: Status) -> Span {
    let mut told = open(trace, span, at);
    (told.status, told.end) = (status, Some(End::At(at.plus(SECOND))));
    told
}

fn open(trace: u64, span: u64, at: UnixNanos) -> Span {
    let mut open = Span::new(tenant(), trace_id(trace), span_id(span), at);
    open.started_at = Some(at);
    open.status = Status::Running;
    if span > 1 {
        open.parent_span_id = Some(span_id(1));
    }
    open
}

fn done(trace: u64, span: u64, at: UnixNanos) -> Span {
    told(trace, span, at, Status::Completed)
}

fn failed(trace: u64, span: u64, at: UnixNanos) -> Span {
    told(trace, span, at, Status::Failed)
}

/// Computes the roll-ups that are due, as the service would have done long before.
async fn settle(store: &Store, now: UnixNanos) {
    loop {
        let due = store.rollups.unsettled(100).await.unwrap();
        if due.is_empty() {
            return;
        }
        let read = store.rollups.rows_to_settle(&due, 100_000).await.unwrap();
        assert_eq!(read.traces.len(), due.len(), "what is unsettled can be settled");
        let of = |trace: TraceId| read.rows.iter().filter(|row| row.trace_id == trace).cloned().collect();
        let rollup =
            |trace_id| summary::rollup(&Trace::new(tenant(), trace_id, of(trace_id), false), now, DEFAULT_DEADLINE_NS);
        let rollups: Vec<_> =
            read.traces.iter().map(|(tenant, trace, touch)| (tenant.clone(), *touch, rollup(*trace))).collect();
        store.rollups.write_rollups(&rollups).await.unwrap();
    }
}

fn retention(store: &Store, settings: &RetentionSettings, now: UnixNanos) -> Retention {
    Retention::new(store, settings, Clock::manual(now))
}

async fn run(store: &Store, now: UnixNanos) -> Report {
    match retention(store, &RetentionSettings::default(), now).run().await.unwrap() {
        Ran::Done(report) => report,
        Ran::Held => panic!("nobody else is at it"),
    }
}

async fn read(store: &Store, trace: u64) -> TraceRows {
    store.traces.trace_rows(&tenant(), trace_id(trace), tracefall::store::Detail::Full, 10_000).await.unwrap()
}

/// The numbers of the spans that are there.
async fn ids(store: &Store, trace: u64) -> Vec<u64> {
    let spans = spans(store, trace).await;
    let mut ids: Vec<u64> =
        spans.iter().map(|span| u64::from_str_radix(&span.span_id.to_string(), 16).unwrap()).collect();
    ids.sort();
    ids
}

async fn listed(store: &Store, trace: u64) -> Option<TraceRollup> {
    let query = TraceQuery { trace_id: Some(trace_id(trace)), limit: 1, ..TraceQuery::default() };
    store.traces.search_traces(&tenant(), &query).await.unwrap().items.pop()
}

const EXPIRED: fn(UnixNanos) -> Keeping = |at| Keeping { spans_expired_at: Some(at), ..Keeping::default() };
const PARTIAL: Keeping = Keeping { spans_partial: true, spans_expired_at: None, pinned: false };

async fn completed_traces_go_after_thirty_days_and_failed_ones_after_ninety(store: &Store) {
    write(store, [done(1, 1, NOW), done(1, 2, NOW), failed(2, 1, NOW), done(2, 2, NOW), done(3, 1, NOW)]).await;
    write(store, [failed(4, 2, NOW), done(4, 1, NOW), told(5, 1, NOW, Status::Cancelled)]).await;
    settle(store, NOW).await;
    store.pins.pin(&tenant(), trace_id(3), NOW).await.unwrap().unwrap();
    let before = listed(store, 1).await.unwrap();

    run(store, NOW.plus(days(30))).await;
    assert_eq!(ids(store, 1).await, [1, 2], "the day is not over for thirty days yet");
    let at = NOW.plus(days(31));
    let report = run(store, at).await;
    assert_eq!((report.days, report.moved_spans), (vec!["2026-01-05".to_owned()], 3));
    for (trace, there) in [(1, vec![]), (2, vec![1, 2]), (3, vec![1]), (4, vec![]), (5, vec![])] {
        assert_eq!(ids(store, trace).await, there, "{trace}");
    }
    assert_eq!(read(store, 1).await.keeping, EXPIRED(at));
    assert_eq!(listed(store, 1).await.unwrap(), TraceRollup { keeping: EXPIRED(at), ..before });
    assert_eq!(read(store, 3).await.keeping, Keeping { pinned: true, ..Keeping::default() });
    assert_eq!(run(store, at).await, Report::default(), "a second run finds nothing to do");

    run(store, NOW.plus(days(90))).await;
    assert_eq!(ids(store, 2).await, [1, 2]);
    run(store, NOW.plus(days(91))).await;
    assert_eq!((ids(store, 2).await, ids(store, 3).await), (vec![], vec![1]));
    assert!(store.pins.unpin(&tenant(), trace_id(3)).await.unwrap());
    run(store, NOW.plus(days(91))).await;
    assert_eq!(ids(store, 3).await, [0; 0]);
    assert!(listed(store, 2).await.is_some());
    run(store, NOW.plus(days(401))).await;
    assert_eq!(listed(store, 2).await, None, "the summary's time is over too");
}

async fn what_is_not_over_or_not_settled_is_kept_whole(store: &Store) {
    let yesterday = NOW.plus(-days(1));
    write(store, [open(1, 1, yesterday), done(1, 2, yesterday), done(1, 3, NOW)]).await;
    settle(store, NOW).await;
    write(store, [done(2, 1, yesterday), done(2, 2, NOW)]).await;
    let report = run(store, NOW.plus(days(30))).await;
    assert_eq!(report.moved_spans, 4, "of all days");
    assert_eq!((ids(store, 1).await, ids(store, 2).await), (vec![1, 2, 3], vec![1, 2]));
    assert_eq!(read(store, 1).await.keeping, Keeping::default());

    // It ends at last, and settles, from all that it ever was.
    let at = NOW.plus(days(30));
    let mut end = done(1, 1, at);
    end.started_at = Some(yesterday);
    write(store, [end]).await;
    settle(store, at).await;
    let rollup = listed(store, 1).await.unwrap();
    assert_eq!((rollup.status, rollup.span_count), (Outcome::Completed, 3));
}

async fn a_trace_cut_in_two_says_so_and_its_rollup_is_final(store: &Store) {
    let first = MIDNIGHT.plus(-SECOND);
    write(store, [done(1, 1, first), done(1, 2, MIDNIGHT.plus(SECOND))]).await;
    settle(store, NOW).await;
    let whole = listed(store, 1).await.unwrap();
    let at = MIDNIGHT.plus(days(30));
    run(store, at).await;
    assert_eq!((ids(store, 1).await, read(store, 1).await.keeping), (vec![2], PARTIAL));
    assert_eq!(listed(store, 1).await.unwrap(), TraceRollup { keeping: PARTIAL, ..whole.clone() });

    // A late span changes nothing but that it is there.
    let mut late = done(1, 3, at);
    late.started_at = Some(MIDNIGHT.plus(2 * SECOND));
    late.end = Some(End::At(MIDNIGHT.plus(2 * SECOND)));
    write(store, [late]).await;
    assert!(store.rollups.unsettled(9).await.unwrap().is_empty());
    assert!(store.rollups.rows_to_settle(&[(tenant(), trace_id(1))], 9).await.unwrap().traces.is_empty());
    assert_eq!((ids(store, 1).await, listed(store, 1).await.unwrap().span_count), (vec![2, 3], 2));
    run(store, MIDNIGHT.plus(days(31))).await;
    assert_eq!((ids(store, 1).await, read(store, 1).await.keeping), (vec![], EXPIRED(MIDNIGHT.plus(days(31)))));
}

async fn a_late_span_of_a_dropped_day_stays_as_long_as_any_other(store: &Store) {
    write(store, [done(1, 1, NOW)]).await;
    settle(store, NOW).await;
    let at = NOW.plus(days(31));
    run(store, at).await;
    // One of the trace that went, and one of another.
    for trace in [1, 2] {
        let mut late = done(trace, 2, at);
        (late.started_at, late.end) = (Some(NOW), Some(End::At(NOW.plus(5))));
        write(store, [late]).await;
    }
    settle(store, at).await;
    assert_eq!((ids(store, 1).await, read(store, 1).await.keeping), (vec![2], PARTIAL));
    assert_eq!(run(store, at.plus(SECOND)).await, Report::default(), "its day is not made anew");
    run(store, at.plus(days(30))).await;
    assert_eq!((ids(store, 1).await, ids(store, 2).await), (vec![2], vec![2]));
    let later = at.plus(days(30) + SECOND);
    assert_eq!(run(store, later).await.removed_spans, 2);
    for trace in [1, 2] {
        assert_eq!((ids(store, trace).await, read(store, trace).await.keeping), (vec![], EXPIRED(later)));
    }
}

async fn an_open_span_that_nobody_ends_goes_at_last(store: &Store) {
    write(store, [open(1, 1, NOW), open(2, 1, NOW)]).await;
    settle(store, NOW).await;
    store.pins.pin(&tenant(), trace_id(2), NOW).await.unwrap().unwrap();
    run(store, NOW.plus(days(90))).await;
    assert_eq!(ids(store, 1).await, [1]);
    let at = NOW.plus(days(91));
    assert_eq!(run(store, at).await.removed_spans, 1);
    assert_eq!((ids(store, 1).await, ids(store, 2).await), (vec![], vec![1]));
    let rollup = listed(store, 1).await.unwrap();
    assert_eq!((rollup.status, rollup.keeping), (Outcome::Abandoned, EXPIRED(at)));
}

async fn a_retry_of_a_kept_span_is_still_one_span(store: &Store) {
    write(store, [failed(1, 1, NOW)]).await;
    settle(store, NOW).await;
    let at = NOW.plus(days(31));
    run(store, at).await;
    let mut again = failed(1, 1, NOW);
    again.attributes = attributes(&[("retried", "true")]);
    for _ in 0..2 {
        write(store, [again.clone()]).await;
        settle(store, at).await;
        run(store, at.plus(SECOND)).await;
    }
    let spans = spans(store, 1).await;
    assert_eq!(spans.len(), 1);
    assert!(!spans[0].attributes.is_empty(), "and what the retry added is there");
}

async fn resources_live_as_long_as_a_span_of_theirs(store: &Store) {
    let with_resource = |trace| {
        let mut span = full(trace, 1);
        span.status = Status::Completed;
        span
    };
    write(store, [with_resource(1)]).await;
    settle(store, NOW).await;
    store.pins.pin(&tenant(), trace_id(1), NOW).await.unwrap().unwrap();
    run(store, NOW.plus(days(200))).await;
    assert!(spans(store, 1).await[0].resource.is_some());
    store.pins.unpin(&tenant(), trace_id(1)).await.unwrap();
    let report = run(store, NOW.plus(days(200))).await;
    assert_eq!((report.removed_spans, report.others), (1, 1));
    // Whoever needs it again writes it again.
    let mut again = with_resource(2);
    (again.created_at, again.seen_at) = (NOW.plus(days(200)), NOW.plus(days(200)));
    write(store, [again]).await;
    assert!(spans(store, 2).await[0].resource.is_some());
}

async fn dead_letters_are_bounded_by_age_and_number(store: &Store) {
    let letter = |span: u64, refused_at| DeadLetter {
        tenant: tenant(),
        trace_id: "no id".into(),
        span_id: span.to_string(),
        body: "{}".into(),
        reason: "is no id".into(),
        refused_at,
    };
    let letters: Vec<DeadLetter> = (0..10).map(|day| letter(day, NOW.plus(days(day as i64)))).collect();
    store.spans.write_dead_letters(&letters, NOW).await.unwrap();
    let settings = RetentionSettings { dead_letter_days: 20, dead_letters_max: 4, ..RetentionSettings::default() };
    retention(store, &settings, NOW.plus(days(10))).run().await.unwrap();
    assert_eq!(store.maintenance.size().await.unwrap().dead_letters, 4);
    retention(store, &settings, NOW.plus(days(28))).run().await.unwrap();
    assert_eq!(store.maintenance.size().await.unwrap().dead_letters, 2);
}

async fn a_dry_run_tells_and_changes_nothing(store: &Store) {
    write(store, [done(1, 1, NOW), done(1, 2, NOW), failed(2, 1, NOW), done(3, 1, NOW.plus(days(1)))]).await;
    let mut strange = done(4, 1, NOW.plus(-days(99)));
    (strange.created_at, strange.seen_at) = (NOW, NOW);
    write(store, [strange]).await;
    settle(store, NOW).await;
    let retention = retention(store, &RetentionSettings::default(), NOW.plus(days(31)));
    for _ in 0..2 {
        let due = retention.preview().await.unwrap();
        let day = Due { bytes: 0, ..due[0].clone() };
        let expected = Due { what: "2026-01-05".into(), traces: 1, spans: 2, kept_traces: 1, kept_spans: 1, bytes: 0 };
        assert_eq!(day, expected, "{due:?}");
        assert!(due[0].bytes > 0);
        assert_eq!((due[1].what.as_str(), due[1].traces, due.len()), ("other days", 1, 2), "{due:?}");
    }
    assert_eq!(ids(store, 1).await, [1, 2]);
}

async fn one_process_at_a_time_holds_the_lease(store: &Store) {
    let lease = |holder: &'static str, now: i64, until: i64| async move {
        store.retention.lease("x", holder, NOW.plus(now * SECOND), NOW.plus(until * SECOND)).await.unwrap()
    };
    assert!(lease("a", 0, 10).await);
    assert!(!lease("b", 9, 20).await);
    assert!(lease("a", 9, 20).await, "its holder renews it");
    assert!(!lease("b", 10, 30).await);
    assert!(lease("b", 20, 30).await, "what is over anybody may take");
    let first = retention(store, &RetentionSettings::default(), NOW);
    assert!(store.retention.lease("retention", "other", NOW, NOW.plus(SECOND)).await.unwrap());
    assert_eq!(first.run().await.unwrap(), Ran::Held);
    let later = retention(store, &RetentionSettings::default(), NOW.plus(SECOND));
    assert_eq!(later.run_if_due().await.unwrap(), Some(Ran::Done(Report::default())));
    for (seconds, due) in [(2, false), (3_600, false), (3_601, true)] {
        let other = retention(store, &RetentionSettings::default(), NOW.plus(seconds * SECOND));
        assert_eq!(
            other.run_if_due().await.unwrap().is_some(),
            due,
            "an hour after the last run, whoever's: {seconds}"
        );
    }
}

async fn pins_are_kept_and_listed(store: &Store) {
    assert_eq!(store.pins.pin(&tenant(), trace_id(1), NOW).await.unwrap(), None, "an unknown trace");
    write(store, [done(1, 1, NOW), done(2, 1, NOW)]).await;
    let pin = |trace, at: i64| async move {
        store.pins.pin(&tenant(), trace_id(trace), NOW.plus(at)).await.unwrap().unwrap()
    };
    let (first, second) = (pin(1, 1).await, pin(2, 2).await);
    assert_eq!(pin(1, 3).await, first, "it is pinned since then");
    assert_eq!(store.pins.pins(&tenant(), 9).await.unwrap(), [second, first.clone()]);
    assert_eq!(store.pins.pins(&tenant(), 1).await.unwrap().len(), 1);
    let other = tracefall::model::tenant::TenantId::new("other");
    assert!(store.pins.pins(&other, 9).await.unwrap().is_empty());
    assert!(!store.pins.unpin(&other, trace_id(1)).await.unwrap());
    assert!(listed(store, 1).await.unwrap().keeping.pinned);
    assert!(store.pins.unpin(&tenant(), trace_id(1)).await.unwrap());
    assert!(!store.pins.unpin(&tenant(), trace_id(1)).await.unwrap());
    assert!(!listed(store, 1).await.unwrap().keeping.pinned);
}

async fn a_run_that_breaks_off_anywhere_is_finished_by_the_next(store: &Store) {
    for trace in 0..20 {
        let at = NOW.plus(-days(trace as i64 % 3));
        write(store, [if trace % 4 == 0 { failed(trace, 1, at) } else { done(trace, 1, at) }, done(trace, 2, NOW)])
            .await;
    }
    settle(store, NOW).await;
    let at = NOW.plus(days(31));
    for steps in 0.. {
        let flaky = Flaky { inner: store.retention.clone(), left: AtomicUsize::new(steps) };
        let store = Store { retention: Arc::new(flaky), ..store.clone() };
        let ran = retention(&store, &RetentionSettings::default(), at.plus(days(1))).run().await;
        for trace in 0..20 {
            let TraceRows { rows, keeping } = read(&store, trace).await;
            if trace % 4 == 0 {
                assert_eq!((rows.len(), keeping), (2, Keeping::default()), "{trace} after {steps} steps");
            } else {
                assert!(rows.len() == 2 || keeping.is_cut(), "{trace} after {steps} steps: {keeping:?}");
            }
        }
        // The holder is gone; its lease is over for the next one.
        store.retention.lease("retention", "nobody", at.plus(days(9)), at).await.ok();
        if ran.is_ok() {
            assert!(steps > 5);
            break;
        }
        assert!(steps < 200);
        let _ = store;
    }
    for trace in 0..20 {
        let cut = if trace % 4 == 0 { Keeping::default() } else { EXPIRED(at.plus(days(1))) };
        assert_eq!(read(store, trace).await.keeping, cut);
    }
}

/// A store that is away after so many steps.
struct Flaky {
    inner: Arc<dyn Steps>,
    left: AtomicUsize,
}

impl Flaky {
    fn step(&self) -> Result<&dyn Steps> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let away = StoreError::Unavailable { doing: "test", cause: Cause::Unreachable, source: "gone".into() };
        left.map(|_| self.inner.as_ref()).map_err(|_| away)
    }
}

#[async_trait]
impl Steps for Flaky {
    async fn lease(&self, name: &str, _holder: &str, now: UnixNanos, until: UnixNanos) -> Result<bool> {
        self.inner.lease(name, "the same", now, until).await
    }
    async fn days_before(&self, day: u32) -> Result<Vec<u32>> {
        self.step()?.days_before(day).await
    }
    async fn close_days(&self, before: u32) -> Result<()> {
        self.step()?.close_days(before).await
    }
    async fn clear(&self, place: Place, after: Option<TraceId>, keep_by: &KeepBy) -> Result<Cleared> {
        self.step()?.clear(place, after, keep_by).await
    }
    async fn drop_day(&self, day: u32, keep_by: &KeepBy) -> Result<bool> {
        self.step()?.drop_day(day, keep_by).await
    }
    async fn note_expired(&self, after: Option<TraceId>, now: UnixNanos) -> Result<Option<TraceId>> {
        self.step()?.note_expired(after, now).await
    }
    async fn remove_others(&self, keep_by: &KeepBy, resources: bool) -> Result<u64> {
        self.step()?.remove_others(keep_by, resources).await
    }
    async fn shrink(&self) -> Result<bool> {
        self.step()?.shrink().await
    }
    async fn due(&self, keep_by: &KeepBy) -> Result<Vec<Due>> {
        self.step()?.due(keep_by).await
    }
}

/// Makes a test of each on both stores.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&File::new().ready().await).await;
            })+
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                let Some(home) = Database::new() else { return };
                super::$promise(&home.ready().await).await;
            })+
        }
    };
}

on_both!(
    completed_traces_go_after_thirty_days_and_failed_ones_after_ninety,
    what_is_not_over_or_not_settled_is_kept_whole,
    a_trace_cut_in_two_says_so_and_its_rollup_is_final,
    a_late_span_of_a_dropped_day_stays_as_long_as_any_other,
    an_open_span_that_nobody_ends_goes_at_last,
    a_retry_of_a_kept_span_is_still_one_span,
    resources_live_as_long_as_a_span_of_theirs,
    dead_letters_are_bounded_by_age_and_number,
    a_dry_run_tells_and_changes_nothing,
    one_process_at_a_time_holds_the_lease,
    pins_are_kept_and_listed,
    a_run_that_breaks_off_anywhere_is_finished_by_the_next,
);
