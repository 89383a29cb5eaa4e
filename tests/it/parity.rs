//! The stores answer alike: random batches go into one of each kind, and every question is asked of both.

use tracefall::model::ids::TraceId;
use tracefall::model::rollup::TraceRollup;
use tracefall::model::search::TraceQuery;
use tracefall::model::span::{End, Field, Outcome, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::model::trace::Trace;
use tracefall::store::{DeadLetter, Detail, Store};
use tracefall::wire::native::encode;

use crate::store_suite::Home;
use crate::store_suite::records::*;
use crate::store_suite::searching::rollup;
use crate::store_suite::sqlite::File;
use crate::support::postgres::Database;

const TRACES: u64 = 60;
const FULL_TRACES: u64 = 3;
const EXECUTIONS: [&str; 3] = ["1", "run-2", "Grüße"];
const SERVICES: [&str; 3] = ["router", "runner", "a\",\"b"];
const LIMITS: [usize; 2] = [3, 1_000];

#[tokio::test]
async fn random_batches_read_alike_from_both_stores() {
    let Some(database) = Database::new() else { return };
    let file = File::new();
    let (one, other) = (file.ready().await, database.ready().await);
    for seed in 1..=3 {
        let mut dice = Dice(seed);
        for _ in 0..12 {
            let batch: Vec<Span> = (0..1 + dice.below(80)).map(|_| any_record(&mut dice)).collect();
            write(&one, batch.clone()).await;
            write(&other, batch).await;
            settle_some(&one, &other, &mut dice).await;
        }
        compare(&one, &other).await;
    }
    let letter = DeadLetter {
        tenant: tenant(),
        trace_id: "x".into(),
        span_id: "y\0".into(),
        body: "{}".into(),
        reason: "z".into(),
        refused_at: NOW,
    };
    let mut sizes = Vec::new();
    for store in [&one, &other] {
        store.spans.write_dead_letters(std::slice::from_ref(&letter)).await.unwrap();
        let size = store.maintenance.size().await.unwrap();
        sizes.push((size.open_spans, size.dead_letters));
    }
    assert_eq!(sizes[0], sizes[1]);
}

fn any_record(dice: &mut Dice) -> Span {
    let (trace, number) = (1 + dice.below(TRACES), 1 + dice.below(5));
    if dice.one_in(20) {
        // In traces of their own: a start told twice differently makes twins, which are each store's own affair.
        return full(TRACES + 1 + trace % FULL_TRACES, number);
    }
    let mut span = record(trace, number);
    if dice.one_in(8) {
        span.tenant = TenantId::new("acme");
    }
    // One start a span.
    let start = NOW.plus(days([0, 0, 0, -1, -20, -60, 500][(trace % 7) as usize]) + number as i64 * 1_001);
    span.created_at = NOW.plus(dice.below(2_000) as i64);
    span.seen_at = span.created_at.plus(dice.below(2) as i64);
    span.status = Status::ALL[dice.below(Status::ALL.len() as u64) as usize];
    span.started_at = Some(start).filter(|_| !dice.one_in(4));
    span.end = match dice.below(3) {
        _ if !span.status.is_terminal() => None,
        0 => Some(End::After(dice.below(9_999) as i64)),
        _ => Some(End::At(start.plus(dice.below(9_999) as i64))),
    };
    span.parent_span_id = (number > 1).then(|| span_id(1));
    span.revision = dice.below(2);
    for (field, values) in
        [(Field::ExecutionId, &EXECUTIONS), (Field::Service, &SERVICES), (Field::JobId, &["j1", "j2", "j3"])]
    {
        if dice.one_in(3) {
            span.fields.set_text(field, values[dice.below(3) as usize]);
        }
    }
    if dice.one_in(3) {
        span.fields.set_int(Field::CostPico, dice.below(1 << 50) as i64);
        span.fields.set_text(Field::Inputs, r#"{"prompt": [1.50, "ü"]}"#);
    }
    if dice.one_in(2) {
        span.attributes = attributes(&[("a", ["1", "2.0"][dice.below(2) as usize]), ("deep", r#"{"x":[{}]}"#)]);
    }
    if dice.one_in(4) {
        span.set_events(full(1, 1).events().to_vec());
        span.set_links(full(1, 1).links().to_vec());
        span.resource = full(1, 1).resource;
    }
    span
}

fn tenants() -> [TenantId; 2] {
    [tenant(), TenantId::new("acme")]
}

/// Settles some of the unsettled traces in both, with roll-ups of numbers that do not matter.
async fn settle_some(one: &Store, other: &Store, dice: &mut Dice) {
    let asked: Vec<(TenantId, TraceId)> = (0..10)
        .map(|_| (tenants()[dice.below(2) as usize].clone(), trace_id(1 + dice.below(TRACES + FULL_TRACES))))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut reads = Vec::new();
    for store in [one, other] {
        let mut read = store.rollups.rows_to_settle(&asked, 10_000).await.unwrap();
        read.traces.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let traces = read.traces.clone();
        reads.push((read.traces, told(read.rows)));
        let rollups: Vec<(TenantId, _, TraceRollup)> = traces
            .into_iter()
            .map(|(tenant, trace_id, touch)| {
                let number = u64::from(trace_id.as_bytes()[15]);
                let open_count = (number % 2) as u32;
                let status = if open_count > 0 { Outcome::Running } else { Outcome::Completed };
                let services = vec![SERVICES[(number % 3) as usize].to_owned()];
                (
                    tenant,
                    touch,
                    TraceRollup { open_count, status, services, ..rollup(number, NOW.plus(number as i64 % 5)) },
                )
            })
            .collect();
        store.rollups.write_rollups(&rollups).await.unwrap();
    }
    assert_eq!(reads[0].0, reads[1].0);
    assert_alike(&reads[0].1, &reads[1].1, "rows to settle");
}

fn assert_alike(one: &[String], other: &[String], what: &str) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}

/// Rows as JSON, folded by span and in order.
fn told(rows: Vec<Span>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let mut by_trace: std::collections::BTreeMap<(TenantId, TraceId), Vec<Span>> = Default::default();
    for row in rows {
        by_trace.entry((row.tenant.clone(), row.trace_id)).or_default().push(row);
    }
    for ((tenant, trace_id), rows) in by_trace {
        let folded = Trace::new(tenant, trace_id, rows, false).spans.into_iter().map(without_sign_of_life);
        told.extend(folded.map(|span| format!("{} {span:?}", encode(&span))));
    }
    told.sort();
    told
}

async fn compare(one: &Store, other: &Store) {
    for tenant in tenants() {
        for trace in 1..=TRACES + FULL_TRACES + 1 {
            for detail in [Detail::Outline, Detail::Rollup, Detail::Full] {
                let mut read = Vec::new();
                for store in [one, other] {
                    read.push(told(store.traces.trace_rows(&tenant, trace_id(trace), detail, 1_000).await.unwrap()));
                }
                assert_alike(&read[0], &read[1], &format!("trace {trace} of {tenant}, {detail:?}"));
            }
        }
        for execution in EXECUTIONS.into_iter().chain(["nobody's"]) {
            for limit in LIMITS {
                let first = one.traces.traces_of_execution(&tenant, execution, limit).await.unwrap();
                let second = other.traces.traces_of_execution(&tenant, execution, limit).await.unwrap();
                assert_eq!(first, second, "execution {execution} of {tenant}");
            }
        }
        for query in queries() {
            let first = one.traces.search_traces(&tenant, &query).await.unwrap();
            let second = other.traces.search_traces(&tenant, &query).await.unwrap();
            assert_eq!(first, second, "{query:?} of {tenant}");
        }
    }
    let mut unsettled = Vec::new();
    for store in [one, other] {
        let mut found = store.rollups.unsettled(1_000).await.unwrap();
        found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        unsettled.push(found);
    }
    assert_eq!(unsettled[0], unsettled[1]);
}

fn queries() -> Vec<TraceQuery> {
    let all = || TraceQuery { limit: 500, ..TraceQuery::default() };
    let mut queries = vec![all(), TraceQuery { limit: 7, ..all() }];
    queries.extend(SERVICES.map(|service| TraceQuery { service: Some(service.into()), ..all() }));
    queries.extend(EXECUTIONS.map(|id| TraceQuery { execution_id: Some(id.into()), ..all() }));
    queries.extend(Outcome::ALL.iter().map(|status| TraceQuery {
        status: Some(*status),
        silent_before: Some(NOW.plus(1_000)),
        ..all()
    }));
    queries.push(TraceQuery { job_id: Some("j1".into()), execution_id: Some("1".into()), ..all() });
    queries.push(TraceQuery { from: Some(NOW.plus(2)), to: Some(NOW.plus(4)), ..all() });
    queries
}
