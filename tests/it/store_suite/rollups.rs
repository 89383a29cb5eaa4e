//! Promises of keeping roll-ups.

use tracefall::model::rollup::TraceRollup;
use tracefall::model::span::Outcome;
use tracefall::store::{Store, ToSettle};

use super::records::*;
use super::searching::{everything, rollup};

fn filled(trace: u64) -> TraceRollup {
    let text = |name: &str| Some(format!("{name} Grüße"));
    TraceRollup {
        root_service: text("root_service"),
        root_operation: text("root_operation"),
        status: Outcome::Abandoned,
        ended_at: Some(NOW.plus(8)),
        duration_ns: Some(-4),
        error_type: text("error_type"),
        error_message: text("error_message"),
        error_service: text("error_service"),
        span_count: u32::MAX,
        error_count: 2,
        orphan_count: 3,
        open_count: 4,
        services: vec!["a".into(), "b \"c\"".into()],
        execution_id: text("execution_id"),
        job_id: text("job_id"),
        question_id: text("question_id"),
        workflow_id: text("workflow_id"),
        session_id: text("session_id"),
        user_id: text("user_id"),
        regions: vec!["us-east".into()],
        models: vec!["llama".into(), "qwen".into()],
        input_tokens: Some(0),
        output_tokens: Some(i64::MAX),
        cost_pico: Some(17),
        query: text("query"),
        metadata: attributes(&[("k", "1.0")]),
        ..rollup(trace, NOW)
    }
}

async fn listed(store: &Store) -> Vec<TraceRollup> {
    store.traces.search_traces(&tenant(), &everything()).await.unwrap().items
}

/// Settles a trace as it is.
async fn settle(store: &Store, rollup: TraceRollup) {
    let read = store.rollups.rows_to_settle(&[(tenant(), rollup.trace_id)], 10).await.unwrap();
    store.rollups.write_rollups(&[(tenant(), read.traces[0].2, rollup)]).await.unwrap();
}

pub async fn a_rollup_is_read_back(store: &Store) {
    let traces: Vec<u64> = (1..=50).collect();
    write(store, traces.iter().map(|trace| whole(*trace, 1, NOW))).await;
    let rollups: Vec<TraceRollup> =
        traces.iter().rev().map(|trace| if trace % 2 == 0 { filled(*trace) } else { rollup(*trace, NOW) }).collect();
    let settled: Vec<_> = rollups.iter().map(|rollup| (tenant(), FIRST, rollup.clone())).collect();
    store.rollups.write_rollups(&settled).await.unwrap();
    assert_eq!(listed(store).await, rollups);
    store.rollups.write_rollups(&[]).await.unwrap();
    assert!(store.rollups.unsettled(10).await.unwrap().is_empty());
}

pub async fn a_trace_written_to_since_stays_unsettled(store: &Store) {
    write(store, [started(1, 1, NOW), started(2, 1, NOW)]).await;
    assert_eq!(store.rollups.unsettled(10).await.unwrap().len(), 2);
    assert_eq!(store.rollups.unsettled(1).await.unwrap().len(), 1);
    settle(store, filled(2)).await;
    assert_eq!(store.rollups.unsettled(10).await.unwrap(), [(tenant(), trace_id(1))]);

    let read = store.rollups.rows_to_settle(&[(tenant(), trace_id(1))], 10).await.unwrap();
    let touch = read.traces[0].2;
    assert_eq!(read.rows.len(), 1);
    write(store, [ended(1, 1, NOW.plus(5))]).await;
    store.rollups.write_rollups(&[(tenant(), touch, filled(1))]).await.unwrap();
    assert_eq!(store.rollups.unsettled(10).await.unwrap(), [(tenant(), trace_id(1))], "it was touched in between");
    assert!(listed(store).await.contains(&filled(1)), "yet what is known of it is shown");

    settle(store, filled(1)).await;
    assert!(store.rollups.unsettled(10).await.unwrap().is_empty());
    write(store, [started(2, 2, NOW)]).await;
    assert_eq!(store.rollups.unsettled(10).await.unwrap(), [(tenant(), trace_id(2))]);
}

pub async fn an_older_rollup_does_not_replace_a_newer_one(store: &Store) {
    write(store, [whole(1, 1, NOW)]).await;
    write(store, [whole(1, 2, NOW)]).await;
    settle(store, filled(1)).await;
    store.rollups.write_rollups(&[(tenant(), FIRST, rollup(1, NOW))]).await.unwrap();
    assert_eq!(listed(store).await, [filled(1)]);
    assert!(store.rollups.unsettled(10).await.unwrap().is_empty());
}

pub async fn many_traces_are_read_to_settle_at_once(store: &Store) {
    let root = |trace: u64| full(trace, 1);
    let child = |trace: u64| {
        let mut span = full(trace, 2);
        span.parent_span_id = Some(span_id(1));
        span.started_at = Some(NOW.plus(days(trace as i64 % 3)));
        span
    };
    let mut roots: Vec<_> = (1..=150).map(root).collect();
    roots.iter_mut().for_each(|span| span.parent_span_id = None);
    write(store, roots.into_iter().chain((1..=150).map(child)).chain((1..=150).map(|trace| started(trace, 3, NOW))))
        .await;
    let asked: Vec<_> = (0..=150).map(|trace| (tenant(), trace_id(trace + 1))).collect();
    let read = store.rollups.rows_to_settle(&asked, 1_000).await.unwrap();
    assert_eq!(read.traces.len(), 150, "the last is not known");
    assert_eq!(read.rows.len(), 450);
    for row in &read.rows {
        let is_root = row.span_id == span_id(1);
        assert_eq!((row.inputs().is_some(), row.attributes.is_empty()), (is_root, !is_root), "{row:?}");
        assert!(row.outputs().is_none() && row.events().is_empty());
    }
    assert_eq!(store.rollups.rows_to_settle(&asked, 100).await.unwrap().rows.len(), 101);
}

pub async fn an_unknown_trace_has_nothing_to_settle(store: &Store) {
    let nothing = ToSettle::default();
    assert_eq!(store.rollups.rows_to_settle(&[(tenant(), trace_id(1))], 10).await.unwrap(), nothing);
    assert_eq!(store.rollups.rows_to_settle(&[], 10).await.unwrap(), nothing);
    assert!(store.rollups.unsettled(10).await.unwrap().is_empty());
}
